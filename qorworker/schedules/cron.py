"""When a cron expression fires in a time zone, with written rules for the days on which clocks change. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings as django_settings
from django.utils.translation import gettext_lazy as _

from qorworker.exceptions import InvalidSchedule
from qorworker.schedules.holidays import OnHoliday, check_choice

ZERO, MINUTE, HOUR = dt.timedelta(), dt.timedelta(minutes=1), dt.timedelta(hours=1)
LONGEST = 200  # characters: a list of five hundred ranges takes 20 ms to parse, and is unreadable
YEARS_AHEAD = 40  # every day of the week falls on 29 February within them
RANDOM = re.compile(r"(^|,)r($|[(/,])", re.IGNORECASE)  # croniter returns another value with each call
ONE_VALUE = re.compile(r"\b(\w+)-\1\b(/\d+)?", re.IGNORECASE)  # croniter takes 5-5 for the whole range
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec"
WEEKDAYS = "sun mon tue wed thu fri sat"
MACROS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
FIELDS = (
    (_("Minute"), 0, 59),
    (_("Hour"), 0, 23),
    (_("Day of the month"), 1, 31),
    (_("Month"), 1, 12),
    (_("Day of the week"), 0, 7),
)


@dataclass(frozen=True, init=False)
class Cron:
    """A cron expression in a time zone.

    Rules for clock changes:

    - A rule with a fixed minute and hour fires once a day: in the gap of a clock that goes forward at the first instant
      after it, and in the hour that comes twice the first time only.
    - A rule whose minute or hour begins with ``*`` follows the instants that really exist: none in the gap, and all of
      both hours.
    - If day of the month and day of the week are both restricted, either is enough, unless one of them begins with
      ``*``: then both have to fit. The cron of Debian does the same.

    :param expression: five fields (minute, hour, day of the month, month, day of the week), or one of ``MACROS``. ``H``
        in a field stands for a value that *spread* decides, so that many schedules do not start at once.
    :param zone: the time zone, or its name; by default that of the project.
    :param calendar: the name of a calendar of days off; empty: each day counts.
    :param on_holiday: what happens on a day off: ``"skip"``, or at the same time of the last working day ``"before"``
        or the next one ``"after"``.
    :raises qorworker.exceptions.InvalidSchedule: if the expression cannot be read, or can never fire.

    Example::

        Cron("30 6 * * 1-5", "Europe/Berlin", calendar="holidays", on_holiday="before")
    """

    expression: str
    zone: ZoneInfo
    spread: str
    calendar: str
    on_holiday: str

    def __init__(
        self,
        expression: str,
        zone: ZoneInfo | str = "",
        spread: str = "",
        *,
        calendar: str = "",
        on_holiday: str = OnHoliday.SKIP,
    ) -> None:
        check(expression, spread)
        check_choice(calendar, on_holiday)
        object.__setattr__(self, "calendar", calendar)
        object.__setattr__(self, "on_holiday", OnHoliday(on_holiday).value)
        object.__setattr__(self, "expression", expression)
        object.__setattr__(self, "zone", zone if isinstance(zone, ZoneInfo) else zone_called(zone))
        object.__setattr__(self, "spread", spread)

    def after(self, moment: dt.datetime) -> dt.datetime | None:
        """Return the first time after *moment* (aware), in its zone; None if there is none in the next forty years."""
        return next(self.times_after(moment), None)

    def upcoming(self, moment: dt.datetime, number: int) -> list[dt.datetime]:
        """Return the next *number* times after *moment*; fewer if it does not fire that often in forty years."""
        return list(islice(self.times_after(moment), number))

    def times_after(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """Yield all times after *moment* (aware), in its zone."""
        from croniter import CroniterBadDateError  # noqa: PLC0415 - as above

        last = moment.astimezone(self.zone)
        times = self._from(last)
        while True:
            try:
                time = times.get_next()
            except CroniterBadDateError:
                return
            if self._follows_instants:
                yield from self._again(last, time)
            if self._is_meant(time, times.expanded):
                yield time
            last = time

    def _again(self, last: dt.datetime, time: dt.datetime) -> Iterator[dt.datetime]:
        """Yield what croniter leaves out between two times of which the second comes after clocks went back."""
        back = max(_offset(last) - _offset(time), _offset(last.replace(fold=0)) - _offset(last.replace(fold=1)))
        if back <= ZERO and not last.fold:
            return
        # Each of these has been before on the same clock: *last* is not further away than the hour that comes twice.
        reach = 2 * max(back, HOUR)
        moment, until = last.astimezone(dt.UTC), min(time.astimezone(dt.UTC), last.astimezone(dt.UTC) + reach)
        while (moment := moment.replace(second=0, microsecond=0) + MINUTE) < until:
            local = moment.astimezone(self.zone)
            if local.fold and self._from(local.replace(tzinfo=None) - MINUTE).get_next() == local.replace(tzinfo=None):
                yield local

    # Each time has a name, under which it is recorded: for fixed times what the clock on the wall was meant to
    # show, for the others the instant. So new rules for a zone may move a fixed time, but not repeat it.

    def key_of(self, moment: dt.datetime) -> str:
        """Return the name of a time at which it fires."""
        if self._follows_instants:
            return instant_key(moment)
        wall = moment.astimezone(self.zone).replace(tzinfo=None)
        times = self._from(wall)
        if not _fits(times.expanded, wall):
            wall = times.get_prev()  # it was meant for a time in the gap that ends here
        return f"{wall:%Y-%m-%dT%H:%M}"

    def moment_of(self, key: str) -> dt.datetime:
        """Return the time with this name, by the current rules of the zone."""
        named = dt.datetime.fromisoformat(key)
        return named if named.tzinfo else first_instant(named, self.zone)

    def times_a_day(self) -> int:
        """Return how often it fires on a day on which it fires and no clock changes."""
        minutes, hours = self._from(dt.datetime(2000, 1, 1, tzinfo=dt.UTC)).expanded[:2]
        return (60 if "*" in minutes else len(minutes)) * (24 if "*" in hours else len(hours))

    def _from(self, moment: dt.datetime) -> _Either:
        # A tenth of a second, which a process without cron rules does not need.
        from croniter import croniter  # noqa: PLC0415

        return _Either(
            [
                croniter(
                    alternative,
                    moment,
                    ret_type=dt.datetime,
                    max_years_between_matches=YEARS_AHEAD,
                    hash_id=self.spread or None,
                    implement_cron_bug=True,
                )
                for alternative in alternatives(self.expression)
            ]
        )

    def _is_meant(self, time: dt.datetime, expanded: list[list[int | str]]) -> bool:
        if not self._follows_instants:
            return time.fold == 0
        # croniter moves what would fall into a gap to its end, which is right for fixed times only.
        return _fits(expanded, time)

    @cached_property
    def _follows_instants(self) -> bool:
        if self.expression.startswith("@"):
            return self.expression == "@hourly"
        minute, hour = self.expression.split()[:2]
        return minute.startswith("*") or hour.startswith("*")


class _Either:
    """The times of several croniters that differ only in their days, in order."""

    def __init__(self, times: list[Any]) -> None:
        self.times = times
        self.expanded: list[list[int | str]] = times[0].expanded
        self.ahead: dict[Any, dt.datetime] = {}  # the time that each croniter returned and that was not used yet

    def get_next(self) -> dt.datetime:
        """Return the next time, or raise croniter's ``CroniterBadDateError``."""
        from croniter import CroniterBadDateError  # noqa: PLC0415 - takes a tenth of a second

        for times in [each for each in self.times if each not in self.ahead]:
            try:
                self.ahead[times] = times.get_next()
            except CroniterBadDateError:
                self.times.remove(times)
                if not self.times:
                    raise
        first = min(self.ahead.values(), key=_instant)
        self.ahead = {times: time for times, time in self.ahead.items() if _instant(time) != _instant(first)}
        return first

    def get_prev(self) -> dt.datetime:
        return max((cast("dt.datetime", times.get_prev()) for times in self.times), key=_instant)


def _offset(moment: dt.datetime) -> dt.timedelta:
    return moment.utcoffset() or ZERO


def _instant(moment: dt.datetime) -> dt.datetime:
    """Return a value that distinguishes times in one zone where clocks go back."""
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment


def _fits(expanded: list[list[int | str]], moment: dt.datetime) -> bool:
    minutes, hours = expanded[:2]
    return ("*" in minutes or moment.minute in minutes) and ("*" in hours or moment.hour in hours)


def zone_called(name: str) -> ZoneInfo:
    """Return the time zone called *name*; if it is empty, that of the project.

    :raises qorworker.exceptions.InvalidSchedule: if this system does not have it.
    """
    try:
        return ZoneInfo(name or django_settings.TIME_ZONE)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSchedule(_("The time zone “%(name)s” does not exist.") % {"name": name}) from None


def instant_key(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def exists(wall: dt.datetime, zone: ZoneInfo) -> bool:
    """Return whether clocks in *zone* ever show *wall*, a time without a zone. ``zoneinfo`` itself never complains."""
    aware = wall.replace(tzinfo=zone)
    return aware.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) == wall


def first_instant(wall: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return when clocks in *zone* show *wall* for the first time; in a gap, when the gap ends."""
    aware = wall.replace(tzinfo=zone)
    if exists(wall, zone):
        return aware
    # With fold 1 the offset after the gap applies, which is an instant before it, and the other way round.
    before, after = aware.replace(fold=1).astimezone(dt.UTC), aware.astimezone(dt.UTC)
    offset = after.astimezone(zone).utcoffset()
    low, high = (
        0,
        round((after - before).total_seconds()),
    )  # the clocks change after the one, at the latest at the other
    while high - low > 1:
        middle = (low + high) // 2
        if (before + dt.timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return (before + dt.timedelta(seconds=high)).astimezone(zone)


def check(expression: str, spread: str = "") -> None:
    """Refuse a text that is not a cron expression of five fields, or that never fires.

    :raises qorworker.exceptions.InvalidSchedule: with a text that names the field.
    """
    if len(expression) > LONGEST:
        raise InvalidSchedule(_("A cron expression has at most %(most)d characters.") % {"most": LONGEST})
    if expression.startswith("@"):
        if expression not in MACROS:
            raise InvalidSchedule(
                _("“%(text)s” is not known. Choose one of: %(known)s.")
                % {"text": expression, "known": ", ".join(MACROS)}
            )
        return
    fields = expression.split()
    if len(fields) in (6, 7):
        raise InvalidSchedule(
            _("Seconds and years are not supported: the smallest step is one minute. Use five fields.")
        )
    if len(fields) != len(FIELDS):
        raise InvalidSchedule(
            _("A cron expression has five fields: minute, hour, day of the month, month, day of the week.")
        )
    for place, text in enumerate(fields):
        alone = ["*"] * len(FIELDS)
        alone[place] = text
        if RANDOM.search(text) or not _is_valid(alone, spread):
            name, lowest, highest = FIELDS[place]
            raise InvalidSchedule(
                _("%(field)s: “%(text)s” does not exist (%(lowest)s–%(highest)s).")  # noqa: RUF001 - typography
                % {"field": name, "text": text, "lowest": lowest, "highest": highest}
            )
    if not _is_valid(fields, spread):
        raise InvalidSchedule(_("This never fires: none of these months has that day."))


def _is_valid(fields: list[str], spread: str) -> bool:
    from croniter import croniter  # noqa: PLC0415 - takes a tenth of a second

    every = alternatives(" ".join(fields))
    return any(croniter.is_valid(each, hash_id=spread or "x", strict=True) for each in every)


def alternatives(expression: str) -> list[str]:
    """Return expressions for croniter of which at least one fits whenever *expression* does.

    If the day of the week names one of the month (``5#2``, ``L5``), croniter requires both days to fit.
    """
    text = plain(expression)
    if text.startswith("@"):
        return [text]
    minute, hour, day, month, weekday = text.split()
    if day[0] in "*?" or weekday[0] in "*?" or not {"#", "l"} & set(weekday):
        return [text]
    return [f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {weekday}"]


def plain(expression: str) -> str:
    """Return an expression with days and months as numbers, and without ranges of one value."""
    if expression.startswith("@"):
        return expression
    *fields, month, weekday = expression.lower().split()
    fields += [_numbered(month, MONTHS, 1), _numbered(weekday, WEEKDAYS, 0)]
    return ONE_VALUE.sub(r"\1", " ".join(fields))


def _numbered(text: str, names: str, first: int) -> str:
    for value, name in enumerate(names.split(), first):
        text = text.replace(name, str(value))
    return text
