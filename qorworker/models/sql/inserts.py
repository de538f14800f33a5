"""How rows are added by the hundred: new jobs, log lines, results rows, attempts. All processes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.sql.parts import fetch, portions, weight


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
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    returning: str,
    *,
    leave_taken: bool = False,
) -> list[tuple[Any, ...]]:
    """Add rows, as many as fit into one statement; the id and *returning* of each, in their order. Not for MySQL.

    :param rows: values as the driver takes them.
    :param leave_taken: whether those are left out that a unique index refuses.
    """
    before, behind = _taken(connection, leave_taken)
    verb, suffix = f"INSERT {before}INTO", f"{behind}RETURNING id, {returning}"
    if len(rows) == 1:  # a statement of which only the values ever change
        return fetch(connection, _text(connection.alias, verb, model, tuple(columns), 1, suffix), list(rows[0]))
    with connection.cursor() as cursor:
        cursor.execute(*_statement(connection, verb, model, columns, rows, suffix))
        return sorted(cursor.fetchall())  # they are numbered in the order of the statement


def insert_alike(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    columns: Sequence[str],
    values: Sequence[Any],
    document: str,
    returning: str,
) -> list[tuple[Any, ...]]:
    """Add rows that differ in one column only; the id and *returning* of each, in their order. Not for MySQL.

    :param columns: as for ``insert``; the SQL of the one that differs is ``value``.
    :param values: of the other columns, as the driver takes them.
    :param document: what differs, as a list in JSON.
    """
    sql = _text_of_alike(connection.alias, model, tuple(columns), f"RETURNING id, {returning}")
    return sorted(fetch(connection, sql, [*values, document]))


def _taken(connection: BaseDatabaseWrapper, leave_taken: bool) -> tuple[str, str]:
    """Return what a statement has after its first word and behind its rows."""
    if not leave_taken:
        return "", ""
    return ("IGNORE ", "") if connection.vendor == "mysql" else ("", "ON CONFLICT DO NOTHING ")


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
    names, slots = _names_and_slots(columns)
    if rows is None:
        source = _elements(using, model, names, slots)
    else:
        row_slots = f"({', '.join(slots)})"
        source = f"VALUES {', '.join([row_slots] * rows)}"
    return f"{verb} {model._meta.db_table} ({_quoted(using, names)}) {source} {suffix}"


@lru_cache
def _text_of_alike(using: str, model: type[models.Model], columns: tuple[str, ...], suffix: str) -> str:
    names, slots = _names_and_slots(columns)
    source = "json_each(%s)"
    if connections[using].vendor == "postgresql":  # it takes a value of unknown type for a text
        types, source = types_of(using, model), "jsonb_array_elements(%s::jsonb) AS value"
        slots = [f"%s::{types[name]}" if slot == "%s" else slot for name, slot in zip(names, slots, strict=True)]
    table = f"{model._meta.db_table} ({_quoted(using, names)})"
    return f"INSERT INTO {table} SELECT {', '.join(slots)} FROM {source} {suffix}"  # noqa: S608


def _names_and_slots(columns: Iterable[str]) -> tuple[list[str], list[str]]:
    parts = [column.partition("=") for column in columns]
    return [name for name, _, _sql in parts], [sql or "%s" for _name, _, sql in parts]


def _quoted(using: str, names: Iterable[str]) -> str:
    return ", ".join(map(connections[using].ops.quote_name, names))


def _elements(using: str, model: type[models.Model], names: Sequence[str], slots: Sequence[str]) -> str:
    types = types_of(using, model)
    values, place = [], 0
    for name, slot in zip(names, slots, strict=True):
        kind = types[name] if slot == "%s" else "double precision"
        if "%s" in slot:
            slot, place = slot.replace("%s", f"(value ->> {place})::{kind}"), place + 1
        values.append(slot)
    return f"SELECT {', '.join(values)} FROM jsonb_array_elements(%s::jsonb) AS value"  # noqa: S608


@cache
def types_of(using: str, model: type[models.Model]) -> dict[str, str]:
    """Return the types to which PostgreSQL casts the text of each column."""
    kinds = {str(field.column): str(field.db_type(connections[using])) for field in model._meta.concrete_fields}
    # A cast to varchar would cut what is too long; the column refuses it.
    return {name: "text" if kind.startswith("varchar") else kind for name, kind in kinds.items()}


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)
