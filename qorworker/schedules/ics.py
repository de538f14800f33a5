"""Reads the days off of an iCalendar file (RFC 5545), as calendars of holidays use it. Pure: no network, no files."""

from __future__ import annotations

import calendar as months
import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from django.utils.translation import gettext as _

from qorworker.exceptions import InvalidCalendar, InvalidSchedule
from qorworker.schedules.cron import zone_called
from qorworker.schedules.holidays import DAY, Span

LARGEST = 1_000_000  # characters
MOST_EVENTS = 2_000
YEARS = 10  # for which events that repeat each year are read
LATEST = 2_200
NAME_CHARS = 100
LINE = re.compile(
    r"([A-Za-z0-9-]+)((?:;[A-Za-z0-9-]+=(?:\"[^\"]*\"|[^\";:,]*)(?:,(?:\"[^\"]*\"|[^\";:,]*))*)*):(.*)", re.DOTALL
)
DATE = re.compile(r"(\d{4})(\d\d)(\d\d)")
MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(Z?)")
DURATION = re.compile(r"\+?P(?:(\d{1,3})W)?(?:(\d{1,4})D)?(?:T(?:(\d{1,4})H)?(?:(\d{1,6})M)?(?:(\d{1,8})S)?)?")
NTH_WEEKDAY = re.compile(r"([+-]?[1-5])(MO|TU|WE|TH|FR|SA|SU)")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
RULE_PARTS = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYMONTH", "BYMONTHDAY", "BYDAY", "WKST"}
REFUSED = {"RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"}
ESCAPES = {"n": " ", "N": " "}


class Line(NamedTuple):
    """One line of the file, without its folds."""

    number: int
    name: str
    params: dict[str, str]
    value: str

    def refuse(self, why: str) -> InvalidCalendar:
        """Return an error that names the line."""
        return InvalidCalendar(_("Line %(number)d: %(why)s") % {"number": self.number, "why": why})


@dataclass
class Event:
    """A VEVENT, by the lines that matter."""

    begin: Line
    lines: dict[str, Line] = field(default_factory=dict)


def read(text: str, year: int) -> list[Span]:
    """Return the days of all events in *text*.

    An event with times takes all days that it touches, in its own time zone; one in UTC, or without a zone, in that of
    the project. An event that repeats each year is read from the year before *year* to ten years after it.

    :param text: the content of the file.
    :param year: the current year.
    :raises qorworker.exceptions.InvalidCalendar: if it cannot be read; the text names the line.
    """
    if len(text) > LARGEST:
        raise InvalidCalendar(_("The file is larger than %d kB.") % (LARGEST // 1000))
    spans: list[Span] = []
    for event in _events(list(_lines(text))):
        spans += _spans(event, year)
        if len(spans) > MOST_EVENTS:
            raise InvalidCalendar(_("The file has more than %d dates.") % MOST_EVENTS)
    if not spans:
        raise InvalidCalendar(_("The file has no events."))
    return spans


# Lines and events.


def _lines(text: str) -> Iterator[Line]:
    unfolded: list[tuple[int, str]] = []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")), 1):
        if line[:1] in (" ", "\t") and unfolded:
            unfolded[-1] = (unfolded[-1][0], unfolded[-1][1] + line[1:])
        elif line.strip():
            unfolded.append((number, line))
    for number, line in unfolded:
        match = LINE.fullmatch(line)
        if match is None:
            raise Line(number, "", {}, "").refuse(_("this is no line of an iCalendar file."))
        params = dict(part.split("=", 1) for part in re.findall(r";([^=;]+=(?:\"[^\"]*\"|[^;\"])*)", match[2]))
        yield Line(
            number, match[1].upper(), {name.upper(): value.strip('"') for name, value in params.items()}, match[3]
        )


def _events(lines: list[Line]) -> Iterator[Event]:
    """Yield the events. What is inside of them, as an alarm, and beside them does not matter."""
    if not lines or (lines[0].name, lines[0].value.upper()) != ("BEGIN", "VCALENDAR"):
        raise InvalidCalendar(_("This is not an iCalendar file: it does not begin with BEGIN:VCALENDAR."))
    stack: list[Line] = []
    event: Event | None = None
    for line in lines:
        if line.name == "BEGIN":
            stack.append(line)
            if line.value.upper() == "VEVENT":
                event = Event(line)
        elif line.name == "END":
            if not stack or stack.pop().value.upper() != line.value.upper():
                raise line.refuse(_("nothing that ends here has begun."))
            if line.value.upper() == "VEVENT" and event is not None:
                yield event
                event = None
        elif event is not None and stack[-1] is event.begin:
            if line.name in REFUSED or (line.name == "RRULE" and "RRULE" in event.lines):
                raise line.refuse(_("%s is not supported. Remove the event, and add its days by hand.") % line.name)
            event.lines[line.name] = line
    if stack:
        raise stack[-1].refuse(_("this has no end: the file is incomplete."))


# The days of an event.


def _spans(event: Event, year: int) -> list[Span]:
    lines = event.lines
    if "STATUS" in lines and lines["STATUS"].value.upper() == "CANCELLED":
        return []
    if "DTSTART" not in lines:
        raise event.begin.refuse(_("this event has no DTSTART."))
    start = lines["DTSTART"]
    begin = _moment(start)
    first = begin.date() if isinstance(begin, dt.datetime) else begin
    last = _last(lines, begin)
    if not 0 <= (last - first).days < 366:
        raise lines.get("DTEND", lines.get("DURATION", start)).refuse(
            _("an event takes from one to 366 days; this one does not.")
        )
    name = _text(lines["SUMMARY"].value) if "SUMMARY" in lines else ""
    firsts = _each_year(lines["RRULE"], first, year) if "RRULE" in lines else [first]
    return [Span(each, each + (last - first), name) for each in firsts]


def _moment(line: Line) -> dt.date | dt.datetime:
    """Return the date, or the aware time, that *line* names."""
    try:
        if match := DATE.fullmatch(line.value):
            return _in_range(line, dt.date(*map(int, match.groups())))
        if match := MOMENT.fullmatch(line.value):
            *parts, utc = match.groups()
            year, month, day, hour, minute, second = map(int, parts)
            moment = dt.datetime(year, month, day, hour, minute, min(second, 59), tzinfo=dt.UTC)
            _in_range(line, moment)
            if utc:
                return moment.astimezone(zone_called(""))
            return moment.replace(tzinfo=zone_called(line.params.get("TZID", "")))
    except InvalidCalendar:
        raise
    except InvalidSchedule as error:
        raise line.refuse(str(error)) from None
    except ValueError:
        pass
    raise line.refuse(_("“%s” is not a date or a time.") % line.value[:40])


def _in_range(line: Line, date: dt.date) -> dt.date:
    if not 1900 <= date.year <= LATEST:
        raise line.refuse(_("the year is not between 1900 and %d.") % LATEST)
    return date


def _last(lines: dict[str, Line], begin: dt.date | dt.datetime) -> dt.date:
    """Return the last day of an event: its end is the first moment, or the first day, that is no part of it."""
    if "DTEND" in lines:
        end = _moment(lines["DTEND"])
        if isinstance(end, dt.datetime) != isinstance(begin, dt.datetime):
            raise lines["DTEND"].refuse(_("the start is a date and the end a time, or the other way round."))
    elif "DURATION" in lines:
        end = begin + _duration(lines["DURATION"])
    else:
        return begin.date() if isinstance(begin, dt.datetime) else begin
    if isinstance(end, dt.datetime) and isinstance(begin, dt.datetime):
        end = end.astimezone(begin.tzinfo)
        return (end if end == begin else end - dt.timedelta.resolution).date()
    return end - DAY if end != begin else end


def _duration(line: Line) -> dt.timedelta:
    match = DURATION.fullmatch(line.value)
    if match is None or not any(match.groups()):
        raise line.refuse(_("“%s” is not a duration.") % line.value[:40])
    weeks, days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    return dt.timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def _text(value: str) -> str:
    plain = re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), value)
    return " ".join("".join(char for char in plain if char.isprintable()).split())[:NAME_CHARS]


# Events that repeat each year.


def _each_year(line: Line, first: dt.date, year: int) -> list[dt.date]:
    """Return the first days of an event with this RRULE that are not long past, up to ten years ahead."""
    parts = dict(part.upper().partition("=")[::2] for part in line.value.strip(";").split(";"))
    if parts.get("FREQ") != "YEARLY" or set(parts) - RULE_PARTS:
        raise line.refuse(_("only events that repeat each year are supported (FREQ=YEARLY). Add its days by hand."))
    step, count = _number(line, parts, "INTERVAL", 1), _number(line, parts, "COUNT", 0)
    until = _moment(line._replace(value=parts["UNTIL"])) if "UNTIL" in parts else dt.date(LATEST, 12, 31)
    until = until.date() if isinstance(until, dt.datetime) else until
    days = [
        day
        for each in range(first.year, year + YEARS + 1, step)
        if (day := _in_year(line, parts, first, each)) is not None and first <= day <= until
    ]
    days = days[:count] if count else days
    return [day for day in days if day.year >= year - 1]


def _number(line: Line, parts: dict[str, str], name: str, default: int) -> int:
    if name not in parts:
        return default
    if not re.fullmatch(r"[1-9]\d{0,3}", parts[name]):
        raise line.refuse(_("“%s” is not a number.") % f"{name}={parts[name]}"[:40])
    return int(parts[name])


def _in_year(line: Line, parts: dict[str, str], first: dt.date, year: int) -> dt.date | None:
    """Return the day of the event in *year*: the same date, or such as the fourth Thursday of a month; None if none."""
    month = _number(line, parts, "BYMONTH", first.month)
    if "BYDAY" in parts:
        return _weekday(line, parts, year, month)
    try:
        return dt.date(year, month, _number(line, parts, "BYMONTHDAY", first.day))
    except ValueError:
        return None  # 29 February


def _weekday(line: Line, parts: dict[str, str], year: int, month: int) -> dt.date | None:
    match = NTH_WEEKDAY.fullmatch(parts["BYDAY"])
    if match is None or "BYMONTH" not in parts or "BYMONTHDAY" in parts or not 1 <= month <= 12:
        raise line.refuse(
            _("BYDAY is supported only with BYMONTH, and for one day, as in “4TH”. Add its days by hand.")
        )
    place, weekday = int(match[1]), WEEKDAYS.index(match[2])
    weeks = [week[weekday] for week in months.monthcalendar(year, month) if week[weekday]]
    place = place - 1 if place > 0 else place
    return dt.date(year, month, weeks[place]) if -len(weeks) <= place < len(weeks) else None
