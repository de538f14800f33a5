"""The calendar of schedules: what will run by itself in the next thirty days, day by day. Web."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

from django.db import router
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker.admin import rendering
from qorworker.admin.forms import zone_sentence
from qorworker.admin.media import SCHEDULE_MEDIA
from qorworker.admin.schedules.absence import no_schedule
from qorworker.exceptions import InvalidSchedule
from qorworker.models.clock import aware, database_now
from qorworker.models.schedule import Schedule
from qorworker.schedules import describe

DAYS = 30
MOST = 100  # schedules that the calendar considers: those with the earliest next times
DENSE = 100  # a schedule with more times in all these days is described in words
OF_A_DAY = 8  # times that a day shows; a schedule with more on its first day is described in words, too
TIMES = 3_000  # in all schedules together; further schedules are described in words


@dataclass
class Day:
    """One day of the calendar."""

    date: dt.date
    runs: list[tuple[dt.datetime, Schedule]] = field(default_factory=list)

    @property
    def shown(self) -> list[tuple[dt.datetime, Schedule]]:
        """Return the runs that the calendar names, at most ``OF_A_DAY``."""
        return self.runs[:OF_A_DAY]

    @property
    def more(self) -> int:
        """Return how many runs it does not name."""
        return max(0, len(self.runs) - OF_A_DAY)


def calendar(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Show ``schedule/calendar/``."""
    visible = model_admin.get_queryset(request)
    waiting = list(visible.waiting().order_by("next_slot", "name")[: MOST + 1])
    now = aware(database_now(router.db_for_write(Schedule)))
    days, dense = days_of(waiting[:MOST], now)
    return rendering.page(
        request,
        "schedule/calendar.html",
        Schedule._meta,
        title=_("The next %d days") % DAYS,
        media=SCHEDULE_MEDIA,
        days=days,
        dense=dense,
        nothing="" if waiting else _nothing(request.user, visible),
        most=MOST if len(waiting) > MOST else 0,
        paused=visible.paused().idle().count(),
        zone=zone_sentence(),
    )


def _nothing(user: Any, visible: Any) -> str:
    """Explain why no schedule has a next time."""
    return _("None of the schedules has a next time.") if visible.exists() else no_schedule(user)


def days_of(schedules: list[Schedule], now: dt.datetime) -> tuple[list[Day], list[tuple[Schedule, str]]]:
    """Return each day from today on with its runs, in the current time zone, and the schedules that run too often."""
    zone = timezone.get_current_timezone()
    today = now.astimezone(zone).date()
    end = dt.datetime.combine(today + dt.timedelta(days=DAYS), dt.time(), zone)
    runs: dict[dt.date, list[tuple[dt.datetime, Schedule]]] = defaultdict(list)
    dense, left = [], TIMES
    for schedule in schedules:
        try:
            upcoming = _moments(schedule, now, end, min(DENSE, left))
            left -= len(upcoming)
            moments = [max(moment, now).astimezone(zone) for moment in upcoming]
            if _is_dense(moments) or left <= 0:
                dense.append((schedule, describe.describe(schedule.rule)))
                continue
        except InvalidSchedule:  # it needs attention, and its page says so
            continue
        for moment in moments:
            runs[moment.date()].append((moment, schedule))
    dates = [today + dt.timedelta(days=number) for number in range(DAYS)]
    return [Day(date, sorted(runs[date], key=lambda run: run[0])) for date in dates], dense


def _moments(schedule: Schedule, now: dt.datetime, end: dt.datetime, most: int) -> list[dt.datetime]:
    """Return its times before *end*: no more than it takes to call them many, and at most *most* beside the first."""
    slot = schedule.waits_for
    if slot is None or slot.moment >= end:
        return []
    later = takewhile(lambda slot: slot.moment < end, schedule.timetable.slots_after(max(slot.moment, now)))
    moments = [slot.moment]
    for slot in islice(later, max(0, most)):
        moments.append(slot.moment)
        if len(moments) == OF_A_DAY + 1 and _is_dense(moments):
            break
    return moments


def _is_dense(moments: list[dt.datetime]) -> bool:
    """Return whether there are too many times to name each."""
    is_often = len(moments) > OF_A_DAY and moments[OF_A_DAY] - moments[0] < dt.timedelta(days=1)
    return is_often or len(moments) > DENSE
