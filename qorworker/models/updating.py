"""The verb that gives a job which waits other arguments, and with them another time. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import sync_to_async
from django.db import IntegrityError, transaction
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import files
from qorworker.backends import backend_of
from qorworker.exceptions import ChangedMeanwhile
from qorworker.models.audit import Origin
from qorworker.models.clock import check_zone
from qorworker.models.rewriting import keys_of
from qorworker.models.unique import passed_on
from qorworker.models.verbs import Asked, JobVerbs
from qorworker.status import WAITING, JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job

ROUNDS = 10  # in each of which somebody else was faster


class UpdateVerb(JobVerbs):
    """``Job.update``. What is stored is worked out before its row is locked, and counts if that is still the same."""

    arguments: Any
    meta: Any
    unique_key: Any
    limit_key: Any

    class Meta:
        abstract = True

    @sensitive_variables()
    def update(
        self,
        changes: Mapping[str, Any] | None = None,
        /,
        *,
        run_after: dt.datetime | None = None,
        by: Any = None,
        origin: str = Origin.CODE,
        **more: Any,
    ) -> None:
        """Change arguments of a job that has not started, by name, and its time if there is another.

        What is not named stays, secrets and uploads too; what no longer is an argument of its type is left out.
        Arguments that are called like one of ours are changed with a dict: ``job.update({"by": "Ben"})``.
        Raises ``InvalidTransition`` if it has started, ``InvalidArguments`` if the arguments do not fit,
        ``AlreadyEnqueued`` if it must be unique and another job like it is there, ``UnknownJobType``,
        ``ChangedMeanwhile`` if others were faster again and again.
        """
        from qorworker.registry import registry

        job_type = registry.get(self.name)
        for left in reversed(range(ROUNDS)):
            if (row := self._row().first()) is not None:
                self.arguments, self.run_after = row.arguments, row.run_after
                self.unique_key, self.limit_key = row.unique_key, row.limit_key
            dumped = job_type.arguments.change(self.arguments, {**(changes or {}), **more})
            try:
                self.update_dumped(dumped, run_after=run_after, by=by, origin=origin)
                return
            except ChangedMeanwhile:
                if not left:
                    raise

    @sensitive_variables()
    def update_dumped(
        self,
        dumped: dict[str, Any],
        *,
        run_after: dt.datetime | None = None,
        by: Any = None,
        origin: str = Origin.CODE,
        token: str = "",
    ) -> bool:
        """The same with all arguments, ready for the table, made of those that this copy of the job has.

        False, and nothing is changed, if that was done already with this one-time *token*. Raises
        ``ChangedMeanwhile`` if the job has other arguments by now.
        """
        from qorworker.registry import registry

        job_type, before, asked = registry.get(self.name), self.arguments, Asked()
        details: dict[str, Any] = {"arguments": sorted({*files.unused(before, dumped), *files.unused(dumped, before)})}
        try:
            changes: dict[str, Any] = {"fingerprint": job_type.arguments.fingerprint}
            unique_key, changes["limit_key"] = keys_of(job_type, cast("Job", self), dumped)
            if run_after is not None:
                check_zone(run_after, "Job.update()")
                backend_of(self.queue_name).refuse(priority=0, run_after=run_after)
                details |= {"before": self.run_after.isoformat(), "after": run_after.isoformat()}
                changes |= {"status": JobStatus.SCHEDULED, "run_after": run_after}
            with self._verb("update", by, origin, **details) as asked:
                self._rewrite(asked, dumped, unique_key, changes, token)
        finally:
            if not asked.moved:
                files.discard(files.unused(dumped, before), job_type.arguments.fields)
        return bool(asked.moved)

    def _rewrite(
        self, asked: Asked, dumped: dict[str, Any], unique_key: str | None, changes: dict[str, Any], token: str
    ) -> None:
        row = self._row().select_for_update().first()
        if row is None or (token and row.meta.get("update_token") == token):
            asked.repeated = row is not None
            return
        if row.status in WAITING and row.arguments != self.arguments:
            raise ChangedMeanwhile(f"Job {self.pk} has been given other arguments meanwhile. Nothing was changed.")
        if token:
            changes["meta"] = {**row.meta, "update_token": token}
        if unique_key != row.unique_key and row.status in WAITING:
            changes |= {"unique_key": unique_key, "unique_place": passed_on()}
            if (holder := self._rows().beside(row, str(unique_key))) is not None:
                asked.instead = holder
                return
        try:
            with transaction.atomic(using=self._write_database()):
                asked.moved = self._rows().rewrite(row, dumped, **changes)
        except IntegrityError:  # somebody enqueued its like at this very moment
            asked.instead = self._rows().beside(row, str(unique_key))
            if asked.instead is None:  # and it has ended since, or this transaction cannot see it
                raise ChangedMeanwhile(f"Another job like job {self.pk} was there. Nothing was changed.") from None
        if asked.moved and "run_after" in changes:
            self._row().promote_due()

    @sensitive_variables()
    async def aupdate(self, changes: Mapping[str, Any] | None = None, /, **options: Any) -> None:
        @sensitive_variables()
        def update() -> None:
            self.update(changes, **options)

        await sync_to_async(update)()
