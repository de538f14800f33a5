"""What runs by itself: the schedules, and a row for each time at which one of them fired. All processes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, models, router, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments import files
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, database_now, stored
from qorworker.models.indexes import PartialIndex
from qorworker.models.job import Job
from qorworker.models.schedule_times import Kind, ScheduleTimes
from qorworker.models.schedule_verbs import ScheduleVerbs, name_taken
from qorworker.models.sql.schedules import soon
from qorworker.models.verbs import wake
from qorworker.plan import Plan
from qorworker.timetable import Rule, Slot

if TYPE_CHECKING:
    from qorworker.registry import JobType


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    @sensitive_variables()
    def create_for(
        self,
        job_type: JobType[Any],
        when: Rule | Plan,
        arguments: dict[str, Any] | None = None,
        *,
        name: str = "",
        by: Any = None,
        origin: str = Origin.CODE,
        **more: Any,
    ) -> Schedule:
        """A schedule that runs *job_type* with *arguments* whenever the rule *when* says so.

        *name* is the job type's if none is given, with a number if that is taken. *more* is what ``Plan`` takes:
        ``start``, ``end``, ``misfire``, ``misfire_cap``, ``overlap``, ``jitter``, ``expires``.
        Raises ``InvalidSchedule``, or ``InvalidArguments`` with the field errors; then nothing is stored.
        """
        plan = when if isinstance(when, Plan) else Plan(when, name=name, arguments=arguments or {}, **more)
        dumped = job_type.arguments.dump(job_type.arguments.clean(plan.arguments))
        return self.create_dumped(job_type, plan, dumped, by=by, origin=origin)

    def create_dumped(
        self,
        job_type: JobType[Any],
        plan: Plan,
        dumped: dict[str, Any],
        *,
        by: Any = None,
        origin: str = Origin.CODE,
        declaration: str = "",
    ) -> Schedule:
        """A schedule for *plan* with arguments that are ready for the table; these are discarded if it fails.

        *declaration* stands for what the code says, if the code declares it.
        """
        using = self._write_database()
        try:
            with transaction.atomic(using=using):
                now = database_now(using)
                schedule = Schedule(job_name=job_type.name, created_by_id=getattr(by, "pk", None), created_at=now)
                schedule.name = plan.name or self.free_name(str(job_type.title))
                schedule.declared_in_code, schedule.declaration = bool(declaration), declaration
                schedule.arguments, schedule.fingerprint = dumped, job_type.arguments.fingerprint
                schedule.answerable_id = schedule.created_by_id if origin == Origin.ADMIN else None
                schedule.take(plan, now)
                schedule.save(using=using, force_insert=True)
                schedule.record("create schedule", by, origin)
                wake(using)
        except IntegrityError:
            files.discard(dumped, job_type.arguments.fields)
            raise name_taken(plan.name) from None
        except BaseException:
            files.discard(dumped, job_type.arguments.fields)
            raise
        return schedule

    def _write_database(self) -> str:
        chosen: str | None = getattr(self, "_db", None)
        return chosen or router.db_for_write(Schedule)

    def free_name(self, title: str) -> str:
        """*title*, with a number if a schedule is called like that."""
        taken = set(self.filter(name__startswith=title[:180]).values_list("name", flat=True))
        names = (title[:180] if number == 1 else f"{title[:180]} {number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete them, their records and their uploads. Their jobs stay; what waits or runs keeps its uploads."""
        using = self._write_database()
        with transaction.atomic(using=using):
            schedules = list(self.using(using).select_for_update())  # whoever fires one now comes first
            for schedule in schedules:
                if not Job.objects.using(using).unfinished_of(schedule.pk):
                    transaction.on_commit(schedule.discard_uploads, using=using, robust=True)
            return super().delete()

    # What the pages ask.

    def next_first(self) -> ScheduleQuerySet:
        """What needs somebody first, then by the next time, then what waits for none."""
        need = models.Case(
            models.When(~Q(needs_attention=""), then=0), models.When(next_slot__isnull=False, then=1), default=2
        )
        return self.annotate(place=need)

    def alike(self, schedule: Schedule) -> ScheduleQuerySet:
        """Others of the same job type at the same times."""
        same = {name: getattr(schedule, name) for name in ("job_name", "kind", "expression", "interval", "at", "zone")}
        return self.filter(**same, enabled=True).exclude(pk=schedule.pk)

    # What a worker asks.

    def soon(self, names: Collection[str], seconds: float) -> list[tuple[int, float]]:
        """Numbers of the schedules of these job types that fire within so many seconds, and in how many."""
        return [(pk, ahead) for pk, name, ahead in soon(self.db, seconds) if name in names]

    def that_expire(self) -> list[tuple[int, str, int]]:
        """Number and name of those whose jobs must start within a time, and how many seconds that is."""
        return list(self.filter(expires__gt=0).values_list("pk", "name", "expires"))

    def claim_slot(self, pk: int, revision: int, key: str) -> Schedule | None:
        """Lock a schedule that still waits for this slot; None if it does not, or somebody else is at it."""
        rows = self.filter(pk=pk, revision=revision, next_key=key, next_slot__isnull=False)
        skip = transaction.get_connection(self.db).features.has_select_for_update_skip_locked
        return rows.select_for_update(skip_locked=skip).first()

    def move_on(self, schedule: Schedule, slot: Slot | None, **changes: Any) -> bool:
        """Have a schedule wait for *slot* in the place of the one it waits for; False if it no longer does."""
        mine = self.filter(pk=schedule.pk, revision=schedule.revision, next_key=schedule.next_key)
        return bool(mine.update(next_slot=slot and stored(slot.moment), next_key=slot.key if slot else "", **changes))

    def declared(self) -> ScheduleQuerySet:
        """Those that are or were declared in code."""
        return self.filter(declared_in_code=True)

    def called(self, name: str) -> Schedule | None:
        """The one with this name, to the letter."""
        return next((schedule for schedule in self.filter(name=name) if schedule.name == name), None)

    def for_types(self, names: Iterable[str]) -> ScheduleQuerySet:
        return self.filter(job_name__in=list(names))

    def by_the_wall(self) -> ScheduleQuerySet:
        """Those whose next time depends on the rules of a time zone."""
        return self.filter(kind=Kind.CRON, enabled=True)

    def of_user(self, user: Any) -> ScheduleQuerySet:
        """Those that *user* has made, or changed last."""
        return self.filter(Q(created_by=user) | Q(answerable=user))

    def paused(self) -> ScheduleQuerySet:
        return self.filter(paused_at__isnull=False).filter(
            Q(paused_until=None) | Q(paused_until__gt=DatabaseNow()), enabled=True
        )

    def active(self) -> ScheduleQuerySet:
        """Those that wait for a time."""
        return self.exclude(pk__in=self.paused().values("pk")).waiting()

    def waiting(self) -> ScheduleQuerySet:
        """Those that wait for a time, be it after a pause."""
        return self.filter(next_slot__isnull=False)

    def idle(self) -> ScheduleQuerySet:
        """Those that wait for none."""
        return self.filter(next_slot=None)

    def in_need(self) -> ScheduleQuerySet:
        """Those that somebody has to look after."""
        return self.exclude(needs_attention="")


class Schedule(ScheduleTimes, ScheduleVerbs):
    """When a job type runs by itself, with which arguments, and what if. It waits for ``next_slot``, or for nothing."""

    name = models.CharField(_("name"), max_length=200, unique=True)
    job_name = models.CharField(_("job type"), max_length=200)
    arguments = models.JSONField(_("arguments"), default=dict, encoder=DjangoJSONEncoder)
    fingerprint = models.CharField(max_length=32, blank=True)  # of the form that cleaned the arguments

    revision = models.PositiveIntegerField(default=1, editable=False)  # counts its changes
    enabled = models.BooleanField(_("enabled"), default=True, editable=False)  # False: it has left the code
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True, editable=False)
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True, editable=False)
    paused_reason = models.CharField(_("reason"), max_length=200, blank=True, editable=False)
    paused_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False,
        editable=False, verbose_name=_("paused by"),
    )  # fmt: skip
    needs_attention = models.TextField(_("needs attention"), blank=True, editable=False)

    declared_in_code = models.BooleanField(_("declared in code"), default=False, editable=False)
    declaration = models.CharField(max_length=64, blank=True, editable=False)  # tells whether the code has changed
    created_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False,
        editable=False, verbose_name=_("created by"),
    )  # fmt: skip
    created_at = models.DateTimeField(_("created"), editable=False)
    # Who made or changed it last in the admin; kept when the account is deleted, for then it must run no more.
    answerable = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.DO_NOTHING, null=True, blank=True, related_name="+",
        db_constraint=False, db_index=False, editable=False,
    )  # fmt: skip

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        default_permissions = ("view",)
        permissions = (("manage_schedule", "Can create, change, pause and delete schedules"),)
        ordering = ("name",)
        indexes = (
            PartialIndex(name="qorworker_schedule_next", fields=("next_slot",), only=Q(next_slot__isnull=False)),
            models.Index(name="qorworker_schedule_job", fields=("job_name",)),
        )

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        """The name as people know it: one that the code declares without a name is called like its job type."""
        unnamed = self.declared_in_code and re.fullmatch(re.escape(self.job_name) + r"( \d+)?", self.name)
        if not unnamed or self.job_type is None:
            return self.name
        return f"{self.job_type.title}{unnamed[1] or ''}"

    @property
    def job_type(self) -> JobType[Any] | None:
        """The definition in code, if this process has it."""
        from qorworker.registry import registry

        return registry.find(self.job_name)

    @property
    def is_paused(self) -> bool:
        """Whether somebody paused it, by the clock of this process."""
        over = self.paused_until is not None and self.paused_until <= timezone.now()
        return self.paused_at is not None and not over

    def discard_uploads(self) -> None:
        known = self.job_type.arguments.definition.fields if self.job_type is not None else {}
        files.discard(self.arguments, known)

    def record(self, action: str, by: Any, origin: str, **details: Any) -> None:
        """Add to the audit what was done with it."""
        entries = AuditEntry.objects.using(self._state.db)
        entries.record(
            action, job_name=self.job_name, schedule=self, user=by, origin=origin,
            **{name: value for name, value in details.items() if value},
        )  # fmt: skip
