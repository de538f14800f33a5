"""The queries of the list of schedules: the last runs of each, a few rows whatever the tables hold. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import connections

from qorworker.models.clock import as_datetime
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.newest import newest_sql
from qorworker.models.schedule_slot import ScheduleSlot

RUNS = 14  # of each schedule
AT_ONCE = 200  # schedules in one UNION, of two parts for each; SQLite takes 500 parts
SHOWN = (
    "name", "status", "attempt", "abort_requested_at", "pause_requested_at", "lease_expires_at", "enqueued_at",
    "results_errors", "waits_for_answer", "waits_for_approval",
)  # fmt: skip
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
    """A job of a schedule, or a time without a job and the *reason* for that."""

    at: dt.datetime
    job: Job | None = None
    reason: str = ""


def last_runs(schedules: Sequence[int], jobs: JobQuerySet) -> dict[int, list[Run]]:
    """Return the last runs of each of these *schedules*, as far as they are among *jobs*; the newest last.

    Two statements for each ``AT_ONCE`` schedules.
    """
    runs_of: dict[int, list[Run]] = {schedule: [] for schedule in schedules}
    for start in range(0, len(schedules), AT_ONCE):
        rows = list(_newest(schedules[start : start + AT_ONCE], jobs.db))
        numbers = [number for _schedule, number, _at, _reason in rows if number]
        seen = jobs.only(*SHOWN).without_return_value().in_bulk(numbers)
        for schedule, number, at, reason in rows:
            if not number or number in seen:
                runs_of[schedule].append(Run(at, seen.get(number), reason))
    return {schedule: sorted(runs, key=lambda run: run.at)[-RUNS:] for schedule, runs in runs_of.items()}


def _newest(schedules: Sequence[int], using: str) -> Iterator[tuple[int, int, dt.datetime, str]]:
    """Return schedule, job id or 0, time, and the reason for a time without a job."""
    connection = connections[using]
    own = newest_sql(connection.vendor, "schedule_id")
    one = NEWEST.format(jobs=Job._meta.db_table, slots=ScheduleSlot._meta.db_table, own=own, runs=RUNS)
    params = [schedule for schedule in schedules for _place in range(one.count("%s"))]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([one] * len(schedules)), params)
        for schedule, number, at, reason in cursor.fetchall():
            yield schedule, number, as_datetime(connection, at), reason
