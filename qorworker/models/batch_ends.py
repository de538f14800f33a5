"""When a batch has ended, and what becomes of the two jobs that wait for that. All processes.

Nothing is counted while jobs end, so no row is written by all of them. Whoever ends a job of a batch asks after its
commit whether one that has not ended is left, and, if none is, settles the batch under a lock of its row. A process
may die between the two: ``open_batches`` are looked at again by every worker now and then. A retry opens the batch
again, under the same lock, so that it never ends while one of its jobs runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, transaction
from django.db.models import Count
from django.utils.translation import gettext_lazy as _

from qorworker.models.batch import Batch, BatchOutcome
from qorworker.models.clock import DatabaseNow
from qorworker.models.held import cancel_held, is_held, release_held
from qorworker.models.locks import begin_again, short_waits, waited_in_vain
from qorworker.status import UNFINISHED, JobStatus
from qorworker.system.processes import monotonic

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet

ALL_DONE = _("All jobs of its batch are done.")
NEVER_DONE = _("Jobs of its batch were cancelled or deleted, so they will never all be done.")


def settle_batches(rows: JobQuerySet, batches: Collection[int], seconds: float = math.inf) -> list[int]:
    """Settle those of *batches* whose jobs have all ended.

    :param rows: all jobs of their database.
    :param seconds: after this time it leaves the rest to the next look of a worker, as it does with locked rows.
    :returns: the ids of the jobs that this has cancelled and for which others wait.
    """
    end, cancelled = monotonic() + seconds, list[int]()
    for pk in sorted(batches):
        if monotonic() >= end:
            break
        if not has_unfinished(rows, pk):
            try:
                cancelled += begin_again(partial(_settle, rows, pk), rows.db)
            except OperationalError as error:
                if not waited_in_vain(error):
                    raise
    return cancelled


def has_unfinished(rows: JobQuerySet, batch: int) -> bool:
    """Return whether a job of *batch* has not ended."""
    return unfinished_in(rows, batch) is not None


def unfinished_in(rows: JobQuerySet, batch: int) -> int | None:
    """Return the id of the newest job of *batch* that has not ended; None if there is none.

    The newest mostly end last, so few are passed. A single batch is a range, too, and part of the order: with a
    constant, the databases might walk the primary key instead, through all jobs that are newer than the batch.
    """
    of_batch = rows.filter(batch_id__gte=batch, batch_id__lte=batch, status__in=UNFINISHED)
    return of_batch.order_by("-batch_id", "-id").values_list("pk", flat=True).first()


def still_unfinished(rows: JobQuerySet, jobs: Iterable[int]) -> set[int]:
    """Return those of *jobs*, given by their ids, that have not ended."""
    return set(rows.filter(pk__in=list(jobs), status__in=UNFINISHED).values_list("pk", flat=True))


def _settle(rows: JobQuerySet, pk: int) -> list[int]:
    """Settle a batch if it is open and its jobs have ended. Return what ``settle_batches`` does.

    :raises django.db.OperationalError: if it has waited for a lock in vain.
    """
    batches = Batch.objects.using(rows.db)
    batch = batches.open().filter(pk=pk).first()
    if batch is None:
        return []
    with transaction.atomic(using=rows.db), short_waits(rows.db):
        # In the order in which verbs lock: jobs first. On SQLite the first statement must be one that writes.
        callbacks = _locked_callbacks(rows, batch)
        if not batches.open().filter(pk=pk).update(ended_at=DatabaseNow()):
            return []
        batch.refresh_from_db(using=rows.db, fields=["gone"])
        statuses = set(dict(status_counts(rows.filter(batch_id=pk))))
        if statuses & UNFINISHED:  # one was retried since
            transaction.set_rollback(True, using=rows.db)
            return []
        is_done = statuses <= {JobStatus.DONE} and not batch.has_lost_jobs
        batches.filter(pk=pk).update(outcome=BatchOutcome.DONE if is_done else BatchOutcome.FAILED)
        may_be_done_yet = JobStatus.CANCELLED not in statuses and not batch.has_lost_jobs
        callbacks = _callbacks(rows, batch) if callbacks is None else callbacks
        return _let_follow(rows, batch, callbacks, is_done, may_be_done_yet)


def _let_follow(
    rows: JobQuerySet, batch: Batch, callbacks: dict[int, Job], is_done: bool, may_be_done_yet: bool
) -> list[int]:
    """Release the job that the end of a batch calls for, and cancel the one that will never run."""
    then, otherwise = (callbacks.get(pk or 0) for pk in (batch.then_id, batch.otherwise_id))
    released, cancelled, reason = (then, otherwise, ALL_DONE) if is_done else (otherwise, then, NEVER_DONE)
    if not is_done and may_be_done_yet:
        cancelled = None
    if released is not None and is_held(released):
        release_held(rows, [released])
    if cancelled is None or not is_held(cancelled):
        return []
    cancel_held(rows, [cancelled], str(reason), batch=batch.pk)
    return [cancelled.pk] if cancelled.has_dependents else []


def _callbacks(rows: JobQuerySet, batch: Batch) -> dict[int, Job]:
    ids = [pk for pk in (batch.then_id, batch.otherwise_id) if pk is not None]
    return {job.pk: job for job in rows.filter(pk__in=ids)} if ids else {}


def _locked_callbacks(rows: JobQuerySet, batch: Batch) -> dict[int, Job] | None:
    """Lock the jobs that wait for *batch*, and return them; None where rows have no locks."""
    if not transaction.get_connection(rows.db).features.has_select_for_update:
        return None
    return _callbacks(rows.order_by("pk").select_for_update(), batch)


def reopen_batches(jobs: Iterable[Job], using: str) -> None:
    """Let the batches of *jobs*, which the open transaction queues again, wait for them.

    The lock comes with the change, also of a batch that is open: it may be about to end.
    """
    if batches := _of(jobs):
        Batch.objects.using(using).filter(pk__in=sorted(batches)).update(ended_at=None, outcome=BatchOutcome.OPEN)


def lock_with_callbacks(jobs: Iterable[Job], rows: JobQuerySet) -> None:
    """Lock *jobs* of batches together with those that wait for the end of these, before the transaction deletes them.

    Whatever locks jobs does so by primary key, and before it locks a batch: so nobody waits for anybody in a circle.

    :param rows: all jobs of their database.
    """
    in_batches = [job for job in jobs if job.batch_id is not None]
    if not in_batches or not transaction.get_connection(rows.db).features.has_select_for_update:
        return
    callbacks = Batch.objects.using(rows.db).filter(pk__in=_of(in_batches), then__isnull=False)
    ids = {job.pk for job in in_batches}.union(callbacks.values_list("then_id", flat=True))
    list(rows.filter(pk__in=ids).order_by("pk").select_for_update().values_list("pk"))


def keep_counts(jobs: Sequence[Job], rows: JobQuerySet) -> list[Job]:
    """Add *jobs*, which the open transaction has locked and deletes, to what their batches keep of jobs that are gone.

    :param rows: all jobs of their database.
    :returns: the jobs that this has cancelled: they waited for all jobs of a batch to be done.
    """
    cancelled, going = list["Job"](), {job.pk for job in jobs}
    if not (ids := [job.pk for job in jobs if job.batch_id is not None]):
        return cancelled
    gone = defaultdict[int, list["Job"]](list)
    for job in rows.filter(pk__in=ids).without_return_value().defer("arguments", "meta").select_for_update():
        gone[job.batch_id or 0].append(job)  # as it is now: the copies may be older
    for batch in Batch.objects.using(rows.db).filter(pk__in=gone).order_by("pk").select_for_update():
        batch.note_gone(gone[batch.pk])
        batch.save(using=rows.db, update_fields=["gone"])
        if batch.outcome == BatchOutcome.FAILED and batch.has_lost_jobs:
            then = _callbacks(rows.select_for_update(), batch).get(batch.then_id or 0)
            if then is not None and is_held(then) and then.pk not in going:
                cancel_held(rows, [then], str(NEVER_DONE), batch=batch.pk)
                cancelled.append(then)
    return cancelled


def status_counts(jobs: JobQuerySet) -> Iterable[tuple[str, int]]:
    """Return each status of *jobs* with the number of jobs that have it."""
    return jobs.order_by().values_list("status").annotate(number=Count("pk"))


def _of(jobs: Iterable[Any]) -> set[int]:
    return {job.batch_id for job in jobs if job.batch_id is not None}
