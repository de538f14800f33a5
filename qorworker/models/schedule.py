"""The row of a schedule: what runs by itself, when, and with which arguments. All processes."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from qorworker.arguments import files
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidSchedule
from qorworker.models import schedule_approval, schedule_times, schedule_verbs
from qorworker.models.alters import alters_data
from qorworker.models.approval import Approval, ApprovalState
from qorworker.models.approving import approval_of_schedule
from qorworker.models.audit import AuditEntry
from qorworker.models.calendar import Calendar
from qorworker.models.clock import aware, stored
from qorworker.models.fields import RemarkField
from qorworker.models.indexes import PartialIndex
from qorworker.models.schedule_queries import ScheduleManager
from qorworker.models.schedule_times import Kind
from qorworker.schedules.cron import Cron, zone_called
from qorworker.schedules.holidays import LONGEST_NAME as LONGEST_CALENDAR
from qorworker.schedules.holidays import Holidays, OnHoliday
from qorworker.schedules.landing import Slot
from qorworker.schedules.plan import LONGEST_JITTER, LONGEST_WAIT, Plan
from qorworker.schedules.timetable import CAPS, At, Every, Misfire, Overlap, Rule, Timetable

if TYPE_CHECKING:
    from django.forms import Field

    from qorworker.definitions.job_type import JobType


LOOKED_AHEAD = 2_000  # slots among which those are searched that are on no holiday


class Schedule(models.Model):
    """When a job type runs by itself, with which arguments, and with which policies for misfires and overlaps.

    It fires at ``next_slot``, whatever else its row says. Without ``next_slot`` it does not fire.
    """

    name = models.CharField(_("name"), max_length=200, unique=True)
    job_name = models.CharField(_("job type"), max_length=200)
    arguments = models.JSONField(_("arguments"), default=dict, encoder=DjangoJSONEncoder)
    fingerprint = models.CharField(max_length=32, blank=True)  # of the form that cleaned the arguments
    version = models.PositiveSmallIntegerField(default=1, editable=False)  # of its job type when they were stored

    kind = models.CharField(_("kind"), max_length=5, choices=Kind.choices)
    expression = models.CharField(_("cron expression"), max_length=200, blank=True)
    interval = models.DurationField(_("interval"), null=True, blank=True)
    at = models.DateTimeField(_("time"), null=True, blank=True)
    zone = models.CharField(_("time zone"), max_length=64)
    calendar = models.SlugField(_("calendar"), max_length=LONGEST_CALENDAR, blank=True)  # its name, if it exists or not
    on_holiday = models.CharField(_("on a day off"), max_length=10, choices=OnHoliday.choices, default=OnHoliday.SKIP)
    anchor = models.DateTimeField(editable=False)  # intervals count from here: the start, or when it was created
    starts_at = models.DateTimeField(_("start"), null=True, blank=True)
    ends_at = models.DateTimeField(_("end"), null=True, blank=True)

    misfire = models.CharField(_("if missed"), max_length=10, choices=Misfire.choices, default=Misfire.LATEST)
    misfire_cap = models.PositiveSmallIntegerField(
        _("runs at most"), default=10, validators=[MinValueValidator(CAPS[0]), MaxValueValidator(CAPS[1])]
    )
    overlap = models.CharField(_("if still running"), max_length=10, choices=Overlap.choices, default=Overlap.SKIP)
    jitter = models.PositiveIntegerField(
        _("spread"), default=0, validators=[MaxValueValidator(LONGEST_JITTER)], help_text=_("Seconds.")
    )

    expires = models.PositiveIntegerField(
        _("cancelled if not started within"),
        default=0,
        validators=[MaxValueValidator(LONGEST_WAIT)],
        help_text=_("Seconds; 0: it waits indefinitely."),
    )

    next_slot = models.DateTimeField(_("next"), null=True, blank=True, editable=False)
    next_key = models.CharField(max_length=32, blank=True, editable=False)  # the name of that slot

    revision = models.PositiveIntegerField(default=1, editable=False)  # counts its changes
    enabled = models.BooleanField(_("enabled"), default=True, editable=False)  # False: code no longer declares it
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True, editable=False)
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True, editable=False)
    paused_reason = RemarkField(_("reason"), max_length=200, blank=True, editable=False)
    paused_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False,
        editable=False, verbose_name=_("paused by"),
    )  # fmt: skip
    needs_attention = models.TextField(_("needs attention"), blank=True, editable=False)

    declared_in_code = models.BooleanField(_("declared in code"), default=False, editable=False)
    declaration = models.CharField(max_length=64, blank=True, editable=False)  # reveals whether the code has changed
    created_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False,
        editable=False, verbose_name=_("created by"),
    )  # fmt: skip
    created_at = models.DateTimeField(_("created"), editable=False)
    # The user who last created or changed it in the admin. Kept when the account is deleted: then it must not run.
    answerable = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.DO_NOTHING, null=True, blank=True, related_name="+",
        db_constraint=False, db_index=False, editable=False,
    )  # fmt: skip

    known_holidays: Mapping[str, Holidays] | None = None  # by calendar, if they were read for many schedules at once

    objects = ScheduleManager()

    class Meta:
        base_manager_name = "objects"  # foreign keys, too, are followed where rows are written
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
        """The name that users see. A schedule that code declares without a name is called like its job type."""
        unnamed = self.declared_in_code and re.fullmatch(re.escape(self.job_name) + r"( \d+)?", self.name)
        if not unnamed or self.job_type is None:
            return self.name
        return f"{self.job_type.title}{unnamed[1] or ''}"

    @property
    def job_type(self) -> JobType[..., Any] | None:
        """The definition in code; None if this process does not have it."""
        return registry.find(self.job_name)

    @property
    def is_unmakeable(self) -> bool:
        """Whether code declares it, but so that no schedule can be made of it."""
        return self.declared_in_code and not self.enabled and not self.declaration

    @property
    def is_paused(self) -> bool:
        """Whether it is paused, by the clock of this process."""
        over = self.paused_until is not None and self.paused_until <= timezone.now()
        return self.paused_at is not None and not over

    @property
    def argument_fields(self) -> Mapping[str, Field]:
        """The form fields of its arguments by name; empty if this process does not have its job type."""
        return self.job_type.arguments.definition.fields if self.job_type is not None else {}

    @property
    def current_arguments(self) -> Mapping[str, Any]:
        """Its arguments as the code of today takes them. This raises ``InvalidArguments`` if ``upgrade`` fails."""
        return self.job_type.upgraded(self.arguments, self.version) if self.job_type is not None else self.arguments

    @cached_property
    def open_approval(self) -> Approval | None:
        """The request for its approval that has not been decided; None if it waits for none."""
        if self.job_type is None or self.job_type.approval is None:
            return None
        newest = approval_of_schedule(self, self._state.db or "default")
        return newest if newest is not None and newest.state == ApprovalState.OPEN else None

    # Its times.

    @property
    def rule(self) -> Rule:
        """When it fires. This raises ``InvalidSchedule`` if this system no longer has its time zone."""
        if self.kind == Kind.CRON:
            return Cron(
                self.expression, self.zone, spread=self.name, calendar=self.calendar, on_holiday=self.on_holiday
            )
        if self.kind == Kind.EVERY:
            seconds = self.interval.total_seconds() if self.interval else 0
            return Every(seconds=seconds, calendar=self.calendar, on_holiday=self.on_holiday)
        assert self.at is not None
        return At(aware(self.at).astimezone(zone_called(self.zone)))

    @property
    def timetable(self) -> Timetable:
        return Timetable(self.rule, aware(self.anchor), aware(self.ends_at) if self.ends_at else None, self.holidays)

    @property
    def holidays(self) -> Holidays | None:
        """The days off of its calendar; None without a calendar, or if that does not exist."""
        if not self.calendar:
            return None
        if self.known_holidays is None:
            return Calendar.objects.using(self._state.db).holidays([self.calendar]).get(self.calendar)
        return self.known_holidays.get(self.calendar)

    @property
    def lacks_calendar(self) -> bool:
        """Whether its calendar does not exist."""
        return bool(self.calendar) and self.holidays is None

    @property
    def waits_for(self) -> Slot | None:
        return Slot(aware(self.next_slot), self.next_key) if self.next_slot is not None else None

    def upcoming(self, number: int = 5) -> list[dt.datetime]:
        """Return its next times, in its zone and without spread; none while it is paused or switched off.

        Those that are left out for a holiday are not among them.

        :param number: how many times, at least 1.
        """
        zone = zone_called(self.zone)
        return [slot.moment.astimezone(zone) for slot in islice(self.next_runs(), number)]

    @property
    def next_run(self) -> dt.datetime | None:
        """Its next time that is not left out, as ``next_slot`` is stored; None if there is none."""
        if self.next_slot is None or not self.calendar:
            return self.next_slot
        try:
            slot = next(self.next_runs(), None)
        except InvalidSchedule:  # it needs attention, and its page says so
            return self.next_slot
        return stored(slot.moment) if slot is not None else None

    def next_slots(self) -> Iterator[Slot]:
        """Yield the slot that it waits for and all later ones, also those that are left out for a holiday."""
        if (first := self.waits_for) is not None:
            table = self.timetable
            first = table.current(first)
            yield first
            yield from table.slots_after(first.moment)

    def next_runs(self) -> Iterator[Slot]:
        """Yield its next slots that are not left out, as far as it does not take long to find them."""
        return (slot for slot in islice(self.next_slots(), LOOKED_AHEAD) if not slot.is_left_out)

    @property
    def shown_expiry(self) -> dt.timedelta:
        return dt.timedelta(seconds=self.expires)

    @property
    def plan(self) -> Plan:
        """All that it does, except for its arguments. This raises ``InvalidSchedule`` as ``rule`` does."""
        start, end = (moment and aware(moment) for moment in (self.starts_at, self.ends_at))
        names = ("name", "misfire", "misfire_cap", "overlap", "jitter", "expires")
        return Plan(self.rule, start=start, end=end, **{name: getattr(self, name) for name in names})

    take = schedule_times.take
    wait_from = schedule_times.wait_from
    moved_slot = schedule_times.moved_slot

    # Its verbs.

    change = schedule_verbs.change
    change_dumped = schedule_verbs.change_dumped
    upgrade = schedule_verbs.upgrade
    pause = schedule_verbs.pause
    resume = schedule_verbs.resume
    skip_next = schedule_verbs.skip_next
    run_now = schedule_verbs.run_now
    approve = schedule_approval.approve
    decline = schedule_approval.decline
    remove = schedule_verbs.remove
    declare_again = schedule_verbs.declare_again
    complain = schedule_verbs.complain
    leave_code = schedule_verbs.leave_code

    @alters_data
    def discard_uploads(self) -> None:
        """Delete the files among its arguments."""
        files.discard(self.arguments, self.argument_fields)

    def record(self, action: str, by: Any, origin: str, **details: Any) -> None:
        """Write an audit entry about it.

        :param action: what was done with it.
        :param by: the user who did it, or None.
        :param origin: where the request came from.
        :param details: facts for the entry; empty ones are left out.
        """
        entries = AuditEntry.objects.using(self._state.db)
        entries.record(
            action, job_name=self.job_name, schedule=self, user=by, origin=origin,
            **{name: value for name, value in details.items() if value},
        )  # fmt: skip
