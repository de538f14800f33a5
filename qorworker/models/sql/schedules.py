"""What is asked about many schedules at once: which fire soon, and whose runs go on. All processes that run jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from django.db import connections

from qorworker.models.clock import as_datetime, now_sql
from qorworker.models.newest import newest_sql
from qorworker.models.sql.claims import of_versions
from qorworker.models.sql.parts import TABLE, marks
from qorworker.status import RUNNING, WAITING

LIMIT = 5_000
UNFINISHED = ", ".join(f"'{status}'" for status in sorted({*WAITING, RUNNING}))


class Soon(NamedTuple):
    """A schedule that fires soon."""

    pk: int
    job_name: str
    overlap: str
    seconds: float  # until it does


Place = tuple[Any, int]  # in the order of the time and the id; the time as the driver returns it


def soon(
    using: str, names: Collection[str], versions: Sequence[str], seconds: float, behind: Place | None = None
) -> tuple[list[Soon], Place | None]:
    """Return schedules of job types called *names* that fire within *seconds*; the latest first.

    Those whose arguments are of a newer version are left to code that has it: *versions* are the labels of this one's.
    By hand, because the ORM takes ten times as long to write the statement as the database to answer it.

    :param behind: the place behind which to begin.
    :returns: the schedules, and the place behind which there may be more; None if these are all.
    """
    if not names:
        return [], None
    connection, params = connections[using], list[Any](names)
    condition = f"next_slot <= {now_sql(connection, repr(seconds))} AND job_name IN ({marks(names)})"
    known, labels = of_versions(connection, versions, "job_name")
    condition, params = condition + known, params + labels
    if behind is not None:
        condition += " AND next_slot >= %s AND (next_slot > %s OR id > %s)"
        params += [behind[0], *behind]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, job_name, overlap, next_slot, {now_sql(connection)} FROM qorworker_schedule"  # noqa: S608
            f" WHERE {condition} ORDER BY next_slot, id LIMIT {LIMIT}",
            params,
        )
        rows = cursor.fetchall()
    found = [
        Soon(pk, name, overlap, (as_datetime(connection, slot) - as_datetime(connection, now)).total_seconds())
        for pk, name, overlap, slot, now in rows
    ]
    return found, (rows[-1][3], rows[-1][0]) if len(rows) == LIMIT else None


def with_unfinished_jobs(using: str, schedules: Sequence[int], newest: int) -> set[int]:
    """Return those of *schedules* that have a job that has not ended among so many of their *newest* ones.

    Each is looked up by itself in the index that has its jobs side by side. MariaDB lets no subquery with a limit name
    the schedule of the query around it, so there is one query for each.
    """
    connection = connections[using]
    own = newest_sql(connection.vendor, "schedule_id")
    jobs = f"(SELECT status FROM {TABLE} WHERE {own} LIMIT {newest}) AS jobs WHERE status IN ({UNFINISHED})"  # noqa: S608
    if connection.vendor == "mysql":
        sql = " UNION ".join([f"SELECT %s FROM {jobs}"] * len(schedules))  # noqa: S608
        params = [schedule for schedule in schedules for _place in range(2)]
    else:
        exists = f"EXISTS (SELECT 1 FROM {jobs.replace('%s', 'schedules.id')})"  # noqa: S608
        sql = f"SELECT id FROM qorworker_schedule AS schedules WHERE id IN ({marks(schedules)}) AND {exists}"  # noqa: S608
        params = list(schedules)
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return {schedule for (schedule,) in cursor.fetchall()}
