"""The preview of a schedule before it is saved: its rule in words, its next times, and what is odd about them. Web."""

from __future__ import annotations

import copy
import datetime as dt
from dataclasses import dataclass
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from django.db import router
from django.utils import formats
from django.utils.translation import gettext as _

from qorworker.models.clock import aware, database_now, stored
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_queries import ScheduleQuerySet
from qorworker.schedules import describe
from qorworker.schedules.cron import Cron, zone_called
from qorworker.schedules.landing import Slot
from qorworker.schedules.plan import Plan
from qorworker.schedules.timetable import At, Timetable
from qorworker.text.moments import date_and_clock

NEXT = 5
HOLIDAYS = 5  # that a sentence names
LOOKED_AT = 400  # times among which those that clocks leave out are searched
AHEAD = dt.timedelta(days=370)


@dataclass(frozen=True)
class Time:
    """One time at which it runs, as clocks in its zone show it, and in UTC."""

    moment: dt.datetime
    zone: str
    note: str = ""  # for which day it was meant, if it is moved

    @property
    def local(self) -> str:
        """Show the time in the zone of the schedule, with its weekday."""
        wall = self.moment.astimezone(zone_called(self.zone)).replace(tzinfo=None)
        return _shown(wall)

    @property
    def stored(self) -> dt.datetime:
        """Return the time as model fields take it in this project."""
        return stored(self.moment)

    @property
    def utc(self) -> str:
        """Show the time in UTC, with its weekday."""
        return _shown(self.moment.astimezone(dt.UTC).replace(tzinfo=None))


def times_of(schedule: Schedule, number: int = NEXT) -> list[Time]:
    """Return its next times that run."""
    zone = zone_called(schedule.zone)
    return [
        Time(slot.moment, schedule.zone, _moved(slot, zone) if slot.is_moved else "")
        for slot in islice(schedule.next_runs(), number)
    ]


def _moved(slot: Slot, zone: ZoneInfo) -> str:
    day = formats.date_format(slot.meant(zone), "DATE_FORMAT")
    return _("instead of %(day)s, %(holiday)s") % {"day": day, "holiday": slot.holiday}


def left_out(schedule: Schedule, before: dt.datetime | None) -> str:
    """Return the days off on which it runs nothing *before* a moment, as a sentence; empty if there are none."""
    slots = takewhile(lambda slot: before is None or slot.moment < before, islice(schedule.next_slots(), LOOKED_AT))
    zone = zone_called(schedule.zone)
    days = dict.fromkeys((slot.meant(zone).date(), slot.holiday) for slot in slots if slot.is_left_out)
    shown = [f"{formats.date_format(day, 'MONTH_DAY_FORMAT')} ({holiday})" for day, holiday in islice(days, HOLIDAYS)]
    if len(days) > HOLIDAYS:
        shown.append("…")
    return _("Not on: %(days)s.") % {"days": ", ".join(shown)} if shown else ""


def _shown(wall: dt.datetime) -> str:
    return f"{formats.date_format(wall, 'D')} {date_and_clock(wall)}"


@dataclass(frozen=True)
class Preview:
    """The preview that the form shows before it is saved."""

    words: str
    times: list[Time]
    warnings: list[str]
    left_out: str = ""  # days off, in a sentence


def preview(plan: Plan, job_name: str, schedule: Schedule | None = None, *, visible: ScheduleQuerySet) -> Preview:
    """Return the preview of *plan*, by the rules and the clock of workers. It names *visible* schedules only."""
    now = database_now(router.db_for_write(Schedule))
    draft = copy.copy(schedule) if schedule is not None else Schedule(job_name=job_name)
    draft.paused_at = draft.paused_until = None
    draft.enabled = True
    draft.take(plan, now)
    draft.wait_from(aware(now), new=True)
    times = times_of(draft)
    return Preview(
        describe.describe(plan.when),
        times,
        [*_left_out(draft.timetable, aware(now)), *_odd(plan, times, aware(now)), *_alike(draft, visible)],
        left_out(draft, times[-1].moment if times else None),
    )


def _left_out(table: Timetable, begin: dt.datetime) -> list[str]:
    """Return a sentence for each time of the next year that clocks skip."""
    if not isinstance(table.rule, Cron):
        return []
    zone, sentences = table.rule.zone, []
    year = takewhile(lambda slot: slot.moment < begin + AHEAD, islice(table.slots_after(begin), LOOKED_AT))
    for slot in year:
        wall = slot.moment.astimezone(zone).replace(tzinfo=None)
        if slot.holiday:
            continue
        if not slot.key.endswith("Z") and (meant := dt.datetime.fromisoformat(slot.key)) != wall.replace(second=0):
            sentences.append(
                _("On %(day)s %(meant)s does not exist in %(zone)s: it will run at %(then)s.")
                % {
                    "day": formats.date_format(meant, "DATE_FORMAT"),
                    "meant": f"{meant:%H:%M}",
                    "zone": zone.key,
                    "then": f"{wall:%H:%M}",
                }
            )
    return sentences


def _odd(plan: Plan, times: list[Time], begin: dt.datetime) -> list[str]:
    sentences = []
    if isinstance(plan.when, At) and plan.when.moment <= begin:
        sentences.append(_("This time is past: it will run at once."))
    elif not times:
        sentences.append(_("It will never run: none of its times is before its end, or all are on days off."))
    if isinstance(plan.when, Cron) and not plan.when.expression.startswith("@"):
        day, weekday = plan.when.expression.split()[2], plan.when.expression.split()[4]
        if not day.startswith("*") and not weekday.startswith("*"):
            sentences.append(_("Day of the month and day of the week: it runs on every day for which either is right."))
    return sentences


def _alike(draft: Schedule, visible: ScheduleQuerySet) -> list[str]:
    others = visible.alike(draft)[:3]
    return [_("“%(name)s” runs the same job at the same times.") % {"name": other.title} for other in others]
