"""The newest rows of a schedule or a job type, in the order of the index that has them side by side. All processes.

PostgreSQL would answer an equality by the primary key, and read the newer rows of all others on the way.
MariaDB before 10.8 has no descending indexes, and would sort a range.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import connections, models

Rows = TypeVar("Rows", bound="models.QuerySet[Any]")


def newest_sql(vendor: str, column: str) -> str:
    """Return SQL that follows WHERE: the rows with one value in *column*, the newest first.

    Each of its placeholders stands for that value.
    """
    if vendor == "postgresql":
        return f"{column} BETWEEN %s AND %s ORDER BY {column}, id DESC"
    return f"{column} = %s ORDER BY id DESC"


def newest_named(rows: Rows, name: str) -> Rows:
    """Return those of *rows* that are jobs of one type, the newest first."""
    if connections[rows.db].vendor == "postgresql":
        return rows.filter(name__gte=name, name__lte=name).order_by("name", "-id")
    return rows.filter(name=name).order_by("-id")


def newest_of(rows: Rows, schedule_id: int | models.OuterRef) -> Rows:
    """Return those of *rows* that belong to a schedule, the newest first."""
    if connections[rows.db].vendor == "postgresql":
        return rows.filter(schedule_id__gte=schedule_id, schedule_id__lte=schedule_id).order_by("schedule_id", "-id")
    return rows.filter(schedule_id=schedule_id).order_by("-id")
