"""The days of a calendar on which nothing is to run, and the working days around them. Pure."""

from __future__ import annotations

import datetime as dt
import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.db.models import TextChoices
from django.utils import dates
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.exceptions import InvalidSchedule

DAY = dt.timedelta(days=1)
REACH = 366  # days among which a working day is searched
LONGEST_NAME = 50  # of a calendar
NAME = re.compile(r"[-a-zA-Z0-9_]+")


class OnHoliday(TextChoices):
    """What happens to a slot on a day off of the calendar."""

    SKIP = "skip", pgettext_lazy("holiday", "Skip it")
    BEFORE = "before", _("Run it on the last working day before")
    AFTER = "after", _("Run it on the next working day")


class Span(NamedTuple):
    """One or more days off in a row."""

    first: dt.date
    last: dt.date
    name: str = ""


class Holidays:
    """The days off of a calendar. All other days are working days.

    :param title: the name of a day that has none of its own.
    :param spans: days and ranges of days; they may overlap.
    :param weekdays: days off of each week, from 1 for Monday to 7 for Sunday.
    """

    def __init__(self, title: str, spans: Iterable[Span] = (), weekdays: Iterable[int] = ()) -> None:
        self.title, self.weekdays = title, frozenset(weekdays)
        self._spans: list[Span] = []  # in order; none overlaps another one
        for span in sorted(spans):
            first = max(span.first, self._spans[-1].last + DAY) if self._spans else span.first
            if first <= span.last:
                self._spans.append(span._replace(first=first))
        self._starts = [span.first for span in self._spans]

    def name_on(self, day: dt.date) -> str:
        """Return the name of the holiday on *day*; empty on a working day."""
        place = bisect_right(self._starts, day) - 1
        if place >= 0 and day <= self._spans[place].last:
            return self._spans[place].name or self.title
        return str(dates.WEEKDAYS[day.weekday()]) if day.isoweekday() in self.weekdays else ""

    def working_day(self, day: dt.date, step: int) -> dt.date | None:
        """Return the working day next to *day*: the one after it, or with *step* -1 the one before it.

        None if there is none within a year.
        """
        for _number in range(REACH):
            try:
                day += step * DAY
            except OverflowError:
                return None
            if not self.name_on(day):
                return day
        return None


def check_choice(calendar: Any, on_holiday: Any) -> None:
    """Refuse what is no name of a calendar or no rule for holidays.

    :raises qorworker.exceptions.InvalidSchedule: with a text that names the parameter.
    """
    if not isinstance(calendar, str) or len(calendar) > LONGEST_NAME or (calendar and not NAME.fullmatch(calendar)):
        raise InvalidSchedule(
            f"calendar={calendar!r} is not the name of a calendar: at most {LONGEST_NAME} letters, digits, - and _."
        )
    if on_holiday not in OnHoliday.values:
        raise InvalidSchedule(f"on_holiday={on_holiday!r} is none of {', '.join(map(repr, OnHoliday.values))}.")
    if on_holiday != OnHoliday.SKIP and not calendar:
        raise InvalidSchedule(f"on_holiday={on_holiday!r} needs a calendar.")
