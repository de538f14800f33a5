"""Stores jobs: arguments become JSON, rows are inserted, workers and backends are notified. All processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import router, transaction
from django.db.models.base import ModelState

from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.definitions.limits import limit_key
from qorworker.definitions.unique import key_of, rule_of
from qorworker.exceptions import InvalidArguments, UnknownQueue
from qorworker.models import Job, Origin
from qorworker.models.refusals import argument_problems
from qorworker.queues import backend_of, notify
from qorworker.queues.base import BaseBackend
from qorworker.signals import job_enqueued, log_enqueued

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType


def store(job_type: JobType[Any], many: Sequence[Mapping[str, Any]]) -> list[Job]:
    """Store one job for each dict of cleaned arguments, in one statement where the database allows that.

    :returns: the jobs in the same order; for a unique job type perhaps jobs that existed already.
    :raises qorworker.exceptions.InvalidArguments: if they cannot be stored.
    """
    dumped: list[dict[str, Any]] = []
    person = job_type.defaults.user if job_type.defaults.origin == Origin.ADMIN else None
    try:
        for cleaned in many:
            dumped.append(job_type.arguments.dump(cleaned, person=person))
        jobs = store_dumped(job_type, dumped)
    except BaseException:
        for arguments in dumped:
            files.discard(arguments, job_type.arguments.fields)
        raise
    kept = {id(job.arguments) for job in jobs}
    for arguments in dumped:
        if id(arguments) not in kept:  # another job like it existed already
            files.discard(arguments, job_type.arguments.fields)
    return jobs


def store_dumped(job_type: JobType[Any], dumped: Sequence[dict[str, Any]]) -> list[Job]:
    """Store one job for each dict of arguments, which are given as the table keeps them.

    :returns: the jobs in the same order; for a unique job type perhaps jobs that existed already.
    :raises qorworker.exceptions.AlreadyEnqueued: if the rule for unique jobs says so.
    :raises qorworker.exceptions.InvalidArguments: for values that the database cannot store.
    :raises qorworker.exceptions.UnknownQueue: if the settings do not have the queue.
    :raises qorworker.exceptions.UnsupportedByBackend: if the queue's backend has no priorities or no later times.
    """
    defaults = job_type.defaults
    using = defaults.database or router.db_for_write(Job)
    queue_name = defaults.queue_name or job_type.queue_name
    if queue_name not in settings.QUEUES:
        raise UnknownQueue(f"There is no queue {queue_name!r} in QORWORKER['QUEUES'].")
    backend = backend_of(queue_name)
    pattern = _row(job_type, queue_name)
    backend.check_supported(priority=pattern.priority, run_after=defaults.run_after)
    for arguments in dumped:
        if problems := argument_problems(using, arguments):
            raise InvalidArguments(job_type.name, problems)
    jobs = [_like(pattern, arguments) for arguments in dumped]
    if job_type.is_limited:
        for job in jobs:
            job.limit_key = limit_key(job_type, job.arguments)
    rows, requester = Job.objects.using(using), {"user": defaults.user, "origin": defaults.origin}
    if (rule := rule_of(job_type)) is not None:
        for job in jobs:
            job.unique_key, job.unique_among = key_of(job_type, rule, job.arguments), rule.scope
        made = rows.enqueue_unique(jobs, rule, when=defaults.run_after, **requester)
        jobs = [job for job in made if not job.is_existing]
    else:
        made = rows.enqueue_rows(jobs, when=defaults.run_after, **requester)
    if jobs:

        def announce() -> None:  # a partial has no name, which Django before 6.1 logs if it fails
            _announce(jobs, backend)

        transaction.on_commit(announce, using=using, robust=True)
    return made


def _like(pattern: Job, arguments: dict[str, Any]) -> Job:
    """Return a copy of *pattern* with other arguments. To build thirty fields costs more than to store them."""
    row = Job.__new__(Job)
    row.__dict__.update(pattern.__dict__, _state=ModelState(), arguments=arguments)
    row.meta = dict(pattern.meta)
    return row


@cache
def _blank() -> Job:
    return Job()


def _row(job_type: JobType[Any], queue_name: str) -> Job:
    defaults = job_type.defaults
    row = _like(_blank(), {})
    row.__dict__.update(
        name=job_type.name,
        queue_name=queue_name,
        priority=job_type.priority if defaults.priority is None else defaults.priority,
        max_attempts=defaults.max_attempts or job_type.max_attempts,
        meta=dict(defaults.meta or {}),
        fingerprint=job_type.arguments.fingerprint,
        created_by_id=getattr(defaults.user, "pk", None) or getattr(defaults.schedule, "answerable_id", None),
        rerun_of_id=getattr(defaults.rerun_of, "pk", defaults.rerun_of),
        schedule_id=getattr(defaults.schedule, "pk", defaults.schedule),
    )
    return row


def _announce(jobs: Sequence[Job], backend: BaseBackend) -> None:
    log_enqueued(jobs)
    if job_enqueued.has_listeners(Job):
        for job in jobs:
            job_enqueued.send_robust(sender=Job, job=job)
    notify(jobs, backend)
