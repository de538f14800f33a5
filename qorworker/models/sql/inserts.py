"""How the story of jobs grows: log lines, results rows, attempts. Parent process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connections

from qorworker.models.sql.parts import BATCH


def insert(using: str, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add rows to one of the story's tables. An item of *columns* may carry its own SQL: ``"at=<sql with %s>"``.

    Many rows to a statement: ``executemany`` is as fast on SQLite only (on MariaDB ten times slower).
    """
    names, slots = [], []
    for column in columns:
        name, _, sql = column.partition("=")
        names.append(name)
        slots.append(sql or "%s")
    connection = connections[using]
    adapt = connection.ops.adapt_datetimefield_value
    row_slots, left = f"({', '.join(slots)})", list(rows)
    with connection.cursor() as cursor:
        for start in range(0, len(left), BATCH):
            batch = left[start : start + BATCH]
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join([row_slots] * len(batch))}",  # noqa: S608
                [adapt(value) if isinstance(value, dt.datetime) else value for row in batch for value in row],
            )
