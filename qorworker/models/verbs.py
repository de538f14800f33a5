"""What people and code can ask of one job: each verb is one conditional UPDATE and one audit entry. All processes."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from qorworker.backends import backend_of, tell_of
from qorworker.conf import settings
from qorworker.exceptions import AlreadyEnqueued, InvalidTransition
from qorworker.models import waiting
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, check_zone
from qorworker.models.unique import conflict_of
from qorworker.signals import job_finished
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet


@dataclass(slots=True)
class Asked:
    """What became of a request: a row moved, or the same had been asked before, or another job is in its way."""

    moved: int = 0
    repeated: bool = False
    instead: Job | None = None


class JobVerbs(models.Model):
    """The verbs of a job. If an UPDATE touched no row somebody was faster, and ``InvalidTransition`` says so."""

    name: Any
    queue_name: Any
    status: Any
    run_after: Any
    attempt: Any
    attempt_token: Any

    class Meta:
        abstract = True

    def cancel(self, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
        """Withdraw the job before it starts. Raises ``InvalidTransition`` if it already has."""
        with self._verb("cancel", by, origin, reason=reason) as asked:
            asked.moved = self._row().transition(JobStatus.CANCELLED, finished_at=DatabaseNow())
            if asked.moved:
                transaction.on_commit(self._tell_cancelled, using=self._write_database(), robust=True)

    def reschedule(self, when: dt.datetime, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """Move a job that has not started to *when*; a time that is past makes it due at once."""
        check_zone(when, "Job.reschedule()")
        backend_of(self.queue_name).refuse(priority=0, run_after=when)
        with self._verb("reschedule", by, origin, before=self.run_after.isoformat(), after=when.isoformat()) as asked:
            asked.moved = self._row().schedule(when)
            self._row().promote_due()

    def run_now(self, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """Queue a scheduled job without waiting for its time."""
        with self._verb("run now", by, origin) as asked:
            asked.moved = self._row().scheduled().transition(JobStatus.NEW, run_after=DatabaseNow())

    def abort(self, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
        """Ask the worker to end the job's processes. Asking twice is no error and changes nothing."""
        backend_of(self.queue_name).refuse_abort()
        with self._verb("abort", by, origin, reason=reason) as asked:
            running = self._row().running()
            asked.moved = running.filter(abort_requested_at=None).update(abort_requested_at=DatabaseNow())
            if not asked.moved:
                asked.repeated = running.exists()

    def mark_failed(self, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
        """End a running job whose worker does not answer, as failed, also if it has attempts left.

        For when nobody is there to take it over. Its processes are not ended: if they still run, they go on until
        their worker notices. Raises ``InvalidTransition`` if the worker answers after all.
        """
        from qorworker.worker import takeover

        with self._verb("mark failed", by, origin, reason=reason) as asked:
            lease = self._row().values_list("lease_expires_at", flat=True).first()
            if lease is not None:
                text = _marked_failed(by, lease, reason)
                asked.moved = takeover.fail(self._write_database(), self.pk, self.attempt_token or "", text)

    def retry(self, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """Queue a failed or aborted job for one more attempt; what it did so far stays on record.

        Raises ``AlreadyEnqueued`` if it must be unique, and another job like it waits or runs.
        """
        with self._verb("retry", by, origin) as asked:
            ended = self._row().ended_badly()
            asked.instead = ended.in_the_way()
            try:
                with transaction.atomic(using=ended.db):
                    asked.moved = 0 if asked.instead else self._row().queue_again()
            except IntegrityError:  # somebody enqueued its like at this very moment
                asked.instead = ended.in_the_way()

    @sensitive_variables()
    def rerun(
        self, changes: Mapping[str, Any] | None = None, /, *, by: Any = None, origin: str = Origin.CODE, **more: Any
    ) -> Job:
        """Queue a new job with the same arguments, changed as told by name, in the same queue; this one stays.

        Arguments that are called ``by`` or ``origin`` are changed with a dict: ``job.rerun({"by": "Ben"})``.
        Raises ``UnknownJobType`` if its code is gone, ``InvalidArguments`` if the arguments no longer fit.
        """
        from qorworker.registry import registry

        job_type = registry.get(self.name)
        like_this = job_type.using(user=by, origin=origin, rerun_of=self, database=self._write_database())
        if self.queue_name in settings.QUEUES:  # else in that of its type
            like_this = like_this.using(queue_name=self.queue_name)
        return like_this.enqueue_stored(cast("Job", self), **{**(changes or {}), **more})

    def wait(self, timeout: float | dt.timedelta | None = None) -> None:
        """Return when the job has ended, in whatever way, with its row as it is then.

        Raises ``JobTimeout`` after so many seconds, and ``TransactionManagementError`` inside a transaction.
        """
        for pause in waiting.pauses(cast("Job", self), self._write_database(), timeout):
            time.sleep(pause)

    async def await_finished(self, timeout: float | dt.timedelta | None = None) -> None:
        """``wait`` for coroutines."""
        pauses = waiting.pauses(cast("Job", self), self._write_database(), timeout)
        while (pause := await sync_to_async(lambda: next(pauses, None))()) is not None:
            await asyncio.sleep(pause)

    async def acancel(self, **options: Any) -> None:
        await sync_to_async(self.cancel)(**options)

    async def areschedule(self, when: dt.datetime, **options: Any) -> None:
        await sync_to_async(self.reschedule)(when, **options)

    async def arun_now(self, **options: Any) -> None:
        await sync_to_async(self.run_now)(**options)

    async def aabort(self, **options: Any) -> None:
        await sync_to_async(self.abort)(**options)

    async def amark_failed(self, **options: Any) -> None:
        await sync_to_async(self.mark_failed)(**options)

    async def aretry(self, **options: Any) -> None:
        await sync_to_async(self.retry)(**options)

    @sensitive_variables()
    async def arerun(self, changes: Mapping[str, Any] | None = None, /, **options: Any) -> Job:
        @sensitive_variables()
        def rerun() -> Job:
            return self.rerun(changes, **options)

        return await sync_to_async(rerun)()

    def _tell_cancelled(self) -> None:
        job_finished.send_robust(
            type(self), job_id=self.pk, name=self.name, attempt=self.attempt, status=JobStatus.CANCELLED.value,
            outcome="", error="", duration=0.0,
        )  # fmt: skip

    def _row(self) -> JobQuerySet:
        return self._rows().filter(pk=self.pk)

    def _rows(self) -> JobQuerySet:
        return cast("JobQuerySet", type(self)._default_manager.using(self._write_database()))

    def _write_database(self) -> str:
        # Not _state.db: the instance may have been read from a replica.
        return router.db_for_write(type(self), instance=self)

    @contextmanager
    def _verb(self, verb: str, by: Any, origin: str, **details: Any) -> Iterator[Asked]:
        """Around the UPDATE: one transaction with its audit entry, then the fresh row, or an error if it lost."""
        using, asked = self._write_database(), Asked()
        with transaction.atomic(using=using):
            self._row().lock()
            yield asked
            if not asked.repeated:
                AuditEntry.objects.using(using).record(
                    verb,
                    job=self,
                    user=by,
                    origin=origin,
                    outcome="ok" if asked.moved else "taken" if asked.instead else "too late",
                    **{key: value for key, value in details.items() if value},
                )
            if asked.moved:
                wake(using)
                self._tell_backend(verb, using)
        try:
            self.refresh_from_db(using=using)
        except ObjectDoesNotExist:
            raise InvalidTransition(self.pk, "deleted", verb) from None
        if asked.instead is not None:
            raise AlreadyEnqueued(asked.instead, conflict_of(asked.instead))
        if not asked.moved and not asked.repeated:
            raise InvalidTransition(self.pk, self.status, verb)

    def _tell_backend(self, verb: str, using: str) -> None:
        """Once this is committed: that the job can start, or is to end."""
        backend = backend_of(self.queue_name)
        if backend.is_served_by_workers:
            return

        def tell() -> None:
            if verb == "abort":
                backend.abort_requested(cast("Job", self))
            elif (job := self._row().first()) is not None:
                tell_of([job], backend)

        transaction.on_commit(tell, using=using, robust=True)


def _marked_failed(by: Any, lease: dt.datetime, reason: str) -> str:
    """The error of a job that was marked as failed; the lease may have run out days ago."""
    since = timezone.localtime(lease) if timezone.is_aware(lease) else lease
    told = {"who": by.get_username() if by is not None else "", "moment": f"{since:%Y-%m-%d %H:%M:%S}"}
    text = _("Marked as failed: its worker had not answered since %(moment)s.") % told
    if told["who"]:
        text = _("Marked as failed by %(who)s: its worker had not answered since %(moment)s.") % told
    return f"{text} ({reason})" if reason else text


def wake(using: str) -> None:
    """Tell idle workers to look at once, where the database can pass that on; a hint, not a promise.

    Inside a transaction they hear it when that is committed.
    """
    connection = transaction.get_connection(using)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify('qorworker', '')")
