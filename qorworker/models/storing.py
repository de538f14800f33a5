"""How new jobs are stored: by one statement where the database returns the ids of many rows. All processes.

These functions are methods of ``JobQuerySet``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import transaction

from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import database_now
from qorworker.models.sql import BATCH, insert_jobs, insert_timed_jobs
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet


def enqueue_rows(
    self: JobQuerySet,
    jobs: Sequence[Job],
    *,
    when: dt.datetime | dt.timedelta | None = None,
    user: Any = None,
    origin: str = Origin.CODE,
) -> list[Job]:
    """Store new jobs: all of them or none.

    :param when: a datetime, a timedelta from now, or None for now.
    :param user: the user who enqueues them; each job then gets an audit entry.
    :param origin: where the request comes from, for the audit.
    """
    with transaction.atomic(using=self.db, savepoint=False) if user or len(jobs) > BATCH else nullcontext():
        if transaction.get_connection(self.db).features.can_return_rows_from_bulk_insert:
            insert_jobs(self.db, jobs, when)
        else:
            _save_each(self, jobs, when)
        if user is not None:
            AuditEntry.objects.using(self.db).record_many("enqueue", jobs, user=user, origin=origin)
    return list(jobs)


def enqueue_timed(self: JobQuerySet, jobs: Sequence[Job], now: dt.datetime) -> None:
    """Store new jobs, each for the time in its ``run_after``: all of them or none.

    :param now: the time of the database.
    """
    with transaction.atomic(using=self.db, savepoint=False):
        if transaction.get_connection(self.db).features.can_return_rows_from_bulk_insert:
            insert_timed_jobs(self.db, jobs, now)
            return
        for job in jobs:
            _save_each(self, [job], job.run_after)


def _save_each(rows: JobQuerySet, jobs: Sequence[Job], when: dt.datetime | dt.timedelta | None) -> None:
    """Store each job by itself, for MySQL, which does not return the ids of many rows."""
    now = database_now(rows.db)
    with transaction.atomic(using=rows.db, savepoint=False):
        for job in jobs:
            job.enqueued_at, job.run_after = now, now + when if isinstance(when, dt.timedelta) else when or now
            job.status = JobStatus.SCHEDULED if job.run_after > now else JobStatus.NEW
            job.save(using=rows.db, force_insert=True)
