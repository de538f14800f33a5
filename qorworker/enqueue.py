"""Writes jobs: arguments to JSON, rows to the table, a nudge to the workers. Wherever a job is enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import router, transaction
from django.db.models.base import ModelState

from qorworker.arguments import files
from qorworker.backends import backend_of, tell_of
from qorworker.backends.base import BaseBackend
from qorworker.conf import settings
from qorworker.exceptions import UnknownQueue
from qorworker.limits import limit_key
from qorworker.models import Job
from qorworker.signals import job_enqueued
from qorworker.unique import key_of, rule_of

if TYPE_CHECKING:
    from qorworker.registry import JobType


def store(job_type: JobType[Any], many: Sequence[Mapping[str, Any]]) -> list[Job]:
    """One job for each dict of cleaned arguments, in one statement where the database can."""
    dumped: list[dict[str, Any]] = []
    try:
        for cleaned in many:
            dumped.append(job_type.arguments.dump(cleaned))
        jobs = store_dumped(job_type, dumped)
    except BaseException:
        for arguments in dumped:
            files.discard(arguments, job_type.arguments.fields)
        raise
    kept = {id(job.arguments) for job in jobs}
    for arguments in dumped:
        if id(arguments) not in kept:  # of a job that was there already
            files.discard(arguments, job_type.arguments.fields)
    return jobs


def store_dumped(job_type: JobType[Any], dumped: Sequence[dict[str, Any]]) -> list[Job]:
    """One job for each dict of arguments, given as the table keeps them.

    Where there may be no second one like it, the job that is there. Raises ``AlreadyEnqueued`` if the rule says so.
    """
    defaults = job_type.defaults
    using = defaults.database or router.db_for_write(Job)
    queue_name = defaults.queue_name or job_type.queue_name
    if queue_name not in settings.QUEUES:
        raise UnknownQueue(f"There is no queue {queue_name!r} in QORWORKER['QUEUES'].")
    backend = backend_of(queue_name)
    pattern = _row(job_type, queue_name)
    backend.refuse(priority=pattern.priority, run_after=defaults.run_after)
    jobs = [_like(pattern, arguments) for arguments in dumped]
    if job_type.is_limited:
        for job in jobs:
            job.limit_key = limit_key(job_type, job.arguments)
    rows, asked = Job.objects.using(using), {"user": defaults.user, "origin": defaults.origin}
    if (rule := rule_of(job_type)) is not None:
        for job in jobs:
            job.unique_key, job.unique_among = key_of(job_type, rule, job.arguments), rule.scope
        made = rows.enqueue_unique(jobs, rule, when=defaults.run_after, **asked)
        jobs = [job for job in made if not job.is_existing]
    else:
        made = rows.enqueue_rows(jobs, when=defaults.run_after, **asked)
    if jobs:

        def announce() -> None:  # a partial has no name, which Django before 6.1 wants to tell when it fails
            _announce(jobs, backend)

        transaction.on_commit(announce, using=using, robust=True)
    return made


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
        created_by_id=getattr(defaults.user, "pk", None) or getattr(defaults.schedule, "answerable_id", None),
        rerun_of_id=getattr(defaults.rerun_of, "pk", defaults.rerun_of),
        schedule_id=getattr(defaults.schedule, "pk", defaults.schedule),
    )


def _announce(jobs: Sequence[Job], backend: BaseBackend) -> None:
    for job in jobs:
        job_enqueued.send_robust(sender=Job, job=job)
    tell_of(jobs, backend)
