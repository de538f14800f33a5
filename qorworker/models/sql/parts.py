"""What the statements have in common, and how they are sent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "qorworker_job"
BATCH = 500  # rows in one statement: SQLite takes 32,766 parameters, and more rows make nothing faster


def marks(items: Collection[Any]) -> str:
    """A placeholder for each of *items*."""
    return ", ".join(["%s"] * len(items))


def fetch(connection: BaseDatabaseWrapper, sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    """Rows that a statement returns, which is sent again and again.

    To plan it takes PostgreSQL longer than to carry it out, so it is prepared if the connection allows that.
    """
    connection.ensure_connection()
    raw: Any = connection.connection
    cursor: Any
    if getattr(raw, "prepare_threshold", None) is None:
        cursor = connection.cursor()
    else:
        from psycopg import Cursor  # Django's own puts the values into the text, so no two texts are the same

        cursor = Cursor(raw)
        cursor = connection.make_cursor(cursor)
    with cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
