"""What the list of schedules asks of the rows: the last runs of each, a few rows whatever the tables hold. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import connections

from qorworker.models.clock import as_datetime
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.newest import OWN, OWN_ELSEWHERE
from qorworker.models.slot import ScheduleSlot

RUNS = 14  # of each schedule
AT_ONCE = 200  # schedules in one UNION, of two parts for each; SQLite takes 500 parts
SHOWN = ("name", "status", "attempt", "abort_requested_at", "lease_expires_at", "enqueued_at")
NEWEST = """
    SELECT schedule_id, id, enqueued_at AS moment, '' AS reason FROM (
        SELECT schedule_id, id, enqueued_at FROM {jobs} WHERE {own} LIMIT {runs}
    ) AS runs
    UNION ALL
    SELECT schedule_id, 0, planned_at, reason FROM (
        SELECT schedule_id, planned_at, reason, outcome FROM {slots} WHERE {own} LIMIT {runs}
    ) AS times WHERE outcome = 'skipped'
"""


@dataclass(frozen=True)
class Run:
    """A job of a schedule; or a time that made none, and then *reason* says why."""

    at: dt.datetime
    job: Job | None = None
    reason: str = ""


def last_runs(schedules: Sequence[int], jobs: JobQuerySet) -> dict[int, list[Run]]:
    """For each of these *schedules* its last runs, as far as they are among *jobs*; the newest last.

    Two statements for each ``AT_ONCE`` schedules.
    """
    found: dict[int, list[Run]] = {schedule: [] for schedule in schedules}
    for start in range(0, len(schedules), AT_ONCE):
        rows = list(_newest(schedules[start : start + AT_ONCE], jobs.db))
        seen = jobs.only(*SHOWN).in_bulk([number for _schedule, number, _at, _reason in rows if number])
        for schedule, number, at, reason in rows:
            if not number or number in seen:
                found[schedule].append(Run(at, seen.get(number), reason))
    return {schedule: sorted(runs, key=lambda run: run.at)[-RUNS:] for schedule, runs in found.items()}


def _newest(schedules: Sequence[int], using: str) -> Iterator[tuple[int, int, dt.datetime, str]]:
    """Schedule, number of the job or 0, time, and why there is no job."""
    connection = connections[using]
    own = OWN.get(connection.vendor, OWN_ELSEWHERE)
    one = NEWEST.format(jobs=Job._meta.db_table, slots=ScheduleSlot._meta.db_table, own=own, runs=RUNS)
    asked = [schedule for schedule in schedules for _place in range(one.count("%s"))]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([one] * len(schedules)), asked)
        for schedule, number, at, reason in cursor.fetchall():
            yield schedule, number, as_datetime(connection, at), reason
