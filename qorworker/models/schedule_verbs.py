"""What people and code can ask of a schedule: each verb locks its row, and leaves an audit entry. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from django.db import IntegrityError, models, router, transaction
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import files
from qorworker.exceptions import InvalidSchedule
from qorworker.models.audit import Origin
from qorworker.models.clock import aware, check_zone, database_now
from qorworker.models.verbs import wake

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.schedule import Schedule
    from qorworker.plan import Plan
    from qorworker.registry import JobType


class ScheduleVerbs(models.Model):
    """The verbs of a schedule. They begin with its fresh row, locked: no worker fires it meanwhile."""

    class Meta:
        abstract = True

    @sensitive_variables()
    def change(
        self, arguments: Mapping[str, Any] | None = None, *, by: Any = None, origin: str = Origin.CODE, **changes: Any
    ) -> None:
        """Have it run with other *arguments* (all of them), or otherwise: *changes* are what ``Plan`` takes.

        A time that it waits for stays unless the times change; then it goes on with the first new one from now.
        Raises ``InvalidSchedule`` or ``InvalidArguments``, and ``UnknownJobType`` if its code is gone.
        """
        from qorworker.registry import registry

        job_type = registry.get(self._me.job_name)
        dumped = None
        if arguments is not None:
            dumped = job_type.arguments.dump(job_type.arguments.clean(arguments))
        self.change_dumped(dumped, job_type.arguments.fingerprint, by=by, origin=origin, **changes)

    def change_dumped(
        self,
        dumped: dict[str, Any] | None,
        fingerprint: str,
        *,
        by: Any = None,
        origin: str = Origin.CODE,
        **changes: Any,
    ) -> None:
        """The same with arguments that are ready for the table; None leaves them as they are."""
        if self._me.declared_in_code:
            raise InvalidSchedule(_("This schedule is declared in code: change it there."))
        known = self._me.job_type.arguments.definition.fields if self._me.job_type else {}
        before = self._me.arguments
        try:
            with self._verb("change schedule", by, origin) as now:
                me = self._me
                plan = replace(me.plan, **changes)
                if dumped is not None:
                    me.arguments, me.fingerprint, me.needs_attention = dumped, fingerprint, ""
                me.answerable_id = getattr(by, "pk", None) if origin == Origin.ADMIN else None
                me.take(plan, now)
                me.revision += 1
        except BaseException as error:
            files.discard(files.unused(dumped or {}, before), known)
            if isinstance(error, IntegrityError):
                raise name_taken(str(changes.get("name", ""))) from None
            raise
        self._discard(files.unused(before, self._me.arguments))

    def pause(
        self, *, by: Any = None, reason: str = "", until: dt.datetime | None = None, origin: str = Origin.CODE
    ) -> None:
        """Fire no more until it is resumed, or until a time. What would have run meanwhile is not made up for."""
        if until is not None:
            check_zone(until, "Schedule.pause()")
        with self._verb("pause schedule", by, origin, reason=reason, until=until and until.isoformat()) as now:
            if until is not None and until <= now:
                raise InvalidSchedule(_("A pause ends in the future."))
            me = self._me
            me.paused_at, me.paused_until, me.paused_reason = now, until, reason[:200]
            me.paused_by_id = getattr(by, "pk", None)
            me.wait_from(aware(now))

    def resume(self, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """End a pause: it goes on with its first time from now. Without a pause nothing changes."""
        with self._verb("resume schedule", by, origin) as now:
            me = self._me
            if me.paused_at is not None:
                me.paused_at = me.paused_until = me.paused_by_id = None
                me.paused_reason = ""
                me.wait_from(aware(now))

    def skip_next(self, *, by: Any = None, origin: str = Origin.CODE) -> dt.datetime:
        """Leave out the time that comes next, which is returned. Raises ``InvalidSchedule`` if there is none."""
        from qorworker.models.slot import ScheduleSlot, SkipReason, SlotOutcome

        with self._verb("skip next", by, origin):
            me = self._me
            slot = me.waits_for
            if slot is None:
                raise InvalidSchedule(_("There is no next time to skip."))
            slots = ScheduleSlot.objects.using(me._state.db)
            slots.note(me, slot, outcome=SlotOutcome.SKIPPED, reason=SkipReason.PERSON)
            me.wait_from(slot.moment)
        return slot.moment

    @sensitive_variables()
    def run_now(self, *, by: Any = None, origin: str = Origin.CODE) -> Job:
        """Queue one more job with its arguments; the next time stays as it is, and a pause too.

        Raises ``UnknownJobType`` if its code is gone, ``InvalidArguments`` if the arguments no longer fit.
        """
        from qorworker.registry import registry

        me, using = self._me, self._write_database()
        job_type = registry.get(me.job_name).using(user=by, origin=origin, schedule=me, database=using)
        job_type.arguments.load(me.arguments)
        with transaction.atomic(using=using):
            job = job_type.enqueue_as_stored(files.lend(me.arguments, me.pk))
            me.record("run schedule", by, origin, made=job.pk)
        return job

    def remove(self, *, by: Any = None, origin: str = Origin.CODE) -> None:
        """Delete it, with an audit entry. Its jobs stay."""
        using = self._write_database()
        with transaction.atomic(using=using):
            self._me.record("delete schedule", by, origin, name=self._me.name)
            type(self._me)._default_manager.using(using).filter(pk=self.pk).delete()

    # What a worker does with those that the code declares.

    def declare_again(self, job_type: JobType[Any], plan: Plan, dumped: dict[str, Any], declaration: str) -> None:
        """Take over what the code says now. A pause stays."""
        with self._verb("change schedule", None, Origin.WORKER) as now:
            me = self._me
            if me.enabled and me.declaration == declaration:
                return  # another worker was faster
            back, me.enabled, me.declaration, me.needs_attention = not me.enabled, True, declaration, ""
            me.job_name, me.arguments, me.fingerprint = job_type.name, dumped, job_type.arguments.fingerprint
            me.take(plan, now)
            me.revision += 1
            if back:
                me.wait_from(aware(now))

    def leave_code(self, reason: str) -> None:
        """Switch it off: the code does not declare it any more."""
        with self._verb("leave code", None, Origin.WORKER, reason=reason) as now:
            self._me.enabled, self._me.needs_attention = False, reason
            self._me.wait_from(aware(now))

    @property
    def _me(self) -> Schedule:
        return cast("Schedule", self)

    def _write_database(self) -> str:
        return router.db_for_write(type(self), instance=self)

    def _discard(self, arguments: Mapping[str, Any]) -> None:
        """Delete uploads that it no longer needs, unless a job that has not ended may."""
        from qorworker.models.job import Job

        me, using = self._me, self._write_database()
        if arguments and not Job.objects.using(using).unfinished_of(me.pk):
            known = me.job_type.arguments.definition.fields if me.job_type is not None else {}
            transaction.on_commit(lambda: files.discard(arguments, known), using=using, robust=True)

    @contextmanager
    def _verb(self, action: str, by: Any, origin: str, **details: Any) -> Iterator[dt.datetime]:
        """Around a change: one transaction with the locked row and its audit entry. Gives the database's time."""
        using = self._write_database()
        with transaction.atomic(using=using):
            mine = type(self._me)._default_manager.using(using).select_for_update()
            self.refresh_from_db(using=using, from_queryset=mine)
            yield database_now(using)
            self.save(using=using)
            self._me.record(action, by, origin, **details)
            wake(using)


def name_taken(name: str) -> InvalidSchedule:
    return InvalidSchedule(_("There is a schedule called “%(name)s” already.") % {"name": name})
