"""Rules of schedules in words: the usual shapes as people say them, any other as its cron expression. Web."""

from __future__ import annotations

import datetime as dt
import re

from django.utils import dates, formats, timezone
from django.utils.text import get_text_list
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.cron import plain as plain_expression
from qorworker.timetable import At, Every, Rule

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
    """“every weekday at 06:30 (Europe/Berlin)”."""
    if isinstance(rule, Every):
        return every(rule.interval)
    if isinstance(rule, At):
        moment = timezone.localtime(rule.moment, rule.moment.tzinfo)
        return _("once, on %(moment)s (%(zone)s)") % {
            "moment": formats.date_format(moment.replace(tzinfo=None), "DATETIME_FORMAT"),
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
    told = {
        "weeks": ngettext("every %(number)s weeks", "every %(number)s weeks", number),
        "days": ngettext("every %(number)s days", "every %(number)s days", number),
        "hours": ngettext("every %(number)s hours", "every %(number)s hours", number),
        "minutes": ngettext("every %(number)s minutes", "every %(number)s minutes", number),
        "seconds": ngettext("every %(number)s seconds", "every %(number)s seconds", number),
    }
    return told[unit] % {"number": number}


def expression(text: str) -> str:
    """A cron expression in words if it has one of the usual shapes, else as it is."""
    plain = plain_expression(" ".join(MACROS.get(text, text).split()))
    if plain == "* * * * *":
        return _("every minute")
    if found := STEP.fullmatch(plain):
        return every(dt.timedelta(minutes=int(found[1])))
    if found := HOURLY.fullmatch(plain):
        return _("every hour at minute %(minute)s") % {"minute": f"{int(found[1]):02}"}
    if found := TIME.fullmatch(plain):
        minute, hour, rest = int(found[1]), int(found[2]), found[3]
        clock = formats.time_format(dt.time(hour, minute), "TIME_FORMAT") if hour < 24 and minute < 60 else ""
        if clock and rest == "* * *":
            return _("every day at %(time)s") % {"time": clock}
        if clock and (days := weekdays(rest)):
            if days == WORKDAYS:
                return _("Monday to Friday at %(time)s") % {"time": clock}
            names = get_text_list([str(dates.WEEKDAYS[(day - 1) % 7]) for day in days], _("and"))
            return _("%(days)s at %(time)s") % {"days": names, "time": clock}
        if clock and (found := MONTHLY.fullmatch(rest)):
            if found[1].upper() == "L":
                return _("on the last day of each month at %(time)s") % {"time": clock}
            return _("on day %(day)s of each month at %(time)s") % {"day": int(found[1]), "time": clock}
    return text


def weekdays(rest: str) -> list[int]:
    """The days that “* * 1-5” or “* * 1,3” names, Monday first; empty if it is no such thing."""
    found = DAYS.fullmatch(rest)
    if found is None:
        return []
    days: set[int] = set()
    for part in found[1].split(","):
        first, _dash, last = part.partition("-")
        days |= set(range(int(first), int(last or first) + 1))
    return sorted({(day - 1) % 7 + 1 for day in days})
