"""The last runs of a job type or a schedule, as a chart needs them. Bounded in rows. Web."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from qorworker.models.job_queries import JobQuerySet
from qorworker.models.newest import newest_named
from qorworker.status import JobStatus

MOST, LOOKED_AT = 100, 300  # runs that have ended, among so many of the newest jobs
ENDED = (JobStatus.DONE, JobStatus.EXCEPTION, JobStatus.KILLED)


class Run(NamedTuple):
    """One job that has started and ended."""

    pk: int
    status: str
    started_at: dt.datetime
    seconds: float


def of_type(jobs: JobQuerySet, name: str) -> list[Run]:
    """Return the last runs among *jobs* of one type, the oldest first."""
    return _ended(newest_named(jobs, name))


def of_schedule(jobs: JobQuerySet, schedule_id: int) -> list[Run]:
    """Return the last runs among *jobs* of one schedule, the oldest first."""
    return _ended(jobs.newest_of(schedule_id))


def _ended(newest: JobQuerySet) -> list[Run]:
    rows = newest.values_list("pk", "status", "last_attempted_at", "finished_at")[:LOOKED_AT]
    runs = [
        Run(pk, status, begun, max(0.0, (ended - begun).total_seconds()))
        for pk, status, begun, ended in rows
        if status in ENDED and begun is not None and ended is not None
    ]
    return runs[:MOST][::-1]
