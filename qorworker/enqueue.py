"""Writes jobs: arguments to JSON, rows to the table, a nudge to the workers. Wherever a job is enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import router, transaction
from django.db.models.base import ModelState

from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.exceptions import UnknownQueue
from qorworker.models import Job
from qorworker.signals import job_enqueued

if TYPE_CHECKING:
    from qorworker.registry import JobType


def store(job_type: JobType[Any], many: Sequence[Mapping[str, Any]]) -> list[Job]:
    """One job for each dict of cleaned arguments, in one statement where the database can."""
    defaults = job_type.defaults
    using = defaults.database or router.db_for_write(Job)
    queue_name = defaults.queue_name or job_type.queue_name
    if queue_name not in settings.QUEUES:
        raise UnknownQueue(f"There is no queue {queue_name!r} in QORWORKER['QUEUES'].")
    dumped: list[dict[str, Any]] = []
    try:
        for cleaned in many:
            dumped.append(job_type.arguments.dump(cleaned))
        pattern = _row(job_type, queue_name)
        jobs = [_like(pattern, arguments) for arguments in dumped]
        rows = Job.objects.using(using)
        rows.enqueue_rows(jobs, when=defaults.run_after, user=defaults.user, origin=defaults.origin)
    except BaseException:
        for arguments in dumped:
            files.discard(arguments, job_type.arguments.fields)
        raise
    if jobs:
        transaction.on_commit(partial(_announce, jobs), using=using, robust=True)
    return jobs


def _like(pattern: Job, arguments: dict[str, Any]) -> Job:
    """A row as *pattern* with other arguments. Building thirty fields anew costs more than storing them."""
    row = Job.__new__(Job)
    row.__dict__.update(pattern.__dict__, _state=ModelState(), arguments=arguments)
    row.meta = {}
    return row


def _row(job_type: JobType[Any], queue_name: str) -> Job:
    defaults = job_type.defaults
    return Job(
        name=job_type.name,
        queue_name=queue_name,
        priority=job_type.priority if defaults.priority is None else defaults.priority,
        max_attempts=defaults.max_attempts or job_type.max_attempts,
        fingerprint=job_type.arguments.fingerprint,
        created_by_id=getattr(defaults.user, "pk", None),
        rerun_of_id=getattr(defaults.rerun_of, "pk", defaults.rerun_of),
    )


def _announce(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job_enqueued.send_robust(sender=Job, job=job)
