"""Rules of schedules in words: common patterns as people say them, any other as its cron expression. Web."""

from __future__ import annotations

import datetime as dt
import re

from django.utils import dates, timezone
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.schedules.cron import plain as plain_expression
from qorworker.schedules.timetable import At, Every, Rule
from qorworker.text.moments import clock, date_and_clock

TIME = re.compile(r"(\d{1,2}) (\d{1,2}) (.*)")
STEP = re.compile(r"\*/(\d{1,2}) \* \* \* \*")
HOURLY = re.compile(r"(\d{1,2}) \* \* \* \*")
DAYS = re.compile(r"\* \* ([0-7](?:[-,][0-7])*)")
MONTHLY = re.compile(r"(\d{1,2}|[Ll]) \* \*")
WORKDAYS = [1, 2, 3, 4, 5]
MACROS = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}  # fmt: skip


def describe(rule: Rule) -> str:
    """Return a rule in words: “every weekday at 06:30 (Europe/Berlin)”."""
    if isinstance(rule, Every):
        return every(rule.interval)
    if isinstance(rule, At):
        moment = timezone.localtime(rule.moment, rule.moment.tzinfo)
        return _("once, on %(moment)s (%(zone)s)") % {
            "moment": date_and_clock(moment),
            "zone": moment.tzinfo,
        }
    return f"{expression(rule.expression)} ({rule.zone.key})"


def every(interval: dt.timedelta) -> str:
    seconds = int(interval.total_seconds())
    if not seconds % 604_800:
        return _("every week") if (number := seconds // 604_800) == 1 else _several(number, "weeks")
    if not seconds % 86_400:
        return _("every 24 hours") if (number := seconds // 86_400) == 1 else _several(number, "days")
    if not seconds % 3600:
        return _("every hour") if (number := seconds // 3600) == 1 else _several(number, "hours")
    if not seconds % 60:
        return _("every minute") if (number := seconds // 60) == 1 else _several(number, "minutes")
    return _("every second") if seconds == 1 else _several(seconds, "seconds")


def _several(number: int, unit: str) -> str:
    texts = {
        "weeks": ngettext("every %(number)s weeks", "every %(number)s weeks", number),
        "days": ngettext("every %(number)s days", "every %(number)s days", number),
        "hours": ngettext("every %(number)s hours", "every %(number)s hours", number),
        "minutes": ngettext("every %(number)s minutes", "every %(number)s minutes", number),
        "seconds": ngettext("every %(number)s seconds", "every %(number)s seconds", number),
    }
    return texts[unit] % {"number": number}


def expression(text: str) -> str:
    """Return a cron expression in words if it has one of the common patterns, else unchanged."""
    plain = plain_expression(" ".join(MACROS.get(text, text).split()))
    if plain == "* * * * *":
        return _("every minute")
    if match := STEP.fullmatch(plain):
        return every(dt.timedelta(minutes=int(match[1])))
    if match := HOURLY.fullmatch(plain):
        return _("every hour at minute %(minute)s") % {"minute": f"{int(match[1]):02}"}
    if match := TIME.fullmatch(plain):
        minute, hour, rest = int(match[1]), int(match[2]), match[3]
        time = clock(dt.time(hour, minute)) if hour < 24 and minute < 60 else ""
        if time and rest == "* * *":
            return _("every day at %(time)s") % {"time": time}
        if time and (days := weekdays(rest)):
            if days == WORKDAYS:
                return _("Monday to Friday at %(time)s") % {"time": time}
            names = get_text_list([str(dates.WEEKDAYS[(day - 1) % 7]) for day in days], _("and"))
            return _("%(days)s at %(time)s") % {"days": names, "time": time}
        if time and (match := MONTHLY.fullmatch(rest)):
            if match[1].upper() == "L":
                return _("on the last day of each month at %(time)s") % {"time": time}
            return _("on day %(day)s of each month at %(time)s") % {"day": int(match[1]), "time": time}
    return text


def weekdays(rest: str) -> list[int]:
    """Return the days that “* * 1-5” or “* * 1,3” names, Monday first; empty for any other text."""
    match = DAYS.fullmatch(rest)
    if match is None:
        return []
    days: set[int] = set()
    for part in match[1].split(","):
        first, _dash, last = part.partition("-")
        days |= set(range(int(first), int(last or first) + 1))
    return sorted({(day - 1) % 7 + 1 for day in days})
