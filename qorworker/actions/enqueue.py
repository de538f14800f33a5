"""Stores jobs: arguments become JSON, rows are inserted, workers and backends are notified. All processes."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import router, transaction
from django.db.models.base import ModelState

from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.definitions.dependencies import ids_of, parents_in
from qorworker.definitions.limits import limit_key
from qorworker.definitions.unique import key_of, rule_of
from qorworker.exceptions import InvalidArguments, UnknownQueue
from qorworker.models import Job, Origin
from qorworker.models.approving import hold_unapproved, note_right
from qorworker.models.dependency import AfterFailure
from qorworker.models.dependents import hold, lock_parents
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.refusals import argument_problems
from qorworker.queues import backend_of, notify
from qorworker.queues.base import BaseBackend
from qorworker.signals import job_enqueued, jobs_made, jobs_stored, log_enqueued, logs_enqueued

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType


def store(job_type: JobType[..., Any], many: Sequence[Mapping[str, Any]]) -> list[Job]:
    """Store one job for each dict of cleaned arguments, in one statement where the database allows that.

    :returns: the jobs in the same order; for a unique job type perhaps jobs that existed already.
    :raises qorworker.exceptions.InvalidArguments: if they cannot be stored.
    """
    dumped: list[dict[str, Any]] = []
    person = job_type.defaults.get("user") if job_type.defaults.get("origin") == Origin.ADMIN else None
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


def store_dumped(job_type: JobType[..., Any], dumped: Sequence[dict[str, Any]]) -> list[Job]:
    """Store one job for each dict of arguments, which are given as the table keeps them.

    :returns: the jobs in the same order; for a unique job type perhaps jobs that existed already.
    :raises qorworker.exceptions.AlreadyEnqueued: if the rule for unique jobs says so.
    :raises qorworker.exceptions.InvalidArguments: for values that the database cannot store.
    :raises qorworker.exceptions.UnknownQueue: if the settings do not have the queue.
    :raises qorworker.exceptions.UnsupportedByBackend: if the queue's backend has no priorities or no later times.
    :raises ValueError: if one of the jobs in ``after`` does not exist, or is in another database.
    """
    made = store_ready(job_type, made_ready(job_type, dumped))
    if jobs := [job for job in made if not job.is_existing]:
        _announce_on_commit(jobs, jobs[0]._state.db or router.db_for_write(Job))
    return made


def store_ready(job_type: JobType[..., Any], jobs: Sequence[Job]) -> list[Job]:
    """Store jobs that ``made_ready`` has returned, without an announcement. It is as ``store_dumped`` otherwise."""
    defaults = job_type.defaults
    using = defaults.get("database") or router.db_for_write(Job)
    rows, when = _rows_of(using), defaults.get("run_after")
    requester: dict[str, Any] = {"user": defaults.get("user"), "origin": defaults.get("origin", Origin.CODE)}
    after = ids_of(parents_in(defaults.get("after")), using)
    with transaction.atomic(using=using) if after or job_type.approval else nullcontext():
        parents = lock_parents(rows, after) if after else {}
        if (rule := rule_of(job_type)) is not None and not defaults.get("dry_run"):
            for job in jobs:
                job.unique_key, job.unique_among = key_of(job_type, rule, job.arguments), rule.scope
            made = rows.enqueue_unique(jobs, rule, when=when, **requester)
            jobs = [job for job in made if not job.is_existing]
        else:
            made = rows.enqueue_rows(jobs, when=when, **requester)
        if parents and jobs:
            hold(rows, jobs, parents, defaults.get("after_failure") or AfterFailure.CANCEL)
        if job_type.approval is not None:  # a job for which it waits may have failed: then this one is cancelled
            hold_unapproved(rows, [job for job in jobs if not job.is_finished], defaults.get("user"))
    if jobs_stored.receivers:
        tell_stored(jobs, using)
    return made


def store_timed(jobs: Sequence[Job], using: str, now: dt.datetime) -> None:
    """Store jobs of any types that ``made_ready`` has returned, each for the time in its ``run_after``.

    No rule for unique jobs is applied, and no audit entry is written.

    To be called in a transaction, if one of them may need an approval.

    :param now: the time of the database.
    """
    _rows_of(using).enqueue_timed(jobs, now)
    hold_unapproved(_rows_of(using), jobs)
    if jobs_stored.receivers:
        tell_stored(jobs, using)
    by_queue = defaultdict(list)
    for job in jobs:
        by_queue[job.queue_name].append(job)
    for some in by_queue.values():
        _announce_on_commit(some, using)


def made_ready(job_type: JobType[..., Any], dumped: Sequence[dict[str, Any]]) -> list[Job]:
    """Return one job for each dict of arguments, checked but not stored.

    :raises: what ``store_dumped`` raises, except for ``AlreadyEnqueued``.
    """
    defaults = job_type.defaults
    using = defaults.get("database") or router.db_for_write(Job)
    queue_name = defaults.get("queue_name") or job_type.queue_name
    if queue_name not in settings.QUEUES:
        known = ", ".join(settings.QUEUES)
        raise UnknownQueue(f"There is no queue {queue_name!r} in QORWORKER['QUEUES'], which has: {known}.")
    pattern = _pattern(job_type, queue_name)
    if defaults.get("dry_run"):
        backend_of(queue_name).check_dry_run()
    backend_of(queue_name).check_supported(priority=pattern["priority"], run_after=defaults.get("run_after"))
    for arguments in dumped:
        if problems := argument_problems(using, arguments):
            raise InvalidArguments(job_type.name, problems)
    jobs = [_job(pattern, arguments) for arguments in dumped]
    if job_type.is_limited:
        for job in jobs:
            job.limit_key = limit_key(job_type, job.arguments)
    if job_type.approval is not None:
        for job in jobs:
            note_right(job, defaults.get("user"))
    if jobs and jobs_made.receivers:
        jobs_made.send_robust(Job, jobs=jobs)
    return jobs


def _job(pattern: dict[str, Any], arguments: dict[str, Any]) -> Job:
    """Return a job with these attributes. To build forty fields one by one costs more than to store them."""
    job = Job.__new__(Job)
    job.__dict__ = {**pattern, "_state": ModelState(), "arguments": arguments, "meta": dict(pattern["meta"])}
    return job


@cache
def _rows_of(using: str) -> JobQuerySet:
    """Return the jobs of a database, to be stored through: a manager makes them twice each time."""
    return JobQuerySet(Job, using=using)


@cache
def _blank() -> dict[str, Any]:
    return vars(Job())


def _pattern(job_type: JobType[..., Any], queue_name: str) -> dict[str, Any]:
    defaults = job_type.defaults
    is_dry_run = bool(defaults.get("dry_run"))
    priority, user, schedule = defaults.get("priority"), defaults.get("user"), defaults.get("schedule")
    return {
        **_blank(),
        "name": job_type.name,
        "queue_name": queue_name,
        "priority": job_type.priority if priority is None else priority,
        "max_attempts": defaults.get("max_attempts") or (1 if is_dry_run else job_type.max_attempts),
        "is_dry_run": is_dry_run,
        "meta": defaults.get("meta") or {},
        "fingerprint": job_type.arguments.fingerprint,
        "version": job_type.version,
        "created_by_id": getattr(user, "pk", None) or getattr(schedule, "answerable_id", None),
        "rerun_of_id": getattr(rerun_of := defaults.get("rerun_of"), "pk", rerun_of),
        "schedule_id": getattr(schedule, "pk", schedule),
    }


def tell_stored(jobs: Sequence[Job], using: str) -> None:
    """Tell a rehearsal in this process that *jobs* were stored."""
    if jobs:
        jobs_stored.send(Job, using=using, names=[job.name for job in jobs])


def _announce_on_commit(jobs: Sequence[Job], using: str) -> None:
    """Announce jobs of one queue after the commit."""
    backend = backend_of(jobs[0].queue_name)
    if not has_listeners(backend):
        return

    def announce_jobs() -> None:  # a partial has no name, which Django before 6.1 logs if it fails
        announce(jobs, backend)

    transaction.on_commit(announce_jobs, using=using, robust=True)


def announce(jobs: Sequence[Job], backend: BaseBackend) -> None:
    """Log and signal that *jobs* of one queue were stored, and notify their backend of those that can start."""
    log_enqueued(jobs)
    if job_enqueued.has_listeners(Job):
        for job in jobs:
            job_enqueued.send_robust(sender=Job, job=job)
    notify(jobs, backend)


def has_listeners(backend: BaseBackend) -> bool:
    """Return whether anyone is to hear of a job that was stored in a queue with this backend."""
    return not backend.is_served_by_workers or job_enqueued.has_listeners(Job) or logs_enqueued()
