"""Every query of schedules and every change of their rows, by name. All processes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import files
from qorworker.exceptions import InvalidSchedule
from qorworker.models.alters import queryset_verb
from qorworker.models.approving import approval_right, ask_for_schedule, forget_approvals
from qorworker.models.audit import Origin
from qorworker.models.calendar import Calendar
from qorworker.models.clock import DatabaseNow, aware, database_now, stored
from qorworker.models.job import Job
from qorworker.models.newest import newest_of
from qorworker.models.own import OwnQuerySet
from qorworker.models.schedule_times import Kind
from qorworker.models.schedule_verbs import calendar_problem, check_name, name_taken
from qorworker.models.sql.schedules import Place, Soon, soon
from qorworker.models.sql.updates import update_each
from qorworker.models.waking import wake
from qorworker.schedules.landing import Slot
from qorworker.schedules.plan import Plan
from qorworker.schedules.timetable import Rule
from qorworker.status import FINISHED, JobStatus

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.models.job_queries import JobQuerySet
    from qorworker.models.schedule import Schedule

# What is read for many schedules at once.


def with_holidays(schedules: Iterable[Schedule]) -> list[Schedule]:
    """Return *schedules* with the days off of all their calendars, which takes two queries if one has a calendar."""
    found = list(schedules)
    using = {schedule.calendar: schedule._state.db for schedule in found if schedule.calendar}
    holidays = Calendar.objects.using(next(iter(using.values()))).holidays(using) if using else {}
    for schedule in found:
        schedule.known_holidays = holidays
    return found


UNPAUSED = "paused_at = NULL, paused_until = NULL, paused_by_id = NULL, paused_reason = ''"


class ScheduleQuerySet(OwnQuerySet["Schedule"]):
    """Schedules: ``create_for`` makes one."""

    @sensitive_variables()
    def create_for(
        self,
        job_type: JobType[..., Any],
        when: Rule | Plan,
        arguments: dict[str, Any] | None = None,
        *,
        name: str = "",
        by: Any = None,
        origin: str = Origin.CODE,
        **more: Any,
    ) -> Schedule:
        """Create a schedule that runs a job type by itself.

        :param job_type: what runs.
        :param when: a ``Cron``, ``Every`` or ``At``, or a ``Plan``, which says everything but *by* and *origin* itself.
        :param arguments: the arguments of each run, as for ``enqueue``.
        :param name: by default the title of the job type, with a number if that is taken.
        :param by: the user who creates it, for the audit.
        :param origin: where the request comes from, for the audit.
        :param more: options of ``Plan``: ``start``, ``end``, ``misfire``, ``misfire_cap``, ``overlap``, ``jitter`` and
            ``expires``.
        :returns: the schedule, which waits for its first time.
        :raises qorworker.exceptions.InvalidSchedule: if the rule or an option cannot be, or if the name is taken.
        :raises qorworker.exceptions.InvalidArguments: with the field errors if the arguments do not fit.

        Example::

            Schedule.objects.create_for(import_products, Cron("30 6 * * *", "Europe/Berlin"), {"shop": berlin})
        """
        plan = when if isinstance(when, Plan) else Plan(when, name=name, arguments=arguments or {}, **more)
        person = by if origin == Origin.ADMIN else None
        dumped = job_type.arguments.dump(job_type.arguments.clean(plan.arguments), person=person)
        return self.create_dumped(job_type, plan, dumped, by=by, origin=origin)

    def create_dumped(
        self,
        job_type: JobType[..., Any],
        plan: Plan,
        dumped: dict[str, Any],
        *,
        by: Any = None,
        origin: str = Origin.CODE,
        declaration: str = "",
    ) -> Schedule:
        """Create a schedule for *plan*.

        :param dumped: the arguments as the table stores them. Their uploads are deleted if this fails.
        :param declaration: the digest of what the code says, if the code declares it.
        :raises qorworker.exceptions.InvalidSchedule: if its name is taken or cannot be stored, or if its calendar does
            not exist. One that code declares is stored, and needs attention until the calendar exists.
        """
        using = self.db
        try:
            right = approval_right(job_type, by, dumped)
            with transaction.atomic(using=using):
                now = database_now(using)
                schedule = self.model(job_name=job_type.name, created_by_id=getattr(by, "pk", None), created_at=now)
                schedule.name = plan.name or self.free_name(str(job_type.title))
                check_name(using, schedule.name)
                schedule.declared_in_code, schedule.declaration = bool(declaration), declaration
                schedule.arguments, schedule.fingerprint = dumped, job_type.arguments.fingerprint
                schedule.version = job_type.version
                schedule.answerable_id = schedule.created_by_id if origin == Origin.ADMIN else None
                schedule.take(plan, now)
                schedule.needs_attention = calendar_problem(schedule)
                if schedule.needs_attention and not declaration:
                    raise InvalidSchedule(schedule.needs_attention)
                schedule.save(using=using, force_insert=True)
                schedule.record("create schedule", by, origin)
                ask_for_schedule(schedule, right, by, using)
                wake(using)
        except IntegrityError:
            files.discard(dumped, job_type.arguments.fields)
            raise name_taken(plan.name) from None
        except BaseException:
            files.discard(dumped, job_type.arguments.fields)
            raise
        return schedule

    def create_unmakeable(self, job_type: JobType[..., Any], plan: Plan, reason: str) -> Schedule:
        """Create a schedule that the code declares but that cannot run. It does not wait for any time.

        :param reason: why it cannot run, for people.
        :raises qorworker.exceptions.InvalidSchedule: if its name is taken or cannot be stored.
        """
        using = self.db
        try:
            with transaction.atomic(using=using):
                now = database_now(using)
                check_name(using, plan.name)
                schedule = self.model(name=plan.name, job_name=job_type.name, created_at=now)
                schedule.declared_in_code, schedule.enabled, schedule.needs_attention = True, False, reason
                schedule.take(plan, now)
                schedule.save(using=using, force_insert=True)
                # Without the reason: it may quote arguments, which not every reader of the entry may see.
                schedule.record("create schedule", None, Origin.WORKER)
        except IntegrityError:
            raise name_taken(plan.name) from None
        return schedule

    def free_name(self, title: str) -> str:
        """Return *title*, with a number if a schedule has that name already."""
        taken = set(self.filter(name__startswith=title[:180]).values_list("name", flat=True))
        names = (title[:180] if number == 1 else f"{title[:180]} {number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    @queryset_verb
    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete these schedules, their slots and their uploads. Their jobs stay, and unfinished ones keep uploads.

        :returns: what Django's ``delete`` returns.
        """
        using = self.db
        with transaction.atomic(using=using):
            schedules = list(self.using(using).select_for_update())  # a worker that fires one now comes first
            for schedule in schedules:
                if not Job.objects.using(using).unfinished_of(schedule.pk):
                    transaction.on_commit(schedule.discard_uploads, using=using, robust=True)
            forget_approvals([schedule.pk for schedule in schedules], using)
            return super().delete()

    # Queries of the pages.

    def next_first(self) -> ScheduleQuerySet:
        """Annotate ``place``, to order schedules that need attention first, and those without a next time last."""
        place = models.Case(
            models.When(~Q(needs_attention=""), then=0), models.When(next_slot__isnull=False, then=1), default=2
        )
        return self.annotate(place=place)

    def alike(self, schedule: Schedule) -> ScheduleQuerySet:
        """Return other schedules of the same job type at the same times."""
        same = {name: getattr(schedule, name) for name in ("job_name", "kind", "expression", "interval", "at", "zone")}
        return self.filter(**same, enabled=True).exclude(pk=schedule.pk)

    # Queries of a worker.

    def soon(
        self, names: Collection[str], versions: Sequence[str], seconds: float, behind: Place | None = None
    ) -> tuple[list[Soon], Place | None]:
        """Return schedules that fire soon, no more than are read at once.

        :param names: the job types that count.
        :param versions: the labels of those of their versions that count, besides the first.
        :param seconds: how far to look ahead.
        :param behind: the place in their order behind which to begin.
        :returns: the schedules, and the place behind which there may be more; None if these are all.
        """
        found, rest = soon(self.db, names, versions, seconds, behind)
        return [each for each in found if each.job_name in names], rest  # some databases ignore case

    def due(self) -> ScheduleQuerySet:
        """Return schedules whose time has come."""
        return self.filter(next_slot__lte=DatabaseNow())

    def that_expire(self, after: int = 0) -> list[tuple[int, str, int]]:
        """Return id, name and expiry in seconds of the schedules whose jobs must start within a time.

        :param after: the id after which to begin.
        """
        rows = self.filter(expires__gt=0, pk__gt=after).order_by("pk")
        return list(rows.values_list("pk", "name", "expires"))

    def claim_slots(self, schedules: Sequence[Schedule]) -> set[int]:
        """Lock those of *schedules* that still wait for the slot with which they were read, and return their ids.

        Those that another transaction has locked are left out.
        """
        read = {each.pk: (each.revision, each.next_key, each.next_slot) for each in schedules}
        skip = transaction.get_connection(self.db).features.has_select_for_update_skip_locked
        rows = self.filter(pk__in=read, next_slot__isnull=False).order_by("pk").select_for_update(skip_locked=skip)
        waiting = rows.values_list("pk", "revision", "next_key", "next_slot")
        return {pk for pk, *waits_for in waiting if tuple(waits_for) == read[pk]}

    def move_all_on(self, moves: Sequence[tuple[int, Slot | None, str]]) -> None:
        """Let schedules that are locked wait for their next slots. Their pauses are over.

        :param moves: for each its id, its next slot or None, and why it needs attention.
        """
        rows = [(pk, slot and stored(slot.moment), slot.key if slot else "", reason) for pk, slot, reason in moves]
        columns = ("next_slot", "next_key", "needs_attention")
        update_each(self.db, self.model, columns, rows, also=UNPAUSED)

    def move_on(self, schedule: Schedule, slot: Slot | None, **changes: Any) -> bool:
        """Let a schedule wait for *slot* instead of the one it waits for.

        :param slot: the next slot; None if there is none.
        :param changes: values of other columns.
        :returns: False if the row waits for another slot by now.
        """
        row = self.filter(pk=schedule.pk, revision=schedule.revision, next_key=schedule.next_key)
        return bool(row.update(next_slot=slot and stored(slot.moment), next_key=slot.key if slot else "", **changes))

    def declared(self) -> ScheduleQuerySet:
        """Return schedules that are or were declared in code."""
        return self.filter(declared_in_code=True)

    def called(self, name: str) -> Schedule | None:
        """Return the schedule with exactly this name, or None; some databases ignore case."""
        return next((schedule for schedule in self.filter(name=name) if schedule.name == name), None)

    def for_types(self, names: Iterable[str]) -> ScheduleQuerySet:
        return self.filter(job_name__in=list(names))

    def that_may_move(self) -> ScheduleQuerySet:
        """Return schedules whose next time depends on the rules of a time zone, or on a calendar."""
        return self.filter(Q(kind=Kind.CRON) | ~Q(calendar=""), enabled=True)

    def follow_calendar(self, name: str, is_new: bool = False) -> None:
        """Let the schedules that use the calendar *name* wait for their next slots by its days as they are now.

        :param is_new: whether it did not exist before: then what needed attention no longer does.
        """
        using = self.db
        with transaction.atomic(using=using):
            now = aware(database_now(using))
            for schedule in with_holidays(self.using(using).filter(calendar=name, enabled=True).select_for_update()):
                try:
                    slot = schedule.moved_slot(now)
                except ValueError:  # its rule cannot be read; a worker says so
                    continue
                if slot != schedule.waits_for or is_new:
                    changes = {"needs_attention": ""} if is_new else {}
                    self.using(using).move_on(schedule, slot, **changes)
            wake(using)

    def of_user(self, user: Any) -> ScheduleQuerySet:
        """Return schedules that *user* has created or was the last to change."""
        return self.filter(Q(created_by=user) | Q(answerable=user))

    def paused(self) -> ScheduleQuerySet:
        """Those that make no jobs until they are resumed."""
        return self.filter(paused_at__isnull=False).filter(
            Q(paused_until=None) | Q(paused_until__gt=DatabaseNow()), enabled=True
        )

    def active(self) -> ScheduleQuerySet:
        """Return schedules that wait for a time and are not paused."""
        return self.exclude(pk__in=self.paused().values("pk")).waiting()

    def waiting(self) -> ScheduleQuerySet:
        """Return schedules that wait for a time, even if it is the first one after a pause."""
        return self.filter(next_slot__isnull=False)

    def idle(self) -> ScheduleQuerySet:
        """Return schedules that do not wait for any time."""
        return self.filter(next_slot=None)

    def in_need(self, jobs: JobQuerySet | None = None) -> ScheduleQuerySet:
        """Return schedules that need a user's attention.

        :param jobs: the jobs whose ends count: schedules that will run again need it also if their last run failed.
        """
        if jobs is None:
            return self.exclude(needs_attention="")
        ends = newest_of(jobs, models.OuterRef("pk")).filter(status__in=FINISHED).values("status")[:1]
        failing = Q(last_end=JobStatus.EXCEPTION, next_slot__isnull=False)
        return self.annotate(last_end=models.Subquery(ends)).filter(~Q(needs_attention="") | failing)


_Manager = models.Manager.from_queryset(ScheduleQuerySet)


class ScheduleManager(_Manager["Schedule"]):
    """The manager of schedules: what it passes on to a QuerySet stands in a frame of its own, and so in reports."""

    create_for = sensitive_variables()(_Manager.create_for)
