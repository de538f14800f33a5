"""What will run by itself in the next thirty days, day by day. Web."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import router
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker import words
from qorworker.admin.media import SCHEDULE_MEDIA
from qorworker.exceptions import InvalidSchedule
from qorworker.forms import zone_sentence
from qorworker.models.clock import aware, database_now
from qorworker.models.schedule import Schedule

DAYS = 30
MOST = 100  # schedules that are looked at, those that come first
DENSE = 100  # times in all these days from which on they are told in words
OF_A_DAY = 8  # times that a day shows


@dataclass
class Day:
    date: dt.date
    runs: list[tuple[dt.datetime, Schedule]] = field(default_factory=list)

    @property
    def shown(self) -> list[tuple[dt.datetime, Schedule]]:
        return self.runs[:OF_A_DAY]

    @property
    def more(self) -> int:
        return max(0, len(self.runs) - OF_A_DAY)


def calendar(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    visible = model_admin.get_queryset(request)
    waiting = list(visible.waiting().order_by("next_slot", "name")[: MOST + 1])
    now = aware(database_now(router.db_for_read(Schedule)))
    days, dense = days_of(waiting[:MOST], now)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("The next %d days") % DAYS,
        "opts": Schedule._meta,
        "media": SCHEDULE_MEDIA,
        "days": days,
        "dense": dense,
        "is_empty": not waiting,
        "most": MOST if len(waiting) > MOST else 0,
        "paused": visible.paused().idle().count(),
        "zone": zone_sentence(),
    }
    return TemplateResponse(request, "admin/qorworker/schedule/calendar.html", context)


def days_of(schedules: list[Schedule], now: dt.datetime) -> tuple[list[Day], list[tuple[Schedule, str]]]:
    """Each day from today on, by clocks in the current time zone, with what runs then; and what runs all the time."""
    zone = timezone.get_current_timezone()
    today = now.astimezone(zone).date()
    end = dt.datetime.combine(today + dt.timedelta(days=DAYS), dt.time(), zone)
    runs: dict[dt.date, list[tuple[dt.datetime, Schedule]]] = defaultdict(list)
    dense = []
    for schedule in schedules:
        try:
            moments = [max(moment, now).astimezone(zone) for moment in _moments(schedule, now, end)]
            if len(moments) > DENSE:
                dense.append((schedule, words.describe(schedule.rule)))
                continue
        except InvalidSchedule:  # it needs attention, and its page says so
            continue
        for moment in moments:
            runs[moment.date()].append((moment, schedule))
    dates = [today + dt.timedelta(days=number) for number in range(DAYS)]
    return [Day(date, sorted(runs[date], key=lambda run: run[0])) for date in dates], dense


def _moments(schedule: Schedule, now: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """Its times before *end*; no more than it takes to call them many."""
    slot = schedule.waits_for
    if slot is None or slot.moment >= end:
        return []
    later = takewhile(lambda slot: slot.moment < end, schedule.timetable.slots_after(max(slot.moment, now)))
    return [slot.moment, *(slot.moment for slot in islice(later, DENSE))]
