"""How rows are added by the hundred: new jobs, log lines, results rows, attempts. All processes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.sql.parts import portions, weight


def insert(using: str, model: type[models.Model], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add rows to one of the story's tables. An item of *columns* may carry its own SQL: ``"at=<sql with %s>"``.

    A row whose number is there already is left out: after a commit whose answer was lost it is written again.
    """
    connection = connections[using]
    # MariaDB's INSERT IGNORE would also store "?" for a character that the column lacks, and say nothing.
    suffix = "ON DUPLICATE KEY UPDATE id = id" if connection.vendor == "mysql" else "ON CONFLICT DO NOTHING"
    for some in portions(connection, list(rows), weight):
        with connection.cursor() as cursor:
            cursor.execute(*_statement(connection, "INSERT INTO", model, columns, some, suffix))


def insert_from(
    using: str, model: type[models.Model], columns: Sequence[str], rows: Sequence[Sequence[Any]], condition: str
) -> tuple[str, list[Any]]:
    """Return a statement of PostgreSQL, and its parameters, that inserts the rows whose ``value`` meets *condition*."""
    suffix = f"WHERE {condition} ON CONFLICT DO NOTHING"
    return _statement(connections[using], "INSERT INTO", model, columns, rows, suffix)


def insert_returning(
    using: str,
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    returning: str,
    *,
    leave_taken: bool = False,
) -> list[tuple[Any, ...]]:
    """Add rows, as many as fit into one statement; the id and *returning* of each, in their order. Not for MySQL.

    With *leave_taken* those are left out that a unique index refuses.
    """
    connection = connections[using]
    mysql = connection.vendor == "mysql"
    verb = "INSERT IGNORE INTO" if leave_taken and mysql else "INSERT INTO"
    suffix = f"{'ON CONFLICT DO NOTHING ' if leave_taken and not mysql else ''}RETURNING id, {returning}"
    with connection.cursor() as cursor:
        cursor.execute(*_statement(connection, verb, model, columns, rows, suffix))
        return sorted(cursor.fetchall())  # they are numbered in the order of the statement


def _statement(
    connection: BaseDatabaseWrapper,
    verb: str,
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    suffix: str,
) -> tuple[str, list[Any]]:
    postgresql = connection.vendor == "postgresql"
    sql = _text(connection.alias, verb, model, tuple(columns), None if postgresql else len(rows), suffix)
    if postgresql:
        return sql, [json.dumps(rows, default=_plain)]
    adapt: Any = connection.ops.adapt_datetimefield_value
    return sql, [adapt(value) if isinstance(value, dt.datetime) else value for row in rows for value in row]


@lru_cache
def _text(
    using: str, verb: str, model: type[models.Model], columns: tuple[str, ...], rows: int | None, suffix: str
) -> str:
    """Return a statement with a placeholder for each value of *rows* rows; None: all rows are one parameter.

    Psycopg takes longer to put thousands of values into a statement than the server takes to run it. ``executemany`` is
    as fast on SQLite only; on MariaDB it takes ten times as long.
    """
    names, slots = [], []
    for column in columns:
        name, _, sql = column.partition("=")
        names.append(name)
        slots.append(sql or "%s")
    if rows is None:
        source = _elements(using, model, names, slots)
    else:
        row_slots = f"({', '.join(slots)})"
        source = f"VALUES {', '.join([row_slots] * rows)}"
    quoted = ", ".join(map(connections[using].ops.quote_name, names))
    return f"{verb} {model._meta.db_table} ({quoted}) {source} {suffix}"


def _elements(using: str, model: type[models.Model], names: Sequence[str], slots: Sequence[str]) -> str:
    types = _types(using, model)
    values, place = [], 0
    for name, slot in zip(names, slots, strict=True):
        kind = types[name] if slot == "%s" else "double precision"
        if "%s" in slot:
            slot, place = slot.replace("%s", f"(value ->> {place})::{kind}"), place + 1
        values.append(slot)
    return f"SELECT {', '.join(values)} FROM jsonb_array_elements(%s::jsonb) AS value"  # noqa: S608


@cache
def _types(using: str, model: type[models.Model]) -> dict[str, str]:
    """Return the types to which PostgreSQL casts the text of each column."""
    kinds = {str(field.column): str(field.db_type(connections[using])) for field in model._meta.concrete_fields}
    # A cast to varchar would cut what is too long; the column refuses it.
    return {name: "text" if kind.startswith("varchar") else kind for name, kind in kinds.items()}


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)
