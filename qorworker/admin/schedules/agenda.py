"""What schedules do on each of some days: what became of past times, and what will fire. Web.

The work is bounded: very many schedules, or one that fires each second, take as long as a few hundred times.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.admin.display import ICONS, label_of, look_of, qw_duration, qw_number
from qorworker.exceptions import InvalidSchedule
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_slot import SkipReason, SlotOutcome
from qorworker.queries.schedule_calendar import PastTime
from qorworker.schedules import describe
from qorworker.schedules.cron import Cron, first_instant
from qorworker.schedules.landing import Slot
from qorworker.schedules.timetable import Every, Timetable
from qorworker.status import JobStatus
from qorworker.text.moments import clock

SINGLE = 4  # times of one schedule on one day; more of them are one entry
STEPS = 4_000  # times that are worked out for one page
RESTART = 5  # times that take as long to work out as the first one of a day
COUNTED = 1_500  # times of one day that are counted one by one


@dataclass(frozen=True)
class Entry:
    """One time of a schedule, or many times of one day."""

    moment: dt.datetime
    schedule: Schedule
    look: str = ""  # of its sign; empty: it is yet to come
    label: str = ""
    job: int | None = None
    note: str = ""
    words: str = ""  # of many times: the rule, and how many times
    is_crossed: bool = False  # left out
    is_warning: bool = False

    @property
    def icon(self) -> str:
        """Return the icon of its look, as a path of SVG; empty if it is yet to come."""
        return ICONS.get(self.look, "")


@dataclass
class Day:
    """One day, with what runs on it."""

    date: dt.date
    begin: dt.datetime
    end: dt.datetime
    is_today: bool = False
    is_beside: bool = False  # of another month than the page is about
    entries: list[Entry] = field(default_factory=list)

    @property
    def change(self) -> str:
        """Say that clocks change on it; empty if they do not."""
        before, after = self.begin.utcoffset(), self.end.utcoffset()
        if before is None or after is None or before == after:
            return ""
        text = _("Clocks go forward by %s.") if after > before else _("Clocks go back by %s.")
        return text % qw_duration(abs(after - before))


class Agenda:
    """The days from *first* on, filled by ``add_past`` and ``add_coming``.

    :param usual: how long jobs of each type usually take, by its name.
    """

    def __init__(
        self, first: dt.date, number: int, zone: ZoneInfo, now: dt.datetime, usual: Mapping[str, dt.timedelta]
    ) -> None:
        self.zone, self.now, self.usual = zone, now, usual
        dates = [first + dt.timedelta(days=place) for place in range(number)]
        starts = [_midnight(date, zone) for date in [*dates, dates[-1] + dt.timedelta(days=1)]]
        today = now.astimezone(zone).date()
        self.days = [
            Day(date, begin, end, date == today) for date, (begin, end) in zip(dates, pairwise(starts), strict=True)
        ]
        self.begin, self.end = starts[0], starts[-1]
        self.steps = STEPS
        self.not_drawn: list[tuple[Schedule, str]] = []  # for which no time was left
        self._entries: dict[dt.date, list[Entry]] = defaultdict(list)

    def finish(self) -> list[Day]:
        """Return the days with their entries in order."""
        for day in self.days:
            day.entries = sorted(self._entries[day.date], key=lambda entry: (entry.moment, entry.schedule.name))
        return self.days

    def _add(self, entry: Entry) -> None:
        self._entries[entry.moment.astimezone(self.zone).date()].append(
            replace(entry, moment=entry.moment.astimezone(self.zone))
        )

    # Past times

    def add_past(self, times: Iterable[PastTime], schedules: Mapping[int, Schedule]) -> None:
        """Add what became of *times*."""
        groups: dict[tuple[int, dt.date], list[PastTime]] = defaultdict(list)
        for time in times:
            groups[time.schedule, time.moment.astimezone(self.zone).date()].append(time)
        for (pk, _date), group in groups.items():
            entries = [_past(time, schedules[pk]) for time in group]
            if len(entries) > SINGLE:
                entries = [_folded(entries)]
            for entry in entries:
                self._add(entry)

    # Times to come

    def add_coming(self, schedules: Iterable[Schedule]) -> None:
        """Add what will fire, as far as it does not take long to work out."""
        for schedule in schedules:
            try:
                self._add_schedule(schedule)
            except InvalidSchedule:  # it needs attention, and its page says so
                continue

    def _add_schedule(self, schedule: Schedule) -> None:
        waits_for = schedule.waits_for
        if waits_for is None:
            return
        table = schedule.timetable
        first = table.current(waits_for)
        cursor = max(first.moment, self.begin) - dt.timedelta.resolution
        if first.moment <= self.now:
            if self.begin <= self.now < self.end:
                self._add(Entry(self.now, schedule, note=_("It is due."), is_warning=True))
            cursor = max(self.now, cursor)
        for day, slots, following in self._days_of(schedule, table, cursor):
            if len(slots) > SINGLE:
                self._add(self._many(schedule, table, day, slots))
            else:
                for slot, next_one in zip(slots, [*slots[1:], following], strict=True):
                    self._add(self._coming(schedule, table, slot, next_one))

    def _days_of(
        self, schedule: Schedule, table: Timetable, cursor: dt.datetime
    ) -> Iterator[tuple[Day, list[Slot], Slot | None]]:
        """Yield each day with its first slots, no more than it takes to call them many, and the slot after these."""
        slots = table.slots_after(cursor)
        slot = next(slots, None)
        for day in self.days:
            if day.end <= cursor:
                continue
            found: list[Slot] = []
            while slot is not None and slot.moment < day.end and len(found) <= SINGLE:
                found.append(slot)
                self.steps -= 1
                slot = next(slots, None)
            if found and self.steps < 0:
                self.not_drawn.append((schedule, describe.describe(table.rule)))
                return
            if found:
                yield day, found, slot
            if slot is not None and slot.moment < day.end:
                slots = table.slots_after(day.end - dt.timedelta.resolution)
                slot = next(slots, None)
                self.steps -= RESTART

    def _coming(self, schedule: Schedule, table: Timetable, slot: Slot, following: Slot | None) -> Entry:
        entry = Entry(slot.moment, schedule)
        if slot.holiday:
            return replace(entry, **_holiday(slot))
        if isinstance(table.rule, Cron):
            meant, zone = slot.meant(table.rule.zone), table.rule.zone
            shown = slot.moment.astimezone(zone).replace(tzinfo=None)
            if meant != shown.replace(second=meant.second):
                text = _("%(time)s does not exist in %(zone)s.") % {"time": clock(meant), "zone": zone.key}
                return replace(entry, note=text, is_warning=True)
        return replace(entry, **self._overlap(schedule, slot, following))

    def _many(self, schedule: Schedule, table: Timetable, day: Day, slots: Sequence[Slot]) -> Entry:
        words = describe.describe(table.rule)
        number = self._count(table, day, slots[0])
        if number is None:
            words = _("%s, many times") % words
        else:
            words = ngettext("%(rule)s, %(number)s time", "%(rule)s, %(number)s times", number) % {
                "rule": words, "number": qw_number(number),
            }  # fmt: skip
        notes = _holiday(slots[0]) if slots[0].holiday else self._overlap(schedule, slots[0], slots[1])
        return replace(Entry(slots[0].moment, schedule, words=words), **notes)

    def _overlap(self, schedule: Schedule, slot: Slot, following: Slot | None) -> dict[str, Any]:
        """Return a note for a slot whose run will usually not have ended when the next one is due."""
        usual = self.usual.get(schedule.job_name)
        if usual is None or following is None or following.is_left_out or following.moment - slot.moment >= usual:
            return {}
        text = _("Will usually still run at the next time: it takes %(usual)s. Then: %(rule)s.")
        rule = schedule.get_overlap_display()
        return {"note": text % {"usual": qw_duration(usual), "rule": rule}, "is_warning": True}

    def _count(self, table: Timetable, day: Day, first: Slot) -> int | None:
        """Return how many slots the rest of *day* has from *first* on; None if it takes too long to count them."""
        end = min(day.end, table.end) if table.end is not None else day.end
        rule = table.rule
        if isinstance(rule, Every) and not first.is_moved:
            return (end - dt.timedelta.resolution - first.moment) // rule.interval + 1
        is_whole = self.now < day.begin and end == day.end and table.start <= day.begin
        if isinstance(rule, Cron) and is_whole and not day.change and _is_same_day(rule.zone, day):
            return rule.times_a_day()
        if self.steps < COUNTED:
            return None
        number = 0
        for slot in table.slots_after(first.moment - dt.timedelta.resolution):
            if slot.moment >= end:
                break
            number += 1
            if number > COUNTED:
                return None
        self.steps -= number
        return number


def _holiday(slot: Slot) -> dict[str, Any]:
    """Return a note for a slot that is left out or moved."""
    if slot.is_left_out:
        return {"note": _("Left out: %s") % slot.holiday, "is_crossed": True}
    return {"note": _("moved because of: %s") % slot.holiday}


def _is_same_day(zone: ZoneInfo, day: Day) -> bool:
    """Return whether clocks in *zone* show the same day from its begin to its end."""
    return all(
        moment.astimezone(zone).replace(tzinfo=None) == moment.replace(tzinfo=None) for moment in (day.begin, day.end)
    )


def _midnight(date: dt.date, zone: ZoneInfo) -> dt.datetime:
    return first_instant(dt.datetime.combine(date, dt.time()), zone)


def _past(time: PastTime, schedule: Schedule) -> Entry:
    entry = Entry(time.moment, schedule)
    if time.outcome == SlotOutcome.FIRED:
        note = _("moved because of: %s") % time.holiday if time.holiday else ""
        if time.job is None:
            return replace(entry, label=_("The job has been deleted, or you may not see it."), note=note)
        return replace(entry, look=look_of(time.job), label=label_of(time.job), job=time.job.pk, note=note)
    reason = str(SkipReason(time.reason).label) if time.reason else ""
    note = time.holiday or reason
    if time.missed > 1:
        times = ngettext("%s time", "%s times", time.missed) % qw_number(time.missed)
        note = f"{note} ({times})"
    return replace(entry, look=JobStatus.CANCELLED, label=str(SlotOutcome.SKIPPED.label), note=note, is_crossed=True)


def _folded(entries: Sequence[Entry]) -> Entry:
    """Return one entry for many past times of a day."""
    counts = Counter(entry.label for entry in entries)
    words = ", ".join(f"{qw_number(number)} × {label}" for label, number in counts.most_common())  # noqa: RUF001 - typography
    worst = next((entry for entry in entries if entry.look == JobStatus.EXCEPTION), entries[-1])
    return replace(worst, moment=entries[0].moment, words=words, note="")
