"""Checks that the tables of the app are those that this code needs. Worker, commands."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import Error, connections

from qorworker.exceptions import NotMigrated

UNDEFINED = {"42P01", "42703", 1146, 1054}  # table, column: PostgreSQL's and MariaDB's numbers
SQLITE = ("no such table", "no such column")


def require_tables(using: str) -> None:
    """Raise ``NotMigrated`` if a table or a column is missing; one statement that reads no row."""
    connection = connections[using]
    models = [model for model in apps.get_app_config("qorworker").get_models() if _has_table(model)]
    parts = [
        f"(SELECT {', '.join(_quoted(connection, model))} FROM {model._meta.db_table} WHERE 1 = 0) AS t{number}"  # noqa: S608
        for number, model in enumerate(models)
    ]
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1 FROM {', '.join(parts)}")  # noqa: S608
    except Error as error:
        if _is_undefined(error):
            raise NotMigrated(using) from error
        raise


def _has_table(model: Any) -> bool:
    return model._meta.managed and not model._meta.proxy


def _quoted(connection: Any, model: Any) -> list[str]:
    # With its table: alone, SQLite takes the quoted name of a missing column for a text.
    table, quote = model._meta.db_table, connection.ops.quote_name
    return [f"{table}.{quote(field.column)}" for field in model._meta.local_concrete_fields]


def _is_undefined(error: Error) -> bool:
    numbers = {getattr(error.__cause__, "sqlstate", None), getattr(error.__cause__, "pgcode", None), *error.args[:1]}
    return bool(UNDEFINED & numbers) or str(error).startswith(SQLITE)
