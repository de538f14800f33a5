"""How the story of jobs grows: log lines, results rows, attempts. Parent process."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.constants import OnConflict

from qorworker.models.sql.parts import BATCH


def insert(using: str, model: type[models.Model], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add rows to one of the story's tables. An item of *columns* may carry its own SQL: ``"at=<sql with %s>"``.

    A row whose number is there already is left out: after a commit whose answer was lost it is written again.
    """
    connection = connections[using]
    names, slots = [], []
    for column in columns:
        name, _, sql = column.partition("=")
        names.append(name)
        slots.append(sql or "%s")
    write = _insert_postgresql if connection.vendor == "postgresql" else _insert_values
    left = list(rows)
    for start in range(0, len(left), BATCH):
        write(connection, model, names, slots, left[start : start + BATCH])


def _head(connection: BaseDatabaseWrapper, model: type[models.Model], names: Sequence[str]) -> str:
    verb = connection.ops.insert_statement(on_conflict=OnConflict.IGNORE)
    return f"{verb} {model._meta.db_table} ({', '.join(map(connection.ops.quote_name, names))})"


def _insert_values(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    names: Sequence[str],
    slots: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> None:
    """Many rows to a statement: ``executemany`` is as fast on SQLite only (on MariaDB ten times slower)."""
    adapt = connection.ops.adapt_datetimefield_value
    row = f"({', '.join(slots)})"
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_head(connection, model, names)} VALUES {', '.join([row] * len(rows))}",
            [adapt(value) if isinstance(value, dt.datetime) else value for row in rows for value in row],
        )


def _insert_postgresql(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    names: Sequence[str],
    slots: Sequence[str],
    rows: Sequence[Sequence[Any]],
) -> None:
    """All rows as one parameter: psycopg takes longer to put thousands into a statement than the server to run it."""
    types = {field.column: field.db_type(connection) for field in model._meta.concrete_fields}
    values, place = [], 0
    for name, slot in zip(names, slots, strict=True):
        kind = types[name] if slot == "%s" else "double precision"
        if "%s" in slot:
            slot, place = slot.replace("%s", f"(value ->> {place})::{kind}"), place + 1
        values.append(slot)
    suffix = connection.ops.on_conflict_suffix_sql([], OnConflict.IGNORE, [], [])
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_head(connection, model, names)} SELECT {', '.join(values)}"  # noqa: S608
            f" FROM jsonb_array_elements(%s::jsonb) AS value {suffix}",
            [json.dumps(rows, default=dt.datetime.isoformat)],
        )
