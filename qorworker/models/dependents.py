"""What becomes of the jobs that wait for others: they are held, released, or cancelled. All processes.

Code that ends a job for which others wait calls ``resolve`` after its commit. Whether others wait is read as the row is
ended: what is stored later finds the end by itself. A process may die between the commit and ``resolve``, so every
worker calls ``resolve_missed`` now and then. Each dependent is resolved under a lock of its row, so it starts once,
whatever ends at the same moment. A row that another transaction has locked for long does not hold up the others:
``resolve_missed`` comes back to it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from django.db import OperationalError, transaction
from django.utils.translation import gettext_lazy as _

from qorworker.models.batch_ends import settle_batches
from qorworker.models.dependency import AfterFailure, Dependency
from qorworker.models.held import cancel_held, release_held
from qorworker.models.locks import begin_again, short_waits, waited_in_vain
from qorworker.status import ENDED_BADLY, FINISHED, UNFINISHED, JobStatus
from qorworker.system.processes import monotonic

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet

AT_ONCE = 500  # dependencies in one transaction, or jobs in one statement
SECONDS = 2.0  # for what a request or a verb resolves; workers do the rest
# They do not name the job: not everyone who may see the dependent may see that one.
_REASONS = {
    JobStatus.EXCEPTION: _("A job for which it waited has failed."),
    JobStatus.KILLED: _("A job for which it waited was aborted."),
    JobStatus.CANCELLED: _("A job for which it waited was cancelled."),
    None: _("A job for which it waited was deleted."),
}


def lock_parents(rows: JobQuerySet, parents: Sequence[int]) -> dict[int, str]:
    """Lock the jobs for which new ones are to wait, and return the status of each by its id.

    To be called before the new ones are stored: on MariaDB a transaction that has locked a parent might wait for their
    rows.

    :param rows: all jobs of their database.
    :raises ValueError: if one of the parents does not exist.
    """
    locked = rows.filter(pk__in=parents).order_by("pk").select_for_update()
    statuses = dict(locked.values_list("pk", "status"))
    if unknown := [pk for pk in parents if pk not in statuses]:
        raise ValueError(f"after: there is no job {', '.join(map(str, unknown))} in the database {rows.db!r}.")
    return statuses


def hold(rows: JobQuerySet, jobs: Sequence[Job], parents: dict[int, str], after_failure: str) -> None:
    """Let *jobs*, which were just stored, wait for *parents*. Inside the transaction that stored them.

    :param rows: all jobs of their database.
    :param parents: what ``lock_parents`` has returned.
    """
    Dependency.objects.using(rows.db).bulk_create(
        [Dependency(job_id=job.pk, parent_id=pk, after_failure=after_failure) for job in jobs for pk in parents],
        batch_size=1_000,
    )
    rows.filter(pk__in=parents, has_dependents=False).update(has_dependents=True)
    some_have_ended = not FINISHED.isdisjoint(parents.values())
    for start in range(0, len(jobs), AT_ONCE):
        some = jobs[start : start + AT_ONCE]
        rows.filter(pk__in=[job.pk for job in some]).hold()
        for job in some:
            job.status, job.has_parents, job.waits_for_jobs = JobStatus.SCHEDULED, True, True
        if some_have_ended:
            _resolve_new(rows, some)


def _resolve_new(rows: JobQuerySet, jobs: Sequence[Job]) -> None:
    """Resolve *jobs*, some of whose parents have ended before they were stored, and refresh them."""
    by_id = {job.pk: job for job in jobs}
    due = Dependency.objects.using(rows.db).due().filter(job_id__in=by_id)
    while some := list(due.order_by("pk")[:AT_ONCE]):
        _resolve(rows, some)
    fields = ("status", "waits_for_jobs", "finished_at", "unique_place")
    for stored in rows.filter(pk__in=by_id).only(*fields):
        for field in fields:
            setattr(by_id[stored.pk], field, getattr(stored, field))


def resolve(rows: JobQuerySet, parents: Collection[int], seconds: float = math.inf) -> None:
    """Start or cancel the jobs that have waited for *parents*, which have ended, and those that waited for these.

    :param rows: all jobs of their database.
    :param seconds: after this time it leaves the rest to ``resolve_missed``, as it does if a row is locked for long.
    """
    end, left = monotonic() + seconds, list(parents)
    while left and monotonic() < end:
        due = Dependency.objects.using(rows.db).due().filter(parent_id__in=left[:AT_ONCE])
        some = list(due.order_by("pk")[:AT_ONCE])
        try:
            cancelled = begin_again(partial(_resolve, rows, some, waits=True), rows.db) if some else []
        except OperationalError as error:
            if not waited_in_vain(error):
                raise
            return
        left = cancelled + (left if len(some) == AT_ONCE else left[AT_ONCE:])


def resolve_on_commit(jobs: Sequence[Job], rows: JobQuerySet) -> None:
    """Once the open transaction has committed, let follow what waits for *jobs*, which it ends: jobs and batches."""
    # As of now: code may have read them before others came to wait for them.
    parents = list(rows.filter(pk__in=[job.pk for job in jobs], has_dependents=True).values_list("pk", flat=True))
    if parents:
        transaction.on_commit(partial(resolve, rows, parents, SECONDS), using=rows.db, robust=True)
    _settle_on_commit(jobs, rows)


def _settle_on_commit(jobs: Sequence[Job], rows: JobQuerySet) -> None:
    if batches := {job.batch_id for job in jobs if job.batch_id is not None}:
        transaction.on_commit(partial(settle, rows, batches, SECONDS), using=rows.db, robust=True)


def settle(rows: JobQuerySet, batches: Collection[int], seconds: float = math.inf) -> None:
    """Settle those of *batches* whose jobs have all ended, and let follow what waits for jobs that this has cancelled.

    :param rows: all jobs of their database.
    :param seconds: as for ``resolve``.
    """
    end = monotonic() + seconds
    if cancelled := settle_batches(rows, batches, seconds):
        resolve(rows, cancelled, end - monotonic())


def resolve_missed(rows: JobQuerySet, seconds: float = math.inf) -> None:
    """Resolve what was not resolved when a parent ended. *seconds* as for ``resolve``; locked rows are skipped."""
    end, last = monotonic() + seconds, 0
    due = Dependency.objects.using(rows.db).due().order_by("pk")
    while some := list(due.filter(pk__gt=last)[:AT_ONCE]):
        last = some[-1].pk
        resolve(rows, begin_again(partial(_resolve, rows, some), rows.db), end - monotonic())
        if monotonic() >= end:
            return


def _resolve(rows: JobQuerySet, due: Sequence[Dependency], *, waits: bool = False) -> list[int]:
    """Resolve these dependencies. Return the jobs that this has cancelled and for which others wait.

    :param waits: whether to wait for locked rows, for a second at most, instead of skipping them.
    :raises django.db.OperationalError: if it has waited in vain.
    """
    with transaction.atomic(using=rows.db), short_waits(rows.db) if waits else nullcontext():
        these = rows.filter(pk__in={each.job_id for each in due})
        jobs = list(these.order_by("pk").select_for_update() if waits else these.unlocked())
        dependencies = Dependency.objects.using(rows.db)
        of_these = dependencies.open().filter(job_id__in=[job.pk for job in jobs]).order_by("pk")
        if transaction.get_connection(rows.db).vendor != "mysql":
            # PostgreSQL then refuses what another process has resolved since the snapshot of this transaction. MariaDB
            # has none yet, and would lock dependencies of other jobs.
            of_these = of_these.select_for_update()
        still_open = {each.pk: each for each in of_these}
        # Read again: a parent may have been retried before the locks were there.
        ended = rows.filter(pk__in={each.parent_id for each in due})
        statuses = dict(ended.values_list("pk", "status"))
        closed = [
            still_open.pop(each.pk)
            for each in due
            if each.pk in still_open and _is_over(each, statuses.get(each.parent_id))
        ]
        failed = {each.job_id: each.parent_id for each in closed if _is_failure(each, statuses.get(each.parent_id))}
        waiting = [job for job in jobs if job.waits_for_jobs and job.status == JobStatus.SCHEDULED]
        held = {each.job_id for each in still_open.values()}
        cancelled = defaultdict(list)
        for job in waiting:
            if job.pk in failed:
                cancelled[failed[job.pk]].append(job)
        closed += [each for each in still_open.values() if each.job_id in failed]
        dependencies.filter(pk__in=[each.pk for each in closed]).update(is_open=False)
        release_held(rows, [job for job in waiting if job.pk not in failed and job.pk not in held])
        for parent, those in cancelled.items():
            status = statuses.get(parent)
            cancel_held(rows, those, str(_REASONS[JobStatus(status) if status else None]), parent=parent)
            _settle_on_commit(those, rows)
    return [job.pk for those in cancelled.values() for job in those if job.has_dependents]


def _is_over(dependency: Dependency, status: str | None) -> bool:
    """Return whether a parent of this status, None if it is gone, no longer holds the job up."""
    may_be_retried = dependency.after_failure == AfterFailure.WAIT and status in ENDED_BADLY
    return status not in UNFINISHED and not may_be_retried


def _is_failure(dependency: Dependency, status: str | None) -> bool:
    """Return whether a parent that has ended with this status, or is gone, causes the job to be cancelled."""
    return status != JobStatus.DONE and dependency.after_failure != AfterFailure.RUN
