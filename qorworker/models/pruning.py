"""Deleting what has ended: a job goes with its story and its uploads, and leaves a line in the audit. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from django.core.files.storage import Storage
from django.db import connections, transaction

from qorworker.arguments import files
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import database_now
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.limits import over
from qorworker.models.schedule import Schedule
from qorworker.models.slot import ScheduleSlot
from qorworker.models.unique import HOLDS
from qorworker.models.worker import Worker

AT_ONCE = 200  # jobs in one transaction
WORKERS_KEPT = dt.timedelta(days=7)  # after their last sign of life
SLOTS_KEPT = dt.timedelta(days=90)  # and as long as the jobs that they made
UPLOAD_AGE = dt.timedelta(days=1)  # an upload belongs to a job that is only now being stored, or to none


def delete_ended(
    jobs: Sequence[Job], using: str, *, action: str = "delete", by: Any = None, origin: str = Origin.CODE
) -> list[Job]:
    """Delete those of *jobs* that have ended and were not taken up again meanwhile; which they were.

    In the same transaction an audit entry is written for each of them: *action*, and *by* whom.
    """
    with transaction.atomic(using=using):
        rows = Job.objects.using(using).filter(pk__in=[job.pk for job in jobs])
        ended = set(rows.finished().select_for_update().values_list("pk", flat=True))
        deleted = [job for job in jobs if job.pk in ended]
        if deleted:
            rows.filter(pk__in=ended).delete()
            AuditEntry.objects.using(using).record_many(action, deleted, user=by, origin=origin)
            transaction.on_commit(partial(_discard_uploads, deleted), using=using, robust=True)
    return deleted


def _discard_uploads(jobs: Iterable[Job]) -> None:
    for job in jobs:
        known = job.job_type.arguments.definition.fields if job.job_type is not None else {}
        files.discard(job.arguments, known)


def prune(
    jobs: JobQuerySet,
    keep_for: Callable[[Job], dt.timedelta | None],
    shortest: dt.timedelta,
    *,
    dry_run: bool = False,
    origin: str = Origin.COMMAND,
) -> Iterator[Job]:
    """Delete those of *jobs* that ended longer ago than ``keep_for(job)`` says, the oldest first; yield each.

    *shortest* is the least that ``keep_for`` says of any job; None from it means for ever. A job that keeps others like
    it away for a period is left until that is over.

    In small transactions, so that nobody waits long, and it can be stopped at any time.
    """
    using, last = jobs.db, 0
    now = database_now(using)
    ended = jobs.finished().filter(finished_at__lt=now - shortest).order_by("pk")
    while found := list(ended.filter(pk__gt=last)[:AT_ONCE]):
        last = found[-1].pk
        over = [job for job in found if _is_over(job, keep_for(job), now)]
        if over and not dry_run:
            over = delete_ended(over, using, action="prune", origin=origin)
        yield from over


def _is_over(job: Job, limit: dt.timedelta | None, now: dt.datetime) -> bool:
    if job.unique_place == HOLDS and job.unique_until is not None and job.unique_until > now:
        return False
    return limit is not None and job.finished_at is not None and now - job.finished_at > limit


def prune_workers(using: str, *, dry_run: bool = False) -> int:
    """Delete the rows of workers that have been gone for a week; how many."""
    gone = Worker.objects.using(using).gone_since(database_now(using) - WORKERS_KEPT)
    return gone.count() if dry_run else gone.forget()


def prune_slots(using: str, *, dry_run: bool = False) -> int:
    """Delete what is recorded of old times of schedules whose jobs are gone; how many."""
    old = ScheduleSlot.objects.using(using).forgettable(database_now(using) - SLOTS_KEPT)
    return old.count() if dry_run else old.delete()[0]


def prune_limits(using: str, *, dry_run: bool = False) -> int:
    """Delete what is recorded of limits and counts no more; how many."""
    return sum(rows.count() if dry_run else rows.delete()[0] for rows in over(using))


def stray_uploads(storage: Storage) -> Iterator[str]:
    """Uploads in *storage* that belong to no job and no schedule, and are older than a day.

    They are left by transactions that were rolled back, and by schedules that were deleted before their jobs.
    """
    known: set[str] = set()
    for using in _databases():
        for rows in (Job.objects.using(using), Schedule.objects.using(using)):
            for arguments in rows.values_list("arguments", flat=True).iterator(2_000):
                known |= files.keys(arguments)
    for key in files.stored(storage):
        if key not in known and _age(storage, key) > UPLOAD_AGE:
            yield key


def _databases() -> list[str]:
    """Those with a table of jobs: the uploads of all of them are in the same storage."""
    table = Job._meta.db_table
    return [each.alias for each in connections.all() if table in each.introspection.table_names()]


def _age(storage: Storage, key: str) -> dt.timedelta:
    modified = storage.get_modified_time(key)
    return dt.datetime.now(modified.tzinfo) - modified  # both without a zone if USE_TZ is off
