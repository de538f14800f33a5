"""How scheduled jobs are queued when their time has come. All processes that run jobs.

These functions are methods of ``JobQuerySet``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction
from django.db.models import Q

from qorworker.models.clock import DatabaseNow
from qorworker.models.job_pause import NOT_PAUSED
from qorworker.models.sql import Position
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models.job_queries import JobQuerySet

# In a list: SQLite and MariaDB use no index for a condition with NOT.
WAITS_FOR_TIME = NOT_PAUSED & Q(waits_for_jobs__in=[False], waits_for_approval__in=[False])
SOON = 100  # scheduled jobs among which ``promote`` looks for the next one that is due


class Promotion(NamedTuple):
    """What ``promote`` did."""

    promoted: int  # how many jobs were queued
    wait: float | None  # seconds until the next one is due; None: more than it looked ahead
    jobs: Sequence[Position]  # those that were due, also if another process was faster


def due(self: JobQuerySet) -> JobQuerySet:
    """Return scheduled jobs whose time has come. Nothing queues those that are paused or wait for anything else."""
    return self.filter(WAITS_FOR_TIME, run_after__lte=DatabaseNow())


def promote_due(self: JobQuerySet, limit: int = 2000) -> int:
    """Queue up to *limit* due jobs and return how many. Rows locked by other transactions are skipped."""
    return _promote_due(self, limit)[0]


def _promote_due(jobs: JobQuerySet, limit: int = 2000) -> tuple[int, list[Position]]:
    rows = jobs.due().order_by("run_after").values_list("queue_name", "priority", "pk")[:limit]
    due = [Position(*row) for row in rows]
    if not due:
        return 0, []
    with transaction.atomic(using=jobs.db):
        return jobs.filter(pk__in=[job.id for job in due]).due().unlocked().transition(JobStatus.NEW), due


def promote(self: JobQuerySet, ahead: float) -> Promotion:
    """Queue the jobs that are due, and say when the next one is. One statement if none is due.

    :param ahead: how many seconds to look ahead.
    """
    soon = self.filter(WAITS_FOR_TIME, run_after__lte=DatabaseNow(ahead)).annotate(now=DatabaseNow())
    times = soon.order_by("run_after").values_list("run_after", "now")[:SOON]
    waits = [(run_after - now).total_seconds() for run_after, now in times]
    later = [seconds for seconds in waits if seconds > 0]
    promoted, due = _promote_due(self) if len(later) < len(waits) else (0, [])
    return Promotion(promoted, later[0] if later else 0.0 if len(waits) == SOON else None, due)
