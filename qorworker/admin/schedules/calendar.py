"""The calendar of schedules: a month or a week of what ran by itself and of what will. Web."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.db import router
from django.http import HttpRequest, HttpResponseBase
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import rendering
from qorworker.admin.media import CALENDAR_MEDIA
from qorworker.admin.schedules.absence import no_schedule
from qorworker.admin.schedules.agenda import Agenda, Day
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidSchedule
from qorworker.models import Job
from qorworker.models.clock import aware, database_now
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_queries import with_holidays
from qorworker.queries.catalogue import usual_durations
from qorworker.queries.schedule_calendar import past_times
from qorworker.schedules.cron import zone_called
from qorworker.text.cleaning import visible

MOST = 200  # schedules that are considered: those that need attention, and those with the earliest next times
TYPES = 200  # that one may choose from
SHOWN = {"month": 6, "week": 40}  # entries of one day
WEEK = 7
YEARS = (1970, 2199)


@dataclass
class Choice:
    """What the address asks for. *notes* say what in it was not understood."""

    view: str
    date: dt.date
    zone: ZoneInfo
    type: str
    notes: list[str]

    @property
    def first(self) -> dt.date:
        """Return the first day that is shown: of a week, or of the week in which the month begins."""
        begin = self.date.replace(day=1) if self.view == "month" else self.date
        first_of_week = int(formats.get_format("FIRST_DAY_OF_WEEK"))  # 0 is Sunday
        return begin - dt.timedelta(days=(begin.isoweekday() - first_of_week) % WEEK)

    @property
    def number(self) -> int:
        """Return how many days are shown."""
        if self.view == "week":
            return WEEK
        last = self._month(1) - dt.timedelta(days=1)
        return ((last - self.first).days // WEEK + 1) * WEEK

    @property
    def title(self) -> str:
        """Return the name of the month, or the first day of the week."""
        if self.view == "month":
            return formats.date_format(self.date, "YEAR_MONTH_FORMAT")
        return _("Week from %s") % formats.date_format(self.first, "DATE_FORMAT")

    def moved(self, step: int) -> dt.date:
        """Return a day in the month or week *step* further on."""
        return self._month(step) if self.view == "month" else self.date + step * dt.timedelta(days=WEEK)

    def _month(self, step: int) -> dt.date:
        months = self.date.year * 12 + self.date.month - 1 + step
        return dt.date(months // 12, months % 12 + 1, 1)

    def url(self, **changes: str) -> str:
        """Return the address of the same page with *changes*."""
        values = {"view": self.view, "date": str(self.date), "zone": self.zone.key, "type": self.type, **changes}
        return "?" + urlencode({name: value for name, value in values.items() if value})


def calendar(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Show ``schedule/calendar/``."""
    now = aware(database_now(router.db_for_write(Schedule)))
    choice = chosen(request, now)
    visible_ones = model_admin.get_queryset(request)
    rows = visible_ones.for_types([choice.type]) if choice.type else visible_ones
    schedules = with_holidays(rows.order_by("place", "next_slot", "name")[: MOST + 1])
    agenda, had_more = _agenda(request.user, schedules[:MOST], choice, now)
    days = agenda.finish()
    for day in days:
        day.is_beside = choice.view == "month" and day.date.month != choice.date.month
    weeks = [days[place : place + WEEK] for place in range(0, len(days), WEEK)]
    return rendering.page(
        request,
        "schedule/calendar.html",
        Schedule._meta,
        title=choice.title,
        media=CALENDAR_MEDIA,
        choice=choice,
        weeks=[[_shown(day, choice) for day in week] for week in weeks],
        headings=[day.date for day in weeks[0]],
        changes=[day for day in days if day.change],
        not_drawn=agenda.not_drawn,
        had_more=had_more,
        nothing=_nothing(request.user, visible_ones) if not schedules else "",
        most=MOST if len(schedules) > MOST else 0,
        paused=rows.paused().idle().count(),
        zones=_zones(choice.zone),
        types=_types(visible_ones),
        today=str(now.astimezone(choice.zone).date()),
        previous=_url_of(choice, -1),
        following=_url_of(choice, 1),
    )


def chosen(request: HttpRequest, now: dt.datetime) -> Choice:
    """Return what the address of *request* asks for; what it does not say is this month in the current time zone."""
    notes = []
    zone = zone_called(timezone.get_current_timezone_name()) if _is_named() else zone_called("")
    if name := request.GET.get("zone", ""):
        try:
            zone = zone_called(name)
        except InvalidSchedule as error:
            notes.append(str(error))
    date = now.astimezone(zone).date()
    if text := request.GET.get("date", ""):
        try:
            asked = dt.date.fromisoformat(text)
            if not YEARS[0] < asked.year < YEARS[1]:
                raise ValueError
            date = asked
        except ValueError:
            notes.append(_("“%s” is not a date that can be shown.") % visible(text[:40]))
    view = request.GET.get("view", "month")
    if view not in SHOWN:
        notes.append(_("There is a month and a week, but not “%s”.") % visible(view[:40]))
        view = "month"
    return Choice(view, date, zone, request.GET.get("type", "")[:200].replace("\x00", ""), notes)


def _is_named() -> bool:
    """Return whether the current time zone has a name that the address may have; a fixed offset has none."""
    return isinstance(timezone.get_current_timezone(), ZoneInfo)


def _agenda(user: Any, schedules: list[Schedule], choice: Choice, now: dt.datetime) -> tuple[Agenda, list[Schedule]]:
    """Return the days with what became of past times and what will fire, and the schedules that had more times."""
    by_id = {schedule.pk: schedule for schedule in schedules}
    visibility = permissions.Visibility(user)
    names = {schedule.job_name for schedule in schedules}
    usual = usual_durations(Job.objects.all(), names, visibility.creator) if names else {}
    agenda = Agenda(choice.first, choice.number, choice.zone, now, usual)
    had_more: set[int] = set()
    if agenda.begin <= now:
        times, had_more = past_times(list(by_id), agenda.begin, agenda.end, visibility.jobs)
        agenda.add_past(times, by_id)
    if agenda.end > now:
        agenda.add_coming(schedules)
    return agenda, [by_id[pk] for pk in sorted(had_more)]


def _shown(day: Day, choice: Choice) -> dict[str, Any]:
    """Return a day for the template, with as many entries as there is room for."""
    most = SHOWN[choice.view]
    return {
        "day": day,
        "entries": day.entries[:most],
        "more": max(0, len(day.entries) - most),
        "week": choice.url(view="week", date=str(day.date)),
    }


def _url_of(choice: Choice, step: int) -> str:
    date = choice.moved(step)
    return choice.url(date=str(date)) if YEARS[0] < date.year < YEARS[1] else ""


def _zones(current: ZoneInfo) -> list[str]:
    """Return the zones to choose from: that of the site, the current one, the chosen one, and UTC."""
    names = [django_settings.TIME_ZONE, timezone.get_current_timezone_name() if _is_named() else "", current.key, "UTC"]
    return list(dict.fromkeys(name for name in names if name))


def _types(schedules: Any) -> list[tuple[str, str]]:
    """Return names and titles of the job types that have schedules."""
    names = schedules.order_by("job_name").values_list("job_name", flat=True).distinct()[:TYPES]
    found = [(name, str(each.title) if (each := registry.find(name)) is not None else name) for name in names]
    return sorted(found, key=lambda pair: pair[1])


def _nothing(user: Any, schedules: Any) -> str:
    """Explain why there is no schedule."""
    return _("No schedule matches.") if schedules.exists() else no_schedule(user)
