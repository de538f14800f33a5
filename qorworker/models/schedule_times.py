"""How the row of a schedule follows its times: its rule, and the slot that it waits for. All processes.

The functions are methods of ``Schedule``.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.models.clock import aware, stored
from qorworker.schedules.cron import Cron
from qorworker.schedules.holidays import OnHoliday
from qorworker.schedules.landing import Slot
from qorworker.schedules.plan import Plan
from qorworker.schedules.timetable import At, Every

if TYPE_CHECKING:
    from qorworker.models.schedule import Schedule

EVER = dt.datetime.min.replace(tzinfo=dt.UTC)


class Kind(models.TextChoices):
    CRON = "cron", _("Cron expression")
    EVERY = "every", _("Interval")
    ONCE = "once", pgettext_lazy("schedule", "Once")


def take(self: Schedule, plan: Plan, now: dt.datetime) -> None:
    """Take over what *plan* says, without saving it. The slot that it waits for stays if the times do not change.

    :param now: the time of the database; intervals count from it if the plan has no start.
    """
    before, counted = (_times(self), _counted(self)) if self.pk else (None, None)
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
    self.calendar = getattr(plan.when, "calendar", "")
    self.on_holiday = getattr(plan.when, "on_holiday", OnHoliday.SKIP)
    self.zone = zone.key if isinstance(zone, ZoneInfo) else django_settings.TIME_ZONE
    if counted != _counted(self):
        self.anchor = stored((plan.start or aware(now)).replace(microsecond=0))
    if before != _times(self):
        self.wait_from(aware(now), new=True)


def wait_from(self: Schedule, moment: dt.datetime, new: bool = False) -> None:
    """Wait for the first slot after *moment*, without saving it.

    :param moment: an aware time.
    :param new: whether its times are new: a single time that is past is due at once then.
    """
    slot = None
    if self.enabled and (self.paused_at is None or self.paused_until is not None):
        begin = EVER if new and self.kind == Kind.ONCE else moment
        resumed = aware(self.paused_until) - dt.timedelta.resolution if self.paused_until else begin
        slot = self.timetable.after(max(begin, resumed))
    self.next_slot, self.next_key = (stored(slot.moment), slot.key) if slot else (None, "")


def moved_slot(self: Schedule, now: dt.datetime) -> Slot | None:
    """Return the slot that it waits for, by the rules of its zone and the holidays as they are now.

    One that is due stays due.
    """
    slot, table = self.waits_for, self.timetable
    if slot is None:
        return table.after(now) if self.needs_attention and self.paused_at is None else None
    if self.calendar or not slot.key.endswith("Z"):
        return table.slot(slot.key)
    begin = max(now, aware(self.paused_until)) if self.paused_until else now
    return table.after(begin) if slot.moment > now else slot


def _times(schedule: Schedule) -> tuple[Any, ...]:
    spread = schedule.name if schedule.kind == Kind.CRON else ""
    holidays = (schedule.calendar, schedule.on_holiday)
    return (*_counted(schedule), spread, schedule.expression, schedule.at, schedule.zone, schedule.ends_at, *holidays)


def _counted(schedule: Schedule) -> tuple[Any, ...]:
    return (schedule.kind, schedule.interval, schedule.starts_at)
