"""When a schedule fires: cron rules, intervals, single times, and the policy for missed times. Pure."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker.exceptions import InvalidSchedule
from qorworker.schedules.cron import Cron, exists, first_instant, instant_key, zone_called

SECOND = dt.timedelta(seconds=1)
LONGEST = dt.timedelta(days=3660)
CAPS = (1, 100)  # runs that are made up for at once
LOOKED_AT = 1000  # missed times of a cron rule that are counted one by one
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

    :raises qorworker.exceptions.InvalidSchedule: if it is not a whole number of seconds from one to ten years.
    """

    interval: dt.timedelta

    def __init__(self, *, weeks: float = 0, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0):
        try:
            interval = dt.timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
        except (OverflowError, TypeError, ValueError):
            interval = dt.timedelta()
        if not SECOND <= interval <= LONGEST or interval % SECOND:
            raise InvalidSchedule(_("An interval is a whole number of seconds, from one second to ten years."))
        object.__setattr__(self, "interval", interval)


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


@dataclass(frozen=True, order=True)
class Slot:
    """One time at which a schedule fires, in UTC, and the name under which it is recorded."""

    moment: dt.datetime
    key: str

    def delay(self, seed: str, jitter: int) -> dt.timedelta:
        """Return from 0 to *jitter* seconds, always the same for the same slot."""
        drawn = hashlib.sha256(f"{seed} {self.key}".encode()).digest()
        return dt.timedelta(seconds=int.from_bytes(drawn[:8], "big") % (jitter + 1))


@dataclass(frozen=True)
class Timetable:
    """A rule from *start* on, from which intervals count, and before *end*. Both are aware."""

    rule: Rule
    start: dt.datetime
    end: dt.datetime | None = None

    def after(self, moment: dt.datetime) -> Slot | None:
        """Return the first slot after *moment*."""
        return next(self.slots_after(moment), None)

    def upcoming(self, moment: dt.datetime, number: int) -> list[Slot]:
        """Return the next *number* slots after *moment*."""
        return list(islice(self.slots_after(moment), number))

    def slots_after(self, moment: dt.datetime) -> Iterator[Slot]:
        for time in self._times_after(moment):
            if self.end is not None and time >= self.end:
                return
            yield Slot(time.astimezone(dt.UTC), self._key_of(time))

    def slot(self, key: str) -> Slot:
        """Return the slot called *key*, by the current rules of the zone."""
        moment = self.rule.moment_of(key) if isinstance(self.rule, Cron) else dt.datetime.fromisoformat(key)
        return Slot(moment.astimezone(dt.UTC), key)

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
        if isinstance(self.rule, Every):
            return self._due_intervals(self.rule.interval, first, now, most)
        slots = [first, *islice(self._until(now, first.moment), LOOKED_AT)]
        if len(slots) <= LOOKED_AT:
            return Due(slots[-most:], max(0, len(slots) - most))
        return Due(self._last(now, most), LOOKED_AT, exact=False)

    def _due_intervals(self, interval: dt.timedelta, first: Slot, now: dt.datetime, most: int) -> Due:
        last = min(now, self.end - dt.timedelta.resolution) if self.end is not None else now
        count = max(0, (last - first.moment) // interval) + 1
        moments = [first.moment + number * interval for number in range(max(0, count - most), count)]
        return Due([first if m == first.moment else Slot(m, instant_key(m)) for m in moments], max(0, count - most))

    def _last(self, now: dt.datetime, most: int) -> list[Slot]:
        """Return the last *most* slots up to *now*, of many more, by steps that grow."""
        latest = now if self.end is None else min(now, self.end)
        step = dt.timedelta(hours=1)
        while len(slots := list(self._until(now, latest - step))) < most:
            step *= 4
        return slots[-most:]

    def _until(self, now: dt.datetime, moment: dt.datetime) -> Iterator[Slot]:
        return takewhile(lambda slot: slot.moment <= now, self.slots_after(moment))


@dataclass(frozen=True)
class Due:
    """Slots whose time has come, the oldest first, and the number of those before them."""

    slots: list[Slot]
    before: int
    exact: bool = True  # otherwise there may be more before them

    def choose(self, policy: str, now: dt.datetime) -> tuple[list[Slot], int]:
        """Return the slots that are to run by the misfire policy, and the number of the others."""
        run = self.slots if policy == Misfire.ALL else self.slots[-1:]
        if policy == Misfire.SKIP and now - run[-1].moment > ON_TIME:
            run = []
        return run, self.before + len(self.slots) - len(run)
