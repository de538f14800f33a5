"""Compares cron expressions in many time zones with an oracle that looks at every minute of two years."""

from __future__ import annotations

import argparse
import datetime as dt
import random
import time
from collections.abc import Iterator
from zoneinfo import ZoneInfo, available_timezones

from qorworker import Cron

BEGIN, END = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2028, 1, 1, tzinfo=dt.UTC)
MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
ODD = ("Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Beirut", "Africa/Cairo", "Asia/Kathmandu",
       "Australia/Lord_Howe", "Pacific/Chatham", "Africa/Casablanca", "America/Nuuk", "Asia/Gaza", "UTC")  # fmt: skip
AROUND, AT_RANDOM = 1, 4  # days on each side of a change of the clocks, and others, of rules that fire all the time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--expressions", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--zones", type=int, default=60, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1e9, help="end after this time, whatever was compared")


def run(options: argparse.Namespace) -> int:
    chance, began = random.Random(options.seed), time.monotonic()
    others = sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))
    names = [*ODD, *chance.sample([name for name in others if name not in ODD], max(0, options.zones - len(ODD)))]
    expressions = [expression(chance) for _ in range(options.expressions)]
    compared = times = faults = 0
    pairs = [(rule, name) for name in names[: options.zones] for rule in expressions]
    chance.shuffle(pairs)
    zones = {name: Zone(name) for name in names}
    for rule, name in pairs:
        if time.monotonic() - began > options.seconds:
            break
        for begin, end in zones[name].windows(rule, chance):
            wanted = list(zones[name].times(rule, begin, end))
            found = list(ours(rule, name, begin, end))
            times += len(wanted)
            if found != wanted:
                faults += 1
                odd = sorted(set(found) ^ set(wanted))[:3]
                print(f"VIOLATION {' '.join(rule)} in {name}, {begin} to {end}: {list(map(str, odd))}", flush=True)
        compared += 1
    print(
        f"{compared} of {len(pairs)} pairs of {len(expressions)} expressions and {options.zones} zones, {times} times:"
        f" {faults} faults in {time.monotonic() - began:.0f} s"
    )
    return int(bool(faults))


Rule = tuple[str, str, str, str, str]


def expression(chance: random.Random) -> Rule:
    """A cron expression; many of them near the hours in which clocks change."""

    def part(low: int, high: int) -> str:
        numbers = sorted(chance.sample(range(low, high + 1), 2))
        return chance.choice(("*", f"*/{chance.choice((2, 5, 15))}", str(numbers[0]), "{}-{}".format(*numbers),
                              "{},{}".format(*numbers)))  # fmt: skip

    hour = part(0, 3) if chance.random() < 0.5 else part(0, 23)
    day = part(1, 28) if chance.random() < 0.2 else "*"
    month = part(1, 12) if chance.random() < 0.2 else "*"
    return part(0, 59), hour, day, month, part(0, 6) if chance.random() < 0.3 else "*"


def numbers(field: str, low: int, high: int) -> set[int]:
    if field.startswith("*"):
        return set(range(low, high + 1, int(field[2:] or 1)))
    found: set[int] = set()
    for each in field.split(","):
        first, _, last = each.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def follows_real_time(rule: Rule) -> bool:
    """A rule with a wildcard for minutes or hours fires in both hours that clocks show twice."""
    return rule[0].startswith("*") or rule[1].startswith("*")


def ours(rule: Rule, zone: str, begin: dt.datetime, end: dt.datetime) -> Iterator[dt.datetime]:
    for moment in Cron(" ".join(rule), zone).times_after(begin - MINUTE):
        if (found := moment.astimezone(dt.UTC)) >= end:
            return
        yield found


class Zone:
    def __init__(self, name: str) -> None:
        self.zone = ZoneInfo(name)
        days = [BEGIN + number * DAY for number in range((END - BEGIN).days)]
        offsets = [day.astimezone(self.zone).utcoffset() for day in days]
        self.changes = [day for day, before, after in zip(days, offsets, offsets[1:], strict=False) if before != after]

    def windows(self, rule: Rule, chance: random.Random) -> Iterator[tuple[dt.datetime, dt.datetime]]:
        """The two years; of a rule that fires all the time, the days around each change, and some others."""
        if not follows_real_time(rule):
            yield BEGIN, END
            return
        others = [BEGIN + chance.randrange(700) * DAY for _ in range(AT_RANDOM)]
        for day in [*self.changes, *others]:
            yield max(BEGIN, day - AROUND * DAY), min(END, day + (1 + AROUND) * DAY)

    def times(self, rule: Rule, begin: dt.datetime, end: dt.datetime) -> Iterator[dt.datetime]:
        minutes, hours = numbers(rule[0], 0, 59), numbers(rule[1], 0, 23)
        if follows_real_time(rule):
            moment = begin
            while moment < end:
                shown = moment.astimezone(self.zone)
                if shown.minute in minutes and shown.hour in hours and fits(rule, shown.date()):
                    yield moment
                moment += MINUTE
            return
        found: set[dt.datetime] = set()
        day = begin.astimezone(self.zone).date() - DAY
        while day <= end.astimezone(self.zone).date() + DAY:
            if fits(rule, day):
                found |= {self.instant(day, hour, minute) for hour in hours for minute in minutes}
            day += DAY
        yield from sorted(moment for moment in found if begin <= moment < end)

    def instant(self, day: dt.date, hour: int, minute: int) -> dt.datetime:
        """When clocks show that for the first time, or the first instant after the gap that leaves it out."""
        wall = dt.datetime.combine(day, dt.time(hour, minute))
        moment = wall.replace(tzinfo=self.zone).astimezone(dt.UTC)
        if moment.astimezone(self.zone).replace(tzinfo=None) == wall:
            return moment
        # In a gap: from some hours before, the first minute whose clock shows more.
        moment -= dt.timedelta(hours=3)
        moment = moment.replace(second=0)
        while moment.astimezone(self.zone).replace(tzinfo=None) < wall:
            moment += MINUTE
        return moment


def fits(rule: Rule, day: dt.date) -> bool:
    """Cron's rule for days: with both fields, either of them is enough."""
    if day.month not in numbers(rule[3], 1, 12):
        return False
    by_day, by_week = day.day in numbers(rule[2], 1, 31), day.isoweekday() % 7 in numbers(rule[4], 0, 6)
    if rule[2].startswith("*") or rule[4].startswith("*"):
        return by_day and by_week
    return by_day or by_week
