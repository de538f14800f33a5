"""The newest rows of a schedule, in the order of the one index that has them side by side. All processes.

With an equality the primary key would do for PostgreSQL, and it would walk through the newer rows of all others to find
them. MariaDB before 10.8 has no descending indexes, and would sort a range.
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import connections, models

Rows = TypeVar("Rows", bound="models.QuerySet[Any]")
OWN = {"postgresql": "schedule_id BETWEEN %s AND %s ORDER BY schedule_id, id DESC"}  # the same as SQL
OWN_ELSEWHERE = "schedule_id = %s ORDER BY id DESC"


def newest_of(rows: Rows, schedule_id: int) -> Rows:
    """Those of *rows* that a schedule has made, the newest first."""
    if connections[rows.db].vendor == "postgresql":
        return rows.filter(schedule_id__gte=schedule_id, schedule_id__lte=schedule_id).order_by("schedule_id", "-id")
    return rows.filter(schedule_id=schedule_id).order_by("-id")
