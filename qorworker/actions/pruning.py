"""Deletes jobs that have ended, with all that belongs to them, and records that in the audit. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.core.files.storage import Storage
from django.db import connections, transaction

from qorworker.actions.summarising import summarise
from qorworker.arguments import files
from qorworker.models import bulk
from qorworker.models.attempt import JobFile
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.batch import Batch
from qorworker.models.batch_ends import keep_counts, lock_with_callbacks
from qorworker.models.clock import database_now
from qorworker.models.dependents import resolve_on_commit
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.limits import over
from qorworker.models.message import Message
from qorworker.models.own import write_database
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_slot import ScheduleSlot
from qorworker.models.unique import HOLDS
from qorworker.models.worker import Worker

AT_ONCE = 200  # jobs in one transaction
WORKERS_KEPT = dt.timedelta(days=7)  # after their last heartbeat
SLOTS_KEPT = dt.timedelta(days=90)  # and as long as their jobs exist
BATCHES_KEPT = dt.timedelta(days=90)  # after their end, and as long as their jobs exist
MESSAGES_KEPT = dt.timedelta(days=30)  # those that are about no job
UPLOAD_AGE = dt.timedelta(days=1)  # a younger one may belong to a job that is just being stored


def delete_ended(
    jobs: Sequence[Job], using: str, *, action: str = "delete", by: Any = None, origin: str = Origin.CODE
) -> list[Job]:
    """Delete those of *jobs* that have ended and were not retried meanwhile, and return them.

    :param using: the alias of their database.
    :param action: what the audit calls it.
    :param by: the user who deletes them, for the audit.
    :param origin: where the request comes from, for the audit.
    """
    with transaction.atomic(using=using):
        rows = Job.objects.using(using).filter(pk__in=[job.pk for job in jobs])
        lock_with_callbacks(jobs, rows.unfiltered())
        ended = set(rows.finished().select_for_update().values_list("pk", flat=True))
        deleted = [job for job in jobs if job.pk in ended]
        if deleted:
            bulk.discard_belongings(deleted, using)
            cancelled = keep_counts(deleted, rows.unfiltered())
            rows.filter(pk__in=ended).erase()
            AuditEntry.objects.using(using).record_many(action, deleted, user=by, origin=origin)
            resolve_on_commit(cancelled, rows.unfiltered())
    return deleted


def delete_if_ended(job: Job, *, by: Any, origin: str) -> bool:
    """Delete a job with its log, results and uploads. Return False if it has not ended, or was retried meanwhile.

    The audit records either.
    """
    using = write_database(job)
    if delete_ended([job], using, by=by, origin=origin):
        return True
    AuditEntry.objects.using(using).record("delete", job=job, user=by, origin=origin, outcome="too late")
    return False


def prune(
    jobs: JobQuerySet,
    keep_for: Callable[[Job], dt.timedelta | None],
    shortest: dt.timedelta,
    *,
    dry_run: bool = False,
    origin: str = Origin.COMMAND,
) -> Iterator[Job]:
    """Delete those of *jobs* that ended too long ago, the oldest first, and yield each.

    A unique job whose key is kept for a period stays until that is over, and a job stays until those that wait for it
    have ended: they may use what it has returned. The transactions are small, so that others do
    not wait long, and it can be interrupted at any time. Before the first of them it is added up how jobs have ended.

    :param keep_for: returns for a job how long it is kept; None: for ever.
    :param shortest: the shortest time that ``keep_for`` returns for any job.
    :param dry_run: whether to yield the jobs without deleting them.
    :param origin: where the request comes from, for the audit.
    """
    using, last = jobs.db, 0
    if not dry_run:
        summarise(using)
    now = database_now(using)
    ended = jobs.finished().needless().filter(finished_at__lt=now - shortest).order_by("pk")
    while batch := list(ended.filter(pk__gt=last)[:AT_ONCE]):
        last = batch[-1].pk
        over = [job for job in batch if _is_over(job, keep_for(job), now)]
        if over and not dry_run:
            over = delete_ended(over, using, action="prune", origin=origin)
        yield from over


def _is_over(job: Job, limit: dt.timedelta | None, now: dt.datetime) -> bool:
    if job.unique_place == HOLDS and job.unique_until is not None and job.unique_until > now:
        return False
    return limit is not None and job.finished_at is not None and now - job.finished_at > limit


def prune_workers(using: str, *, dry_run: bool = False) -> int:
    """Delete the rows of workers that have been gone for a week, and return how many."""
    gone = Worker.objects.using(using).gone_since(database_now(using) - WORKERS_KEPT)
    return gone.count() if dry_run else gone.forget()


def prune_slots(using: str, *, dry_run: bool = False) -> int:
    """Delete the records of old times of schedules whose jobs are gone, and return how many."""
    old = ScheduleSlot.objects.using(using).forgettable(database_now(using) - SLOTS_KEPT)
    return old.count() if dry_run else old.delete()[0]


def prune_batches(using: str, *, dry_run: bool = False) -> int:
    """Delete the rows of batches that ended long ago and whose jobs are all gone, and return how many."""
    old = Batch.objects.using(using).forgettable(database_now(using) - BATCHES_KEPT)
    return old.count() if dry_run else old.delete()[0]


def prune_messages(using: str, *, dry_run: bool = False) -> int:
    """Delete old messages that are about no job, and return how many."""
    old = Message.objects.using(using).forgettable(database_now(using) - MESSAGES_KEPT)
    return old.count() if dry_run else old.delete()[0]


def prune_limits(using: str, *, dry_run: bool = False) -> int:
    """Delete the records of limits that no longer count, and return how many."""
    return sum(rows.count() if dry_run else rows.delete()[0] for rows in over(using))


def stray_uploads(storage: Storage) -> Iterator[str]:
    """Yield the uploads and files of jobs in *storage* that belong to no job and no schedule and are older than a day.

    Transactions that were rolled back leave them, schedules that were deleted before their jobs, and attempts that
    were ended, or lost their job, before the row of a file that they had stored was written.
    """
    in_use: set[str] = set()
    for using in _databases():
        for rows in (Job.objects.using(using), Schedule.objects.using(using)):
            for arguments in rows.values_list("arguments", flat=True).iterator(2_000):
                in_use |= files.keys(arguments)
        in_use.update(JobFile.objects.using(using).all_keys())
    for key in files.stored(storage):
        if key not in in_use and _age(storage, key) > UPLOAD_AGE:
            yield key


def _databases() -> list[str]:
    """Return the databases that have a table of jobs: all their uploads are in the same storage."""
    table = Job._meta.db_table
    return [each.alias for each in connections.all() if table in each.introspection.table_names()]


def _age(storage: Storage, key: str) -> dt.timedelta:
    try:
        modified = storage.get_modified_time(key)
    except FileNotFoundError:  # it was deleted since it was listed
        return dt.timedelta(0)
    return dt.datetime.now(modified.tzinfo) - modified  # both without a zone if USE_TZ is off
