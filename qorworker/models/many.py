"""Verbs for many jobs at once: a few statements for hundreds, where each alone takes several. All processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction

from qorworker.backends import backend_of
from qorworker.exceptions import QorWorkerError
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.verbs import wake

AT_ONCE = 500  # jobs in one transaction


def retry_all(jobs: JobQuerySet, using: str, *, by: Any = None, origin: str = Origin.CODE) -> int:
    """Retry those of *jobs* that ended badly, the oldest first; how many. It can be stopped at any time."""
    number, last = 0, 0
    rows = jobs.using(using).ended_badly().order_by("pk")
    while found := list(rows.filter(pk__gt=last)[:AT_ONCE]):
        last = found[-1].pk
        number += len(retry(found, using, by=by, origin=origin))
    return number


def retry(jobs: Sequence[Job], using: str, *, by: Any = None, origin: str = Origin.CODE) -> list[Job]:
    """Retry those of *jobs* that ended badly and were not taken up again meanwhile; which they were.

    In one transaction with an audit entry for each. If one of them may not wait now, each is tried by itself.
    """
    try:
        return _retry_together(jobs, using, by, origin)
    except IntegrityError:
        return [job for job in jobs if _retried(job, by, origin)]


def _retry_together(jobs: Sequence[Job], using: str, by: Any, origin: str) -> list[Job]:
    with transaction.atomic(using=using):
        rows = Job.objects.using(using).filter(pk__in=[job.pk for job in jobs])
        rows.lock()
        Job.objects.using(using).holders({job.unique_key for job in jobs if job.unique_key})
        free = set(rows.ended_badly().order_by("pk").select_for_update().values_list("pk", flat=True))
        again = [job for job in jobs if job.pk in free]
        if again:
            rows.filter(pk__in=free).queue_again()
            AuditEntry.objects.using(using).record_many("retry", again, user=by, origin=origin)
            wake(using)
            transaction.on_commit(partial(_tell_backends, again, using), using=using, robust=True)
    return again


def _retried(job: Job, by: Any, origin: str) -> bool:
    try:
        job.retry(by=by, origin=origin)
    except QorWorkerError:
        return False
    return True


def _tell_backends(jobs: Iterable[Job], using: str) -> None:
    queues = defaultdict(list)
    for job in jobs:
        queues[job.queue_name].append(job.pk)
    for name, numbers in queues.items():
        backend = backend_of(name)
        if not backend.is_served_by_workers:
            backend.jobs_ready(list(Job.objects.using(using).filter(pk__in=numbers).queued()))
