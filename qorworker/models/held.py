"""How jobs that are held until others have ended go on: they are released, or cancelled. All processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import transaction

from qorworker.models.approving import withdraw_requests
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow
from qorworker.models.waking import let_start
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet


def is_held(job: Job | None) -> bool:
    """Return whether *job* exists and still waits for others: nobody has started or cancelled it meanwhile."""
    return job is not None and job.waits_for_jobs and job.status == JobStatus.SCHEDULED


def release_held(rows: JobQuerySet, jobs: Sequence[Job]) -> None:
    """Let *jobs*, whose rows are locked, start, at once or at their time."""
    released = rows.filter(pk__in=[job.pk for job in jobs])
    released.update(waits_for_jobs=False)
    due = list(released.due().values_list("pk", flat=True))  # by an index that has other jobs, too: without locks
    rows.filter(pk__in=due).transition(JobStatus.NEW)
    let_start(jobs, rows.db, released=True)


def cancel_held(rows: JobQuerySet, jobs: Sequence[Job], reason: str, **details: Any) -> None:
    """Cancel *jobs*, whose rows are locked. *reason* and *details* are for their history."""
    ids = [job.pk for job in jobs]
    rows.filter(pk__in=ids).transition(JobStatus.CANCELLED, finished_at=DatabaseNow(), waits_for_jobs=False)
    withdraw_requests(jobs, rows.db)
    rows.filter(pk__in=[job.pk for job in jobs if job.may_have_secrets]).erase_secrets()
    AuditEntry.objects.using(rows.db).record_many("cancel", jobs, origin=Origin.WORKER, reason=reason, **details)
    for job in jobs:
        transaction.on_commit(job.send_cancelled, using=rows.db, robust=True)
