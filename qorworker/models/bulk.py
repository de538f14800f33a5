"""The work of the verbs for many jobs: a few statements for hundreds of them. All processes.

Each verb here takes jobs that were read from one database, at least one, and looks at their rows again under a lock.
Jobs that have moved on meanwhile are skipped.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction

from qorworker.arguments import files
from qorworker.exceptions import QorWorkerError
from qorworker.models.approval import Approval
from qorworker.models.approving import hold_unapproved, note_right, withdraw_requests
from qorworker.models.attempt import JobFile
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.batch_ends import keep_counts, lock_with_callbacks, reopen_batches
from qorworker.models.clock import DatabaseNow
from qorworker.models.dependents import resolve_on_commit
from qorworker.models.locks import begin_again
from qorworker.models.question import Question
from qorworker.models.waking import let_start, wake
from qorworker.queues import backend_of
from qorworker.status import JobStatus
from qorworker.system.processes import monotonic

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet

AT_ONCE = 500  # jobs in one transaction

# Takes jobs, the alias of their database, ``by`` and ``origin``; returns the jobs for which it worked.
Verb = Callable[..., list["Job"]]


def for_all(verb: Verb, jobs: JobQuerySet, seconds: float = math.inf, **options: Any) -> int:
    """Do *verb* with all of *jobs*, the oldest first, ``AT_ONCE`` in each transaction.

    It can be interrupted at any time. Jobs that are enqueued meanwhile are left alone, so that it ends.

    :param seconds: after this time it goes no further.
    :param options: what *verb* takes beside the jobs and their database.
    :returns: the number of jobs for which it worked.
    """
    rows = jobs.using(jobs.db).order_by("pk")
    newest = rows.values_list("pk", flat=True).last() or 0
    number, last, end = 0, 0, monotonic() + seconds
    while monotonic() <= end and (batch := list(rows.filter(pk__gt=last, pk__lte=newest)[:AT_ONCE])):
        last = batch[-1].pk
        number += len(begin_again(partial(verb, batch, jobs.db, **options), jobs.db))
    return number


def retry(jobs: Sequence[Job], using: str, *, by: Any = None, origin: str = Origin.CODE) -> list[Job]:
    """Queue those of *jobs* that ended badly for one more attempt, and return them.

    Jobs whose secrets were erased are skipped: only a new run can get them. So are those whose type fails to say
    whether they need an approval. All are queued in one transaction. If the unique index refuses one of them, each is
    retried by itself.
    """
    try:
        return _retry_together(jobs, using, by, origin) if jobs else []
    except IntegrityError:
        return [job for job in jobs if _retried(job, by, origin)]


def _retry_together(jobs: Sequence[Job], using: str, by: Any, origin: str) -> list[Job]:
    jobs = [job for job in jobs if _is_noted(job, by)]
    if not jobs:
        return []
    with _moving(jobs, using, "retry", by, origin) as (rows, moved):
        _all_jobs(jobs, using).holders({job.unique_key for job in jobs if job.unique_key})
        moved += [job for job in _locked(jobs, rows.ended_badly()) if not job.erased_secrets]
        _of(rows, moved).queue_again()
        reopen_batches(moved, using)
        hold_unapproved(_all_jobs(jobs, using), moved, by)
        let_start(moved, using)
    return moved


def _is_noted(job: Job, by: Any) -> bool:
    """Note which approval *job* needs, and return whether its type could say that."""
    try:
        note_right(job, by)
    except QorWorkerError:
        return False
    return True


def _retried(job: Job, by: Any, origin: str) -> bool:
    try:
        job.retry(by=by, origin=origin)
    except QorWorkerError:
        return False
    return True


def cancel(
    jobs: Sequence[Job], using: str, *, by: Any = None, reason: str = "", origin: str = Origin.CODE
) -> list[Job]:
    """Cancel those of *jobs* that still wait, and return them."""
    with _moving(jobs, using, "cancel", by, origin, reason) as (rows, moved):
        moved += _locked(jobs, rows.waiting())
        _of(rows, moved).transition(JobStatus.CANCELLED, finished_at=DatabaseNow())
        withdraw_requests(moved, using)
        _of(rows, [job for job in moved if job.may_have_secrets]).erase_secrets()
        resolve_on_commit(moved, _all_jobs(jobs, using))
        for job in moved:
            transaction.on_commit(job.send_cancelled, using=using, robust=True)
    return moved


def run_now(jobs: Sequence[Job], using: str, *, by: Any = None, origin: str = Origin.CODE) -> list[Job]:
    """Queue those of *jobs* that are still scheduled, and return them."""
    with _moving(jobs, using, "run now", by, origin) as (rows, moved):
        moved += _locked(jobs, rows.scheduled().not_asking().not_awaiting_approval())
        _of(rows, moved).transition(JobStatus.NEW, run_after=DatabaseNow(), waits_for_jobs=False)
        let_start(moved, using)
    return moved


def abort(jobs: Sequence[Job], using: str, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> list[Job]:
    """Request the abort of those of *jobs* that still run without such a request, and return them.

    Jobs of a queue whose backend cannot abort are skipped.
    """
    with _moving(jobs, using, "abort", by, origin, reason) as (rows, moved):
        running = _locked(jobs, rows.running().filter(abort_requested_at=None))
        moved += [job for job in running if backend_of(job.queue_name).supports_abort]
        _of(rows, moved).update(abort_requested_at=DatabaseNow())
        if moved:
            wake(using)
            transaction.on_commit(partial(_notify_of_abort, moved), using=using, robust=True)
    return moved


def pause(jobs: Sequence[Job], using: str, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> list[Job]:
    """Pause those of *jobs* that still wait, request the pause of those that run, and return them.

    Running jobs of a queue whose backend cannot pause them are skipped.
    """
    with _moving(jobs, using, "pause", by, origin, reason) as (rows, moved):
        running = set(rows.running().values_list("pk", flat=True))
        can_be_paused = _locked(jobs, rows.can_be_paused())
        moved += [job for job in can_be_paused if job.pk not in running or backend_of(job.queue_name).supports_pause]
        _of(rows, moved).request_pause()
        if moved:
            wake(using)
    return moved


def resume(jobs: Sequence[Job], using: str, *, by: Any = None, origin: str = Origin.CODE) -> list[Job]:
    """Resume those of *jobs* that are still paused, or whose pause was requested, and return them."""
    with _moving(jobs, using, "resume", by, origin) as (rows, moved):
        moved += _locked(jobs, rows.can_be_resumed())
        _of(rows, moved).end_pause()
        let_start(moved, using)
    return moved


def rerun(jobs: Sequence[Job], using: str, *, by: Any = None, origin: str = Origin.CODE) -> list[Job]:
    """Enqueue a new job like each of *jobs*, and return the new ones.

    Jobs whose code is gone or whose arguments no longer fit are skipped, as are unique jobs that have a match.
    """
    reruns = []
    for job in jobs:
        with suppress(QorWorkerError):
            reruns.append(job.rerun(by=by, origin=origin))
    return [job for job in reruns if not job.is_existing]


def delete(
    jobs: Sequence[Job], using: str, *, by: Any = None, origin: str = Origin.CODE, among: JobQuerySet | None = None
) -> tuple[int, dict[str, int]]:
    """Delete *jobs* with their logs, results, files and uploads, and return what Django's ``delete`` returns.

    With *among*, jobs that this query no longer finds once their rows are locked are skipped.
    """
    with transaction.atomic(using=using):
        rows = _rows_of(jobs, using)
        lock_with_callbacks(jobs, rows.unfiltered())
        deleted = _locked(jobs, rows)
        if among is not None:
            ids = set(among.filter(pk__in=[job.pk for job in deleted]).values_list("pk", flat=True))
            deleted = [job for job in deleted if job.pk in ids]
        discard_belongings(deleted, using)
        cancelled = keep_counts(deleted, rows.unfiltered())
        resolve_on_commit([*deleted, *cancelled], rows.unfiltered())  # while their rows tell whether others wait
        counts = _of(rows, deleted).erase()
        AuditEntry.objects.using(using).record_many("delete", deleted, user=by, origin=origin)
    return counts


def delete_all(jobs: JobQuerySet, **options: Any) -> tuple[int, dict[str, int]]:
    """Delete all of *jobs* that exist now, ``AT_ONCE`` in each transaction, and return what ``delete`` returns."""
    counts: Counter[str] = Counter()

    def delete_batch(batch: Sequence[Job], using: str) -> list[Job]:
        counts.update(delete(batch, using, among=jobs.using(using), **options)[1])
        return []

    for_all(delete_batch, jobs)
    return counts.total(), dict(counts)


# What they share.


@contextmanager
def _moving(
    jobs: Sequence[Job], using: str, action: str, by: Any, origin: str, reason: str = ""
) -> Iterator[tuple[JobQuerySet, list[Job]]]:
    """Surround a verb with one transaction, and write an audit entry for each job that moves.

    Yields the rows of *jobs*, and the list to which the body adds the jobs that move.
    """
    moved: list[Job] = []
    details = {"reason": reason} if reason else {}
    with transaction.atomic(using=using):
        rows = _rows_of(jobs, using)
        rows.lock()
        yield rows, moved
        AuditEntry.objects.using(using).record_many(action, moved, user=by, origin=origin, **details)


def _all_jobs(jobs: Sequence[Job], using: str) -> JobQuerySet:
    return type(jobs[0]).objects.using(using)


def _rows_of(jobs: Sequence[Job], using: str) -> JobQuerySet:
    return _of(_all_jobs(jobs, using), jobs)


def _of(rows: JobQuerySet, jobs: Iterable[Job]) -> JobQuerySet:
    return rows.filter(pk__in=[job.pk for job in jobs])


def _locked(jobs: Sequence[Job], rows: JobQuerySet) -> list[Job]:
    """Lock *rows* until the transaction ends, and return those of *jobs* that are among them."""
    ids = set(rows.order_by("pk").select_for_update().values_list("pk", flat=True))
    return [job for job in jobs if job.pk in ids]


def _notify_of_abort(jobs: Iterable[Job]) -> None:
    for job in jobs:
        backend = backend_of(job.queue_name)
        if not backend.is_served_by_workers:
            backend.abort_requested(job)


def discard_belongings(jobs: Sequence[Job], using: str) -> None:
    """Delete the uploads of *jobs*, and the files that they have added, once the open transaction has committed; and
    their questions and approvals.

    To be called before their rows are gone.
    """
    # A copy that was read before the job ended may not know that it has asked.
    if asked := [job.pk for job in jobs if job.has_questions or not job.is_finished]:
        Question.objects.using(using).of_jobs(asked).delete()
    if ids := [job.pk for job in jobs if job.job_type is None or job.job_type.approval is not None]:
        Approval.objects.using(using).filter(job_id__in=ids).delete()
    places = JobFile.objects.using(using).of_jobs([job.pk for job in jobs]).places()
    transaction.on_commit(partial(_discard_now, jobs, places), using=using, robust=True)


def _discard_now(jobs: Iterable[Job], places: Iterable[tuple[str, str]]) -> None:
    for job in jobs:
        job.discard_uploads()
    for alias, key in places:
        files.discard_stored(alias, key)
