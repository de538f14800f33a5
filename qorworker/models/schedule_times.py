"""The part of a schedule's row that is about time: its rule, and the slot that it waits for. All processes."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.cron import Cron, zone_called
from qorworker.models.clock import aware, stored
from qorworker.plan import LONGEST_JITTER, LONGEST_WAIT, Plan
from qorworker.timetable import CAPS, At, Every, Misfire, Overlap, Rule, Slot, Timetable

EVER = dt.datetime.min.replace(tzinfo=dt.UTC)


class Kind(models.TextChoices):
    CRON = "cron", _("Cron expression")
    EVERY = "every", _("Interval")
    ONCE = "once", pgettext_lazy("schedule", "Once")


class ScheduleTimes(models.Model):
    """If ``next_slot`` is set it fires then, whatever else its row says; if not, it does not."""

    name: Any
    enabled: Any
    paused_at: Any
    paused_until: Any
    needs_attention: Any

    kind = models.CharField(_("kind"), max_length=5, choices=Kind.choices)
    expression = models.CharField(_("cron expression"), max_length=200, blank=True)
    interval = models.DurationField(_("interval"), null=True, blank=True)
    at = models.DateTimeField(_("time"), null=True, blank=True)
    zone = models.CharField(_("time zone"), max_length=64)
    anchor = models.DateTimeField(editable=False)  # where intervals are counted from: the start, or when it was made
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
        help_text=_("Seconds; 0: it waits however long."),
    )

    next_slot = models.DateTimeField(_("next"), null=True, blank=True, editable=False)
    next_key = models.CharField(max_length=32, blank=True, editable=False)  # the name of that slot

    class Meta:
        abstract = True

    @property
    def rule(self) -> Rule:
        """Raises ``InvalidSchedule`` if this system does not know its zone any more."""
        if self.kind == Kind.CRON:
            return Cron(self.expression, self.zone, spread=self.name)
        if self.kind == Kind.EVERY:
            return Every(seconds=self.interval.total_seconds() if self.interval else 0)
        assert self.at is not None
        return At(aware(self.at).astimezone(zone_called(self.zone)))

    @property
    def timetable(self) -> Timetable:
        return Timetable(self.rule, aware(self.anchor), aware(self.ends_at) if self.ends_at else None)

    @property
    def waits_for(self) -> Slot | None:
        return Slot(aware(self.next_slot), self.next_key) if self.next_slot is not None else None

    def upcoming(self, number: int = 5) -> list[dt.datetime]:
        """The next *number* times, in its zone and without spread; none while it is paused or switched off."""
        if self.next_slot is None:
            return []
        first, zone = aware(self.next_slot), zone_called(self.zone)
        slots = self.timetable.upcoming(first, number - 1) if number > 1 else []
        return [moment.astimezone(zone) for moment in (first, *(slot.moment for slot in slots))]

    @property
    def shown_expiry(self) -> dt.timedelta:
        return dt.timedelta(seconds=self.expires)

    @property
    def plan(self) -> Plan:
        """What it does, without the arguments. Raises ``InvalidSchedule`` like ``rule``."""
        start, end = (moment and aware(moment) for moment in (self.starts_at, self.ends_at))
        more = {
            name: getattr(self, name) for name in ("name", "misfire", "misfire_cap", "overlap", "jitter", "expires")
        }
        return Plan(self.rule, start=start, end=end, **more)

    def take(self, plan: Plan, now: dt.datetime) -> None:
        """Become what *plan* says from *now* on. A slot that it waits for stays if the times do not change."""
        before, counted = (self._times(), self._counted()) if self.pk else (None, None)
        self.name = plan.name or self.name
        self.misfire, self.misfire_cap, self.overlap = plan.misfire, plan.misfire_cap, plan.overlap
        self.jitter, self.expires = plan.jitter, plan.expires
        self.starts_at, self.ends_at = (moment and stored(moment) for moment in (plan.start, plan.end))
        self.expression, self.interval, self.at = "", None, None
        zone: Any = None
        match plan.when:
            case Cron(expression=expression, zone=zone):
                self.kind, self.expression = Kind.CRON, expression
            case Every(interval=interval):
                self.kind, self.interval = Kind.EVERY, interval
            case At(moment=moment):
                self.kind, self.at, zone = Kind.ONCE, stored(moment), moment.tzinfo
        self.zone = zone.key if isinstance(zone, ZoneInfo) else django_settings.TIME_ZONE
        if counted != self._counted():
            self.anchor = stored((plan.start or aware(now)).replace(microsecond=0))
        if before != self._times():
            self.wait_from(aware(now), new=True)

    def _times(self) -> tuple[Any, ...]:
        spread = self.name if self.kind == Kind.CRON else ""
        return (*self._counted(), spread, self.expression, self.at, self.zone, self.ends_at)

    def _counted(self) -> tuple[Any, ...]:
        return (self.kind, self.interval, self.starts_at)

    def wait_from(self, moment: dt.datetime, new: bool = False) -> None:
        """Wait for the first slot after *moment*; a single time that is new and past is due at once."""
        slot = None
        if self.enabled and (self.paused_at is None or self.paused_until is not None):
            begin = EVER if new and self.kind == Kind.ONCE else moment
            resumed = aware(self.paused_until) - dt.timedelta.resolution if self.paused_until else begin
            slot = self.timetable.after(max(begin, resumed))
        self.next_slot, self.next_key = (stored(slot.moment), slot.key) if slot else (None, "")

    def moved_slot(self, now: dt.datetime) -> Slot | None:
        """The slot that it waits for, by the rules that its zone has now. One that is due stays due."""
        slot, table = self.waits_for, self.timetable
        if slot is None:
            return table.after(now) if self.needs_attention and self.paused_at is None else None
        if not slot.key.endswith("Z"):
            return table.slot(slot.key)
        begin = max(now, aware(self.paused_until)) if self.paused_until else now
        return table.after(begin) if slot.moment > now else slot
