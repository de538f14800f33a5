"""How the story of jobs grows: log lines, results rows, attempts. Parent process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connections
from django.db.models.constants import OnConflict

from qorworker.models.sql.parts import BATCH


def insert(using: str, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add rows to one of the story's tables. An item of *columns* may carry its own SQL: ``"at=<sql with %s>"``.

    A row whose number is there already is left out: after a commit whose answer was lost it is written again.
    Many rows to a statement: ``executemany`` is as fast on SQLite only (on MariaDB ten times slower).
    """
    connection = connections[using]
    names, slots = [], []
    for column in columns:
        name, _, sql = column.partition("=")
        names.append(connection.ops.quote_name(name))
        slots.append(sql or "%s")
    verb = connection.ops.insert_statement(on_conflict=OnConflict.IGNORE)
    suffix = connection.ops.on_conflict_suffix_sql([], OnConflict.IGNORE, [], [])
    adapt = connection.ops.adapt_datetimefield_value
    row_slots, left = f"({', '.join(slots)})", list(rows)
    with connection.cursor() as cursor:
        for start in range(0, len(left), BATCH):
            batch = left[start : start + BATCH]
            cursor.execute(
                f"{verb} {table} ({', '.join(names)}) VALUES {', '.join([row_slots] * len(batch))} {suffix}",
                [adapt(value) if isinstance(value, dt.datetime) else value for row in batch for value in row],
            )
