"""What people and code can ask of one job: each verb is one conditional UPDATE and one audit entry. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import models, router, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from qorworker.exceptions import InvalidTransition
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job, JobQuerySet


@dataclass(slots=True)
class Asked:
    """What became of a request: whether a row moved, or whether the same had been asked before."""

    moved: int = 0
    repeated: bool = False


class JobVerbs(models.Model):
    """The verbs of a job. If an UPDATE touched no row somebody was faster, and ``InvalidTransition`` says so."""

    name: Any
    status: Any
    run_after: Any

    class Meta:
        abstract = True

    def cancel(self, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
        """Withdraw the job before it starts. Raises ``InvalidTransition`` if it already has."""
        with self._verb("cancel", by, origin, reason=reason) as asked:
            asked.moved = self._row().transition(JobStatus.CANCELLED, finished_at=DatabaseNow())

    def reschedule(self, when: dt.datetime, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """Move a job that has not started to *when*; a time that is past makes it due at once."""
        if timezone.is_aware(when) is not django_settings.USE_TZ:
            needed = "with a zone, because USE_TZ is on" if django_settings.USE_TZ else "without a zone"
            raise ValueError(f"Job.reschedule() needs a time {needed}.")
        with self._verb("reschedule", by, origin, before=self.run_after.isoformat(), after=when.isoformat()) as asked:
            asked.moved = self._row().schedule(when)
            self._row().promote_due()

    def run_now(self, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """Queue a scheduled job without waiting for its time."""
        with self._verb("run now", by, origin) as asked:
            asked.moved = self._row().scheduled().transition(JobStatus.NEW, run_after=DatabaseNow())

    def abort(self, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
        """Ask the worker to end the job's processes. Asking twice is no error and changes nothing."""
        with self._verb("abort", by, origin, reason=reason) as asked:
            running = self._row().running()
            asked.moved = running.filter(abort_requested_at=None).update(abort_requested_at=DatabaseNow())
            if not asked.moved:
                asked.repeated = running.exists()

    def retry(self, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """Queue a failed or aborted job for one more attempt; what it did so far stays on record."""
        with self._verb("retry", by, origin) as asked:
            asked.moved = self._row().ended_badly().transition(
                JobStatus.NEW,
                run_after=DatabaseNow(),
                finished_at=None,
                abort_requested_at=None,
                error="",
                crashes=0,
            )  # fmt: skip

    @sensitive_variables()
    def rerun(
        self, changes: Mapping[str, Any] | None = None, /, *, by: Any = None, origin: str = Origin.CODE, **more: Any
    ) -> Job:
        """Queue a new job with the same arguments, changed as told by name; this one stays as it is.

        Arguments that are called ``by`` or ``origin`` are changed with a dict: ``job.rerun({"by": "Ben"})``.
        Raises ``UnknownJobType`` if its code is gone, ``InvalidArguments`` if the arguments no longer fit.
        """
        from qorworker.registry import registry

        job_type = registry.get(self.name)
        like_this = job_type.using(user=by, origin=origin, rerun_of=self, database=self._write_database())
        return like_this.enqueue_stored(cast("Job", self), **{**(changes or {}), **more})

    async def acancel(self, **options: Any) -> None:
        await sync_to_async(self.cancel)(**options)

    async def areschedule(self, when: dt.datetime, **options: Any) -> None:
        await sync_to_async(self.reschedule)(when, **options)

    async def arun_now(self, **options: Any) -> None:
        await sync_to_async(self.run_now)(**options)

    async def aabort(self, **options: Any) -> None:
        await sync_to_async(self.abort)(**options)

    async def aretry(self, **options: Any) -> None:
        await sync_to_async(self.retry)(**options)

    @sensitive_variables()
    async def arerun(self, changes: Mapping[str, Any] | None = None, /, **options: Any) -> Job:
        @sensitive_variables()
        def rerun() -> Job:
            return self.rerun(changes, **options)

        return await sync_to_async(rerun)()

    def _row(self) -> JobQuerySet:
        rows = type(self)._default_manager.using(self._write_database()).filter(pk=self.pk)
        return cast("JobQuerySet", rows)

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
                    outcome="ok" if asked.moved else "too late",
                    **{key: value for key, value in details.items() if value},
                )
            if asked.moved:
                wake(using)
        try:
            self.refresh_from_db(using=using)
        except ObjectDoesNotExist:
            raise InvalidTransition(self.pk, "deleted", verb) from None
        if not asked.moved and not asked.repeated:
            raise InvalidTransition(self.pk, self.status, verb)


def wake(using: str) -> None:
    """Tell idle workers to look at once, where the database can pass that on; a hint, not a promise.

    Inside a transaction they hear it when that is committed.
    """
    connection = transaction.get_connection(using)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify('qorworker', '')")
