"""The verbs of a schedule: each works on its fresh row, locked, so no worker fires it meanwhile. All processes.

These functions are methods of ``Schedule``. Each writes an audit entry.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import entered, files
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidSchedule
from qorworker.models.alters import alters_data
from qorworker.models.approving import approval_right, ask_for_schedule, forget_approvals, user_of
from qorworker.models.audit import Origin
from qorworker.models.clock import aware, check_zone, database_now
from qorworker.models.own import write_database
from qorworker.models.refusals import text_problem
from qorworker.models.schedule_slot import ScheduleSlot, SkipReason, SlotOutcome, left_out_rows
from qorworker.models.waking import wake

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.models.job import Job
    from qorworker.models.schedule import Schedule
    from qorworker.schedules.plan import Plan


LEFT = "left"  # the declaration of a schedule that left the code before it could be made


@alters_data
@sensitive_variables()
def change(
    self: Schedule,
    arguments: Mapping[str, Any] | None = None,
    *,
    by: Any = None,
    origin: str = Origin.CODE,
    **changes: Any,
) -> None:
    """Give it other arguments or other times.

    A time that it waits for stays unless the times change; then it waits for the first new one from now on.

    :param arguments: all arguments of its next runs, as for ``enqueue``; None keeps the old ones.
    :param by: the user who changes it, for the audit.
    :param origin: where the request comes from, for the audit.
    :param changes: fields of ``Plan``: ``when``, ``name``, ``start``, ``end``, ``misfire``, ``misfire_cap``,
        ``overlap``, ``jitter`` and ``expires``.
    :raises qorworker.exceptions.InvalidSchedule: if it is declared in code, or if a change cannot be.
    :raises qorworker.exceptions.InvalidArguments: with the field errors if the arguments do not fit.
    :raises qorworker.exceptions.UnknownJobType: if the code of its job type is gone.

    Example::

        schedule.change(when=Every(hours=2), overlap="wait", by=request.user)
    """
    job_type = registry.get(self.job_name)
    dumped = None
    if arguments is not None:
        person = by if origin == Origin.ADMIN else None
        dumped = job_type.arguments.dump(job_type.arguments.clean(arguments), person=person)
    self.change_dumped(dumped, job_type.arguments.fingerprint, by=by, origin=origin, **changes)


@alters_data
def change_dumped(
    self: Schedule,
    dumped: dict[str, Any] | None,
    fingerprint: str,
    *,
    by: Any = None,
    origin: str = Origin.CODE,
    **changes: Any,
) -> None:
    """Do the same with arguments as the table stores them.

    :param dumped: all arguments; None keeps the old ones.
    :param fingerprint: that of the form that cleaned them.
    :raises qorworker.exceptions.InvalidArguments: if they keep a secret that *by* must enter again.
    """
    if self.declared_in_code:
        raise InvalidSchedule(_("This schedule is declared in code: change it there."))
    before, argument_fields = self.arguments, self.argument_fields
    try:
        right = approval_right(self.job_type, by, before if dumped is None else dumped)
        if dumped is not None:
            entered.check(self.job_name, argument_fields, before, dumped, by)
        with changing(self, "change schedule", by, origin) as now:
            plan = replace(self.plan, **changes)
            check_name(write_database(self), plan.name)
            if dumped is not None:
                self.arguments, self.fingerprint, self.needs_attention = dumped, fingerprint, ""
                self.version = self.job_type.version if self.job_type is not None else self.version
            self.answerable_id = getattr(by, "pk", None) if origin == Origin.ADMIN else None
            calendar_before = self.calendar
            self.take(plan, now)
            if self.calendar != calendar_before and (problem := calendar_problem(self)):
                raise InvalidSchedule(problem)
            self.revision += 1
            ask_for_schedule(self, right, by, write_database(self))
    except BaseException as error:
        files.discard(files.unused(dumped or {}, before), argument_fields)
        if isinstance(error, IntegrityError):
            raise name_taken(str(changes.get("name", ""))) from None
        raise
    _discard(self, files.unused(before, self.arguments))


@alters_data
@sensitive_variables()
def upgrade(self: Schedule, *, origin: str = Origin.CODE) -> bool:
    """Store its arguments as the code of today takes them. Who answers for it stays.

    :param origin: where the request comes from, for the audit.
    :returns: whether they were upgraded.
    :raises qorworker.exceptions.InvalidArguments: if they do not fit.
    :raises qorworker.exceptions.UnknownJobType: if the code of its job type is gone.
    """
    job_type = registry.get(self.job_name)
    if self.declared_in_code or self.version >= job_type.version:
        return False
    before, revision = self.arguments, self.revision
    dumped = job_type.arguments.change(self.current_arguments, {})
    with changing(self, "upgrade schedule", None, origin):
        if self.revision != revision:
            raise InvalidSchedule(_("The schedule has been changed meanwhile. Nothing was upgraded."))
        self.arguments, self.fingerprint, self.version = dumped, job_type.arguments.fingerprint, job_type.version
        self.needs_attention = calendar_problem(self)
        self.revision += 1
        answerable = user_of(self.answerable_id)
        right = approval_right(job_type, answerable, dumped)
        ask_for_schedule(self, right, answerable, write_database(self))
    _discard(self, files.unused(before, dumped))
    return True


@alters_data
def pause(
    self: Schedule, *, by: Any = None, reason: str = "", until: dt.datetime | None = None, origin: str = Origin.CODE
) -> None:
    """Stop firing until it is resumed. What would have run meanwhile is not made up for.

    :param by: the user who pauses it, for the page and the audit.
    :param reason: the reason, for the page and the audit; at most 200 characters are kept.
    :param until: when the pause ends by itself, with a zone if ``USE_TZ`` is on; None: never.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidSchedule: if *until* is past.
    :raises ValueError: if *until* has a zone where the project has none, or the other way round.
    """
    if until is not None:
        check_zone(until, "Schedule.pause()")
    with changing(self, "pause schedule", by, origin, reason=reason, until=until and until.isoformat()) as now:
        if until is not None and until <= now:
            raise InvalidSchedule(_("A pause ends in the future."))
        self.paused_at, self.paused_until, self.paused_reason = now, until, reason[:200]
        self.paused_by_id = getattr(by, "pk", None)
        self.wait_from(aware(now))


@alters_data
def resume(self: Schedule, *, by: Any = None, origin: str = Origin.CODE) -> None:
    """End a pause: it waits for its first time from now on. Without a pause nothing changes.

    :param by: the user who resumes it, for the audit.
    :param origin: where the request comes from, for the audit.
    """
    with changing(self, "resume schedule", by, origin) as now:
        if self.paused_at is not None:
            self.paused_at = self.paused_until = self.paused_by_id = None
            self.paused_reason = ""
            self.wait_from(aware(now))


@alters_data
def skip_next(self: Schedule, *, by: Any = None, origin: str = Origin.CODE) -> dt.datetime:
    """Skip the time that comes next.

    :param by: the user who skips it, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the time that was skipped.
    :raises qorworker.exceptions.InvalidSchedule: if it does not wait for any time.
    """
    with changing(self, "skip next", by, origin):
        if (slot := next(self.next_runs(), None)) is None:
            raise InvalidSchedule(_("There is no next time to skip."))
        left_out = list(takewhile(lambda each: each.is_left_out, self.next_slots()))
        slots = ScheduleSlot.objects.using(self._state.db)
        slots.note_all(left_out_rows(self, left_out))
        slots.note(self, slot, outcome=SlotOutcome.SKIPPED, reason=SkipReason.PERSON)
        self.wait_from(slot.moment)
    return slot.moment


@alters_data
@sensitive_variables()
def run_now(self: Schedule, *, by: Any = None, origin: str = Origin.CODE) -> Job:
    """Queue one more job with its arguments. Its next time stays as it is, and so does a pause.

    :param by: the user who runs it, for the job and the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the new job.
    :raises qorworker.exceptions.UnknownJobType: if the code of its job type is gone.
    :raises qorworker.exceptions.InvalidArguments: if the arguments no longer fit.
    """
    using = write_database(self)
    job_type = registry.get(self.job_name).using(user=by, origin=origin, schedule=self, database=using)
    job_type.arguments.load(self.current_arguments)
    with transaction.atomic(using=using):
        job = job_type.enqueue_as_stored(files.lend(self.current_arguments, self.pk))
        self.record("run schedule", by, origin, made=job.pk)
    return job


@alters_data
def remove(self: Schedule, *, by: Any = None, origin: str = Origin.CODE) -> None:
    """Delete it, with an audit entry. Its jobs stay.

    :param by: the user who deletes it, for the audit.
    :param origin: where the request comes from, for the audit.
    """
    using = write_database(self)
    with transaction.atomic(using=using):
        self.record("delete schedule", by, origin, name=self.name)
        forget_approvals([self.pk], using)
        type(self).objects.using(using).filter(pk=self.pk).delete()


# What a worker does with schedules that code declares.


@alters_data
def declare_again(
    self: Schedule, job_type: JobType[..., Any], plan: Plan, dumped: dict[str, Any], declaration: str
) -> None:
    """Take over what the code says now. A pause stays.

    :param dumped: the arguments as the table stores them.
    :param declaration: the digest of what the code says; nothing is done if the row has it already.
    """
    right = approval_right(job_type, None, dumped)
    with changing(self, "change schedule", None, Origin.WORKER) as now:
        if self.enabled and self.declaration == declaration:
            return  # another worker was faster
        was_enabled, self.enabled, self.declaration, self.needs_attention = self.enabled, True, declaration, ""
        self.job_name, self.arguments, self.fingerprint = job_type.name, dumped, job_type.arguments.fingerprint
        self.version = job_type.version
        self.take(plan, now)
        self.needs_attention = calendar_problem(self)
        self.revision += 1
        if not was_enabled:
            self.wait_from(aware(now))
        ask_for_schedule(self, right, None, write_database(self))


@alters_data
def complain(self: Schedule, reason: str) -> None:
    """Record that code declares it in an invalid way. It keeps running as it is stored, if it can."""
    if self.needs_attention != reason:
        # The entry omits the reason: it may quote arguments, which not every reader of the entry may see.
        with changing(self, "needs attention", None, Origin.WORKER):
            self.needs_attention = reason


@alters_data
def leave_code(self: Schedule, reason: str) -> None:
    """Switch it off because code no longer declares it."""
    with changing(self, "leave code", None, Origin.WORKER, reason=reason) as now:
        self.enabled, self.needs_attention = False, reason
        self.declaration = self.declaration or LEFT
        self.wait_from(aware(now))


# What the verbs share.


@contextmanager
def changing(schedule: Schedule, action: str, by: Any, origin: str, **details: Any) -> Iterator[dt.datetime]:
    """Surround a change of *schedule* with a transaction, its locked row and its audit entry, and save it.

    The body receives the database's time.
    """
    using = write_database(schedule)
    with transaction.atomic(using=using):
        locked_rows = type(schedule).objects.using(using).select_for_update()
        schedule.refresh_from_db(using=using, from_queryset=locked_rows)
        yield database_now(using)
        schedule.save(using=using)
        schedule.record(action, by, origin, **details)
        wake(using)


def _discard(schedule: Schedule, arguments: Mapping[str, Any]) -> None:
    """Delete uploads that *schedule* no longer needs, unless a job that has not ended may."""
    from qorworker.models.job import Job  # noqa: PLC0415 - jobs import schedules

    using, argument_fields = write_database(schedule), schedule.argument_fields
    if arguments and not Job.objects.using(using).unfinished_of(schedule.pk):
        transaction.on_commit(lambda: files.discard(arguments, argument_fields), using=using, robust=True)


def calendar_problem(schedule: Schedule) -> str:
    """Return that the calendar of *schedule* does not exist; empty if it does, or if it needs none."""
    if not schedule.lacks_calendar:
        return ""
    return _("The calendar “%(name)s” does not exist.") % {"name": schedule.calendar}


def check_name(using: str, name: str) -> None:
    """Raise ``InvalidSchedule`` for a name that the database does not store."""
    if problem := text_problem(using, "qorworker_schedule", "name", name):
        raise InvalidSchedule(problem)


def name_taken(name: str) -> InvalidSchedule:
    """Return the error for a *name* that another schedule has."""
    return InvalidSchedule(_("A schedule called “%(name)s” already exists.") % {"name": name})
