"""When a schedule fires: cron rules, intervals, single times, and the policy for missed times. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, takewhile

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.exceptions import InvalidSchedule
from qorworker.schedules.cron import Cron, exists, first_instant, instant_key, zone_called
from qorworker.schedules.holidays import Holidays, OnHoliday, check_choice
from qorworker.schedules.landing import Landing, Slot

SECOND, WHOLE_DAY = dt.timedelta(seconds=1), dt.timedelta(days=1)
LONGEST = dt.timedelta(days=3660)
CAPS = (1, 100)  # runs that are made up for at once
LOOKED_AT = 1000  # missed times of a cron rule that are counted one by one
LOOKED_BACK = 20 * LOOKED_AT  # missed times among which one is searched that is on no holiday
ON_TIME = dt.timedelta(minutes=10)  # so late a run still counts as in time: no deployment takes longer


class Misfire(TextChoices):
    """What happens to times that passed while no worker ran."""

    LATEST = "latest", _("Run once")
    ALL = "all", _("Run all of them")
    SKIP = "skip", pgettext_lazy("misfire", "Skip them")


class Overlap(TextChoices):
    """What happens at a time when an earlier run has not ended."""

    SKIP = "skip", pgettext_lazy("overlap", "Skip it")
    WAIT = "wait", _("Wait for the earlier run")
    PARALLEL = "parallel", _("Run both")
    ABORT = "abort", _("Abort the earlier run")


@dataclass(frozen=True, init=False)
class Every:
    """A fixed time between two runs, counted from the start of the schedule: ``Every(minutes=15)``, ``Every(days=2)``.

    It is elapsed time: when clocks change, ``Every(days=1)`` shifts on the clock, and a cron rule does not.

    :param calendar: the name of a calendar of days off, which are those of the project's time zone; empty: each day
        counts.
    :param on_holiday: what happens on a day off: ``"skip"``, or, for intervals of whole days, at the same time of the
        last working day ``"before"`` or the next one ``"after"``.
    :raises qorworker.exceptions.InvalidSchedule: if it is not a whole number of seconds from one to ten years.
    """

    interval: dt.timedelta
    calendar: str
    on_holiday: str

    def __init__(
        self,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        calendar: str = "",
        on_holiday: str = OnHoliday.SKIP,
    ) -> None:
        try:
            interval = dt.timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        except (OverflowError, TypeError, ValueError):
            interval = dt.timedelta()
        if not SECOND <= interval <= LONGEST or interval % SECOND:
            raise InvalidSchedule(_("An interval is a whole number of seconds, from one second to ten years."))
        check_choice(calendar, on_holiday)
        if on_holiday != OnHoliday.SKIP and interval % WHOLE_DAY:
            raise InvalidSchedule(_("Only an interval of whole days can be moved to another day."))
        object.__setattr__(self, "interval", interval)
        object.__setattr__(self, "calendar", calendar)
        object.__setattr__(self, "on_holiday", OnHoliday(on_holiday).value)


@dataclass(frozen=True, init=False)
class At:
    """Once, at *moment*.

    :param moment: the time.
    :param zone: the zone of a *moment* that has none; by default that of the project.
    :raises qorworker.exceptions.InvalidSchedule: if clocks there never show it, or it is too far away to be stored.

    Example::

        At(datetime(2030, 1, 1, 6, 0), "Europe/Berlin")
    """

    moment: dt.datetime

    def __init__(self, moment: dt.datetime, zone: str = "") -> None:
        if not isinstance(moment, dt.datetime):
            raise InvalidSchedule(_("This is not a date with a time."))
        if moment.tzinfo is None:
            place = zone_called(zone)
            if not exists(moment, place):
                then = first_instant(moment, place)
                raise InvalidSchedule(
                    _("%(time)s does not exist in %(zone)s: clocks go forward to %(then)s.")
                    % {"time": f"{moment:%Y-%m-%d %H:%M}", "zone": place.key, "then": f"{then:%H:%M}"}
                )
            moment = moment.replace(tzinfo=place)
        object.__setattr__(self, "moment", in_range(moment))


Rule = Cron | Every | At


def in_range(moment: dt.datetime) -> dt.datetime:
    """Return *moment* to the second.

    :raises qorworker.exceptions.InvalidSchedule: if clocks in some zone of the world cannot show it.
    """
    try:
        moment.astimezone(dt.UTC) + dt.timedelta(days=3)
        moment.astimezone(dt.UTC) - dt.timedelta(days=3)
    except OverflowError:
        raise InvalidSchedule(_("This time is too far away.")) from None
    return moment.replace(microsecond=0)


@dataclass(frozen=True)
class Timetable:
    """A rule from *start* on, from which intervals count, and before *end*. Both are aware.

    :param holidays: the days off of the rule's calendar; None: each day counts.
    """

    rule: Rule
    start: dt.datetime
    end: dt.datetime | None = None
    holidays: Holidays | None = None

    def after(self, moment: dt.datetime) -> Slot | None:
        """Return the first slot after *moment*."""
        return next(self.slots_after(moment), None)

    def upcoming(self, moment: dt.datetime, number: int) -> list[Slot]:
        """Return the next *number* slots after *moment*."""
        return list(islice(self.slots_after(moment), number))

    def slots_after(self, moment: dt.datetime) -> Iterator[Slot]:
        """Yield all slots after *moment*, in order. Those that are left out for a holiday are among them."""
        if self._landing is None:
            yield from self._meant_after(moment)
            return
        for slot in self._landing.after(moment):
            if self.end is not None and slot.moment >= self.end:
                return
            if slot.moment > self.start - SECOND:
                yield slot

    def slot(self, key: str) -> Slot:
        """Return the slot called *key*, by the current rules of the zone and the current holidays."""
        moment = self.rule.moment_of(key) if isinstance(self.rule, Cron) else dt.datetime.fromisoformat(key)
        slot = Slot(moment.astimezone(dt.UTC), key)
        return slot if self._landing is None else self._landing.landed(slot)

    def current(self, slot: Slot) -> Slot:
        """Return *slot* as the holidays are now, if the rule minds any."""
        return slot if self._landing is None else self.slot(slot.key)

    @cached_property
    def _landing(self) -> Landing | None:
        if self.holidays is None or isinstance(self.rule, At):
            return None
        zone = self.rule.zone if isinstance(self.rule, Cron) else zone_called("")
        return Landing(self._meant_after, zone, self.holidays, self.rule.on_holiday)

    def _meant_after(self, moment: dt.datetime) -> Iterator[Slot]:
        """Yield the slots of the rule itself."""
        for time in self._times_after(moment):
            if self.end is not None and time >= self.end:
                return
            yield Slot(time.astimezone(dt.UTC), self._key_of(time))

    def _times_after(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        if isinstance(self.rule, At):
            return iter([self.rule.moment] if self.rule.moment > moment else [])
        if isinstance(self.rule, Every):
            return self._intervals_after(self.rule.interval, moment)
        return self.rule.times_after(max(moment, self.start - SECOND))

    def _intervals_after(self, interval: dt.timedelta, moment: dt.datetime) -> Iterator[dt.datetime]:
        number = max(0, (moment - self.start) // interval + 1)
        try:
            while True:
                yield self.start.astimezone(dt.UTC) + number * interval
                number += 1
        except OverflowError:
            return

    def _key_of(self, moment: dt.datetime) -> str:
        return self.rule.key_of(moment) if isinstance(self.rule, Cron) else instant_key(moment)

    # After a pause of all workers.

    def due(self, first: Slot, now: dt.datetime, most: int) -> Due:
        """Return the slots from *first* up to *now*: the last *most*, and the number of those before them."""
        if isinstance(self.rule, At):
            return Due([first], 0)
        if isinstance(self.rule, Every) and self._landing is None:
            return self._due_intervals(self.rule.interval, first, now, most)
        slots = [first, *islice(self._until(now, first.moment), LOOKED_AT)]
        is_exact = len(slots) <= LOOKED_AT
        if not is_exact:
            slots = self._last(first, now, most)
        run = [slot for slot in slots if not slot.is_left_out]
        before = max(0, len(run) - most) if is_exact else LOOKED_AT
        left_out = [slot for slot in slots if slot.is_left_out]
        return Due(run[-most:], before, is_exact, left_out, first if not first.is_left_out else next(iter(run), first))

    def _due_intervals(self, interval: dt.timedelta, first: Slot, now: dt.datetime, most: int) -> Due:
        last = min(now, self.end - dt.timedelta.resolution) if self.end is not None else now
        count = max(0, (last - first.moment) // interval) + 1
        moments = [first.moment + number * interval for number in range(max(0, count - most), count)]
        return Due([first if m == first.moment else Slot(m, instant_key(m)) for m in moments], max(0, count - most))

    def _last(self, first: Slot, now: dt.datetime, most: int) -> list[Slot]:
        """Return slots up to *now* with the last *most* that run, of many more since *first*, by steps that grow."""
        latest = now if self.end is None else min(now, self.end)
        step = dt.timedelta(hours=1)
        while True:
            slots = list(islice(self._until(now, max(first.moment, latest - step)), LOOKED_BACK))
            number = sum(not slot.is_left_out for slot in slots)
            if number >= most or len(slots) == LOOKED_BACK or latest - step <= first.moment:
                return slots
            step *= 4

    def _until(self, now: dt.datetime, moment: dt.datetime) -> Iterator[Slot]:
        return takewhile(lambda slot: slot.moment <= now, self.slots_after(moment))


@dataclass(frozen=True)
class Due:
    """Slots whose time has come, the oldest first, and the number of those before them."""

    slots: list[Slot]
    before: int
    exact: bool = True  # otherwise there may be more before them
    left_out: list[Slot] = field(default_factory=list)  # those on holidays
    first: Slot | None = None  # the first one that is known and not left out

    @property
    def last(self) -> Slot:
        """The latest of them."""
        return max([*self.slots[-1:], *self.left_out[-1:]])

    def choose(self, policy: str, now: dt.datetime) -> tuple[list[Slot], int]:
        """Return the slots that are to run by the misfire policy, and the number of the others."""
        run = self.slots if policy == Misfire.ALL else self.slots[-1:]
        if policy == Misfire.SKIP and run and now - run[-1].moment > ON_TIME:
            run = []
        return run, self.before + len(self.slots) - len(run)
