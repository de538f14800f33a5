"""The query that every worker sends once a second: which schedules fire soon. All processes that run jobs."""

from __future__ import annotations

from django.db import connections

from qorworker.models.clock import as_datetime, now_sql

LIMIT = 5_000


def soon(using: str, seconds: float) -> list[tuple[int, str, float]]:
    """Return id and job type of each schedule that fires within *seconds*, and the seconds until then; the latest
    first.

    By hand, because the ORM takes ten times as long to write the statement as the database to answer it.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, job_name, next_slot, {now_sql(connection)} FROM qorworker_schedule"  # noqa: S608
            f" WHERE next_slot <= {now_sql(connection, repr(seconds))} ORDER BY next_slot LIMIT {LIMIT}",
            [],
        )
        rows = cursor.fetchall()
    return [
        (pk, name, (as_datetime(connection, slot) - as_datetime(connection, now)).total_seconds())
        for pk, name, slot, now in rows
    ]
