"""Where the slots of a rule land that minds holidays: left out, or on a working day before or after. Pure.

A slot keeps its name wherever it lands, so that a change of the calendar cannot make it run twice. Slots that land on
the same instant make one run: it has the name of the one that was meant for that instant, else of the earliest.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from heapq import merge
from zoneinfo import ZoneInfo

from qorworker.schedules.cron import first_instant
from qorworker.schedules.holidays import DAY, REACH, Holidays, OnHoliday


@dataclass(frozen=True, order=True)
class Slot:
    """One time at which a schedule fires, in UTC, and the name under which it is recorded."""

    moment: dt.datetime
    key: str
    holiday: str = field(default="", compare=False)  # the day off that it was meant for
    is_left_out: bool = field(default=False, compare=False)  # because of that day off

    def delay(self, seed: str, jitter: int) -> dt.timedelta:
        """Return from 0 to *jitter* seconds, always the same for the same slot."""
        drawn = hashlib.sha256(f"{seed} {self.key}".encode()).digest()
        return dt.timedelta(seconds=int.from_bytes(drawn[:8], "big") % (jitter + 1))

    @property
    def is_moved(self) -> bool:
        """Whether it runs on another day than it was meant for."""
        return bool(self.holiday) and not self.is_left_out

    def meant(self, zone: ZoneInfo) -> dt.datetime:
        """Return what clocks in *zone* show when the rule itself would fire."""
        named = dt.datetime.fromisoformat(self.key)
        return named.astimezone(zone).replace(tzinfo=None) if named.tzinfo else named


@dataclass(frozen=True)
class Landing:
    """The slots of a rule among the working days of a calendar.

    :param times: returns the slots of the rule itself after an aware moment, in order.
    :param zone: where its days begin and end.
    """

    times: Callable[[dt.datetime], Iterator[Slot]]
    zone: ZoneInfo
    holidays: Holidays
    on_holiday: str

    def landed(self, slot: Slot) -> Slot:
        """Return a *slot* of the rule itself where it lands."""
        wall = slot.meant(self.zone)
        holiday = self.holidays.name_on(wall.date())
        if not holiday:
            return slot
        day = self._target(wall.date())
        if day is None:
            return replace(slot, holiday=holiday, is_left_out=True)
        moment = first_instant(dt.datetime.combine(day, wall.time()), self.zone).astimezone(dt.UTC)
        return replace(slot, moment=moment, holiday=holiday)

    def after(self, moment: dt.datetime) -> Iterator[Slot]:
        """Yield all slots that land after *moment*, in order; those that are left out among them."""
        if self.on_holiday == OnHoliday.SKIP:
            yield from map(self.landed, self.times(moment))
            return
        begin = self._midnight(self._together(moment.astimezone(self.zone).date())[0])
        while (slot := next(self.times(begin), None)) is not None:
            first, last = self._together(slot.meant(self.zone).date())
            yield from (each for each in self._of_days(first, last) if each.moment > moment)
            try:
                begin = self._midnight(last + DAY)
            except OverflowError:
                return

    def _target(self, day: dt.date) -> dt.date | None:
        """Return the working day on which slots of a day off land; None if they are left out."""
        if self.on_holiday == OnHoliday.SKIP:
            return None
        return self.holidays.working_day(day, -1 if self.on_holiday == OnHoliday.BEFORE else 1)

    def _together(self, day: dt.date) -> tuple[dt.date, dt.date]:
        """Return the first and the last of the days whose slots land on the same working day as those of *day*."""
        target = self._target(day) if self.holidays.name_on(day) else day
        if target is None:
            return day, day
        if self.on_holiday == OnHoliday.BEFORE:
            following = self.holidays.working_day(target, 1)
            return target, following - DAY if following is not None else target + REACH * DAY
        previous = self.holidays.working_day(target, -1)
        return (previous + DAY if previous is not None else target - REACH * DAY), target

    def _of_days(self, first: dt.date, last: dt.date) -> Iterator[Slot]:
        """Yield the slots of all days from *first* to *last*, which land on one day, without those that coincide."""
        days, begin = [], self._midnight(first)
        while (slot := next(self.times(begin), None)) is not None:
            day = slot.meant(self.zone).date()
            if day > last:
                break
            days.append(self._of_day(day, begin))
            try:
                begin = self._midnight(day + DAY)
            except OverflowError:
                break
        before = None
        for slot in merge(*days, key=lambda slot: (slot.moment, slot.is_moved, slot.key)):
            if slot.moment != before:
                yield slot
            before = slot.moment

    def _of_day(self, day: dt.date, begin: dt.datetime) -> Iterator[Slot]:
        latest = None
        for slot in self.times(begin):
            if slot.meant(self.zone).date() > day:
                return
            landed = self.landed(slot)
            # Where clocks go back, times that come twice land on those that came first.
            if latest is None or landed.moment > latest:
                latest = landed.moment
                yield landed

    def _midnight(self, day: dt.date) -> dt.datetime:
        """Return a moment just before *day* begins, in UTC: in the zone it may be in a gap, or come twice."""
        midnight = first_instant(dt.datetime.combine(day, dt.time()), self.zone)
        return midnight.astimezone(dt.UTC) - dt.timedelta.resolution
