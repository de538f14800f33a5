"""The verbs of one job: each is one conditional UPDATE with one audit entry. All processes.

These functions are methods of ``Job``. If an UPDATE touches no row, the job has moved on, and the verb raises
``InvalidTransition``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import codec
from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.exceptions import AlreadyEnqueued, InvalidArguments, InvalidTransition
from qorworker.models import waiting
from qorworker.models.alters import alters_data, begins_again
from qorworker.models.approving import hold_unapproved, note_right, withdraw_requests
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.batch_ends import reopen_batches
from qorworker.models.clock import DatabaseNow, check_zone
from qorworker.models.dependents import resolve_on_commit
from qorworker.models.own import write_database
from qorworker.models.unique import conflict_of
from qorworker.models.waking import wake
from qorworker.queues import backend_of, notify
from qorworker.signals import job_finished, log_finished
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet

SHOW_STACK = "show the stack of"  # a verb that concerns only what runs the job by now


@dataclass(slots=True)
class VerbResult:
    """The result of a verb; if nothing is set, the status of the job did not allow it."""

    moved: int = 0  # rows that were changed: 0 or 1
    repeated: bool = False  # the same had been requested before
    conflict: Job | None = None  # another job that holds the unique key
    message: str = ""  # why nothing was changed, if the status does not tell


@alters_data
@begins_again
def cancel(self: Job, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
    """Withdraw a job that has not started.

    :param by: the user who cancels it, for the audit.
    :param reason: the reason, for the audit.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidTransition: if it has started or ended.

    Example::

        job.cancel(by=request.user, reason="The file was the wrong one.")
    """
    with changing(self, "cancel", by, origin, reason=reason) as result:
        result.moved = withdraw(self)


@alters_data
@begins_again
def reschedule(self: Job, when: dt.datetime, *, by: Any = None, origin: str = Origin.CODE) -> None:
    """Move a job that has not started to another time.

    :param when: the new time, with a zone if ``USE_TZ`` is on. The job is due at once if it is past.
    :param by: the user who moves it, for the audit.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidTransition: if it has started or ended, or waits for an answer.
    :raises qorworker.exceptions.UnsupportedByBackend: if the queue's backend cannot wait for a time.
    :raises ValueError: if *when* has a zone where the project has none, or the other way round.

    Example::

        job.reschedule(timezone.now() + timedelta(hours=2), by=request.user)
    """
    check_zone(when, "Job.reschedule()")
    backend_of(self.queue_name).check_supported(priority=0, run_after=when)
    times = {"before": self.run_after.isoformat(), "after": when.isoformat()}
    with changing(self, "reschedule", by, origin, **times) as result:
        result.moved = row_of(self).not_asking().schedule(when)
        result.message = _asks(self)
        row_of(self).promote_due()


@alters_data
@begins_again
def run_now(self: Job, *, by: Any = None, origin: str = Origin.CODE) -> None:
    """Queue a scheduled job without waiting for its time.

    :param by: the user who asks for it, for the audit.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidTransition: if it is not scheduled, or waits for an answer or an approval.
    """
    with changing(self, "run now", by, origin) as result:
        rows = row_of(self).scheduled().not_asking().not_awaiting_approval()
        result.moved = rows.transition(JobStatus.NEW, run_after=DatabaseNow(), waits_for_jobs=False)
        result.message = _asks(self) or _awaits_approval(self)


@alters_data
@begins_again
def abort(self: Job, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
    """Request the end of a running job. Its worker ends the processes; a second request changes nothing.

    :param by: the user who aborts it, for the audit.
    :param reason: the reason, for the audit.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidTransition: if it is not running.
    :raises qorworker.exceptions.UnsupportedByBackend: if the queue's backend cannot abort jobs.

    Example::

        job.abort(by=request.user, reason="It takes too long.")
        job.wait(timeout=60)
    """
    backend_of(self.queue_name).check_abort()
    with changing(self, "abort", by, origin, reason=reason) as result:
        running = row_of(self).running()
        result.moved = running.filter(abort_requested_at=None).update(abort_requested_at=DatabaseNow())
        if not result.moved:
            result.repeated = running.exists()


@alters_data
@begins_again
def mark_failed(self: Job, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
    """End a running job as failed because its worker does not answer, even if it has attempts left.

    This is for jobs that no worker is left to rescue. Their processes are not ended: if they still run, they continue
    until their worker notices.

    :param by: the user who marks it, for the audit and the job's error.
    :param reason: the reason, for the audit and the job's error.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidTransition: if it is not running, or if its worker answers after all.
    """
    from qorworker.attempts import rescue  # noqa: PLC0415 - stands above the rows

    with changing(self, "mark failed", by, origin, reason=reason) as result:
        lease = row_of(self).values_list("lease_expires_at", flat=True).first()
        if lease is not None:
            text = _marked_failed(by, lease, reason)
            result.moved = rescue.end_failed(write_database(self), self.pk, self.attempt_token or "", text)


@alters_data
@begins_again
def retry(self: Job, *, by: Any = None, origin: str = Origin.CODE) -> None:
    """Queue a failed or aborted job for one more attempt. Its earlier attempts stay on record.

    If it needs an approval, and its code has changed since, it waits for another one.

    :param by: the user who retries it, for the audit.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidTransition: if it has not failed or been aborted.
    :raises qorworker.exceptions.AlreadyEnqueued: if it is unique and another job like it waits or runs.
    :raises qorworker.exceptions.InvalidArguments: if its secrets were erased when it ended: ``rerun`` asks for them.

    Example::

        job.retry(by=request.user)
    """
    _check_secrets(self)
    note_right(self, by)
    with changing(self, "retry", by, origin) as result:
        ended = row_of(self).ended_badly()
        result.conflict = ended.in_the_way()
        try:
            with transaction.atomic(using=ended.db):
                result.moved = 0 if result.conflict else row_of(self).queue_again()
                if result.moved:
                    reopen_batches([self], ended.db)
                    hold_unapproved(rows_of(self), [self], by)
        except IntegrityError:  # another job like it was enqueued at this very moment
            result.conflict = ended.in_the_way()


@alters_data
@sensitive_variables()
def rerun(
    self: Job, changes: Mapping[str, Any] | None = None, /, *, by: Any = None, origin: str = Origin.CODE, **more: Any
) -> Job:
    """Queue a new job with the same arguments, meta and queue. This job stays as it is.

    The rerun of a rehearsal is another one: see ``run_for_real``.

    It starts after the same jobs, as far as they still exist, even if they have failed.

    :param changes: arguments that the new job gets instead, by name; needed for those named ``by`` or ``origin``.
    :param by: the user who runs it again, for the audit.
    :param origin: where the request comes from, for the audit.
    :param more: the same as *changes*, as keyword arguments.
    :returns: the new job.
    :raises qorworker.exceptions.UnknownJobType: if its code is gone.
    :raises qorworker.exceptions.InvalidArguments: if the arguments no longer fit, or a secret must be entered again.

    Example::

        job.rerun(by=request.user, mode="replace")
        job.rerun({"by": "Ben"})
    """
    return enqueue_again(self, {**(changes or {}), **more}, by=by, origin=origin, dry_run=self.is_dry_run)


def wait(self: Job, timeout: float | dt.timedelta | None = None) -> None:
    """Return when the job has ended, whatever its final status. Its fields are fresh then.

    :param timeout: how long to wait at most, in seconds or as a timedelta; None: without limit.
    :raises qorworker.exceptions.JobTimeout: if it has not ended by then.
    :raises django.db.transaction.TransactionManagementError: inside a transaction, which would keep it from starting.
    """
    for pause in waiting.pauses(self, write_database(self), timeout):
        time.sleep(pause)


async def await_finished(self: Job, timeout: float | dt.timedelta | None = None) -> None:
    """Do what ``wait`` does, for coroutines."""
    pauses = waiting.pauses(self, write_database(self), timeout)
    while (pause := await sync_to_async(lambda: next(pauses, None))()) is not None:
        await asyncio.sleep(pause)


@alters_data
def send_cancelled(self: Job) -> None:
    """Log and signal the end of a cancelled job."""
    log_finished(self.pk, self.name, JobStatus.CANCELLED.value, "")
    job_finished.send_robust(
        type(self), job_id=self.pk, name=self.name, attempt=self.attempt, status=JobStatus.CANCELLED.value,
        outcome="", error="", duration=0.0,
    )  # fmt: skip


# What the verbs share.


@sensitive_variables()
def enqueue_again(job: Job, changes: Mapping[str, Any], *, by: Any, origin: str, dry_run: bool) -> Job:
    """Store a new job like *job*, with *changes* among its arguments. Raises what ``rerun`` raises."""
    job_type = registry.get(job.name).using(user=by, origin=origin, rerun_of=job, database=write_database(job))
    job_type = job_type.using(meta=job.meta, after=list(job.parents), after_failure="run", dry_run=dry_run)
    if job.queue_name in settings.QUEUES:  # else in that of its type
        job_type = job_type.using(queue_name=job.queue_name)
    return job_type.enqueue_stored(job, **changes)


def rows_of(job: Job) -> JobQuerySet:
    """Return all jobs of the database in which *job* is written."""
    return type(job).objects.using(write_database(job))


def row_of(job: Job) -> JobQuerySet:
    """Return the row of *job*, as a query."""
    return rows_of(job).filter(pk=job.pk)


def withdraw(job: Job) -> int:
    """Cancel *job* if it still waits, and return 1; else 0. In the transaction of the verb that does so."""
    moved = row_of(job).transition(JobStatus.CANCELLED, finished_at=DatabaseNow())
    if moved:
        withdraw_requests([job], write_database(job))
        if job.may_have_secrets:
            row_of(job).erase_secrets()
        resolve_on_commit([job], rows_of(job))
        transaction.on_commit(job.send_cancelled, using=write_database(job), robust=True)
    return moved


@contextmanager
def changing(job: Job, verb: str, by: Any, origin: str, **details: Any) -> Iterator[VerbResult]:
    """Surround the UPDATE of *verb* with a transaction and its audit entry, and refresh *job* afterwards.

    The body sets the fields of the result.

    :raises qorworker.exceptions.InvalidTransition: if the UPDATE touched no row.
    :raises qorworker.exceptions.AlreadyEnqueued: if another job holds the unique key.
    """
    using, result = write_database(job), VerbResult()
    with transaction.atomic(using=using):
        row_of(job).lock()
        yield result
        if not result.repeated:
            AuditEntry.objects.using(using).record(
                verb,
                job=job,
                user=by,
                origin=origin,
                outcome="ok" if result.moved else "taken" if result.conflict else "too late",
                **{key: value for key, value in details.items() if value},
            )
        if result.moved:
            wake(using)
            _notify_backend(job, verb, using)
    try:
        job.refresh_from_db(using=using)
    except ObjectDoesNotExist:
        raise InvalidTransition(job.pk, "deleted", verb) from None
    if result.conflict is not None:
        raise AlreadyEnqueued(result.conflict, conflict_of(result.conflict))
    if not result.moved and not result.repeated:
        raise InvalidTransition(job.pk, job.status, verb, result.message)


def _notify_backend(job: Job, verb: str, using: str) -> None:
    """Notify the queue's backend, after the commit, that the job can start or that its abort was requested."""
    backend = backend_of(job.queue_name)
    if backend.is_served_by_workers or verb == SHOW_STACK:
        return

    def notify_now() -> None:
        if verb == "abort":
            backend.abort_requested(job)
        elif (row := row_of(job).first()) is not None:
            notify([row], backend)

    transaction.on_commit(notify_now, using=using, robust=True)


def _asks(job: Job) -> str:
    """Return why the time of *job* does not count, if it waits for an answer; else an empty text."""
    if not row_of(job).scheduled().filter(waits_for_answer=True).exists():
        return ""
    return f"Job {job.pk} waits for an answer, and goes on when it has got one. Nothing was changed."


def _awaits_approval(job: Job) -> str:
    """Return why *job* cannot start, if it waits for approval; else an empty text."""
    if not row_of(job).awaiting_approval().exists():
        return ""
    return f"Job {job.pk} waits for approval, and starts only after it. Nothing was changed."


def _check_secrets(job: Job) -> None:
    """Raise ``InvalidArguments`` if *job* cannot run again because its secrets were erased."""
    fresh = row_of(job).first() if job.may_have_secrets else None
    if fresh is not None and fresh.erased_secrets:
        raise InvalidArguments(job.name, {name: [codec.erased_text()] for name in fresh.erased_secrets})


def _marked_failed(by: Any, lease: dt.datetime, reason: str) -> str:
    """Return the error of a job that was marked as failed; the lease may have run out days ago."""
    since = timezone.localtime(lease) if timezone.is_aware(lease) else lease
    facts = {"who": by.get_username() if by is not None else "", "moment": f"{since:%Y-%m-%d %H:%M:%S}"}
    text = _("Marked as failed: its worker had not answered since %(moment)s.") % facts
    if facts["who"]:
        text = _("Marked as failed by %(who)s: its worker had not answered since %(moment)s.") % facts
    return f"{text} ({reason})" if reason else text
