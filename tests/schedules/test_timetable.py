"""Slots: their times, their names, and which of the missed ones run."""

from __future__ import annotations

import datetime as dt
import os
import zoneinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qorworker.exceptions import InvalidSchedule
from qorworker.schedules.cron import Cron, exists, first_instant, zone_called
from qorworker.schedules.timetable import ON_TIME, At, Due, Every, Slot, Timetable
from tests.schedules.test_cron import ZONES, changes, expressions, moments

BERLIN = ZoneInfo("Europe/Berlin")
START = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def keys(slots) -> list[str]:
    return [slot.key for slot in slots]


class TestIntervals:
    def test_they_count_from_the_start_whatever_the_clocks_on_the_wall_do(self):
        table = Timetable(Every(days=1), utc("2026-03-27T01:00"))
        assert keys(table.upcoming(utc("2026-03-27T01:00"), 3)) == [f"2026-03-{day}T01:00:00Z" for day in (28, 29, 30)]

    def test_the_start_itself_is_the_first(self):
        table = Timetable(Every(minutes=15), START)
        assert table.after(START - dt.timedelta(days=9)).moment == START
        assert table.after(START).moment == START + dt.timedelta(minutes=15)

    def test_nothing_is_at_or_after_the_end(self):
        table = Timetable(Every(hours=1), START, START + dt.timedelta(hours=2))
        assert len(table.upcoming(START - dt.timedelta(hours=1), 9)) == 2

    @pytest.mark.parametrize(
        "units", [{}, {"seconds": 0.5}, {"days": -1}, {"days": 9999}, {"weeks": 1e300}, {"hours": float("nan")}]
    )
    def test_what_is_no_interval_is_refused(self, units):
        with pytest.raises(InvalidSchedule, match="whole number of seconds"):
            Every(**units)


class TestOnce:
    def test_it_comes_once(self):
        table = Timetable(At(utc("2026-05-05T10:00")), START)
        assert keys(table.upcoming(START, 5)) == ["2026-05-05T10:00:00Z"]
        assert table.after(utc("2026-05-05T10:00")) is None

    def test_a_time_without_a_zone_is_meant_in_the_one_that_is_named(self):
        assert At(dt.datetime(2026, 7, 1, 12), "America/New_York").moment.astimezone(dt.UTC) == utc("2026-07-01T16:00")

    def test_a_time_that_the_clocks_leave_out_is_refused_with_the_one_after_it(self):
        with pytest.raises(InvalidSchedule) as refused:
            At(dt.datetime(2026, 3, 29, 2, 30), "Europe/Berlin")
        assert str(refused.value) == "2026-03-29 02:30 does not exist in Europe/Berlin: clocks go forward to 03:00."

    def test_the_year_9999_is_taken_and_its_last_day_is_not(self):
        assert At(dt.datetime(9999, 6, 1, tzinfo=dt.UTC)).moment.year == 9999
        with pytest.raises(InvalidSchedule, match="too far"):
            At(dt.datetime.max.replace(tzinfo=dt.UTC))
        with pytest.raises(InvalidSchedule, match="too far"):
            At(dt.datetime.min.replace(tzinfo=BERLIN))

    def test_what_is_no_time_is_refused(self):
        with pytest.raises(InvalidSchedule, match="not a date"):
            At(dt.date(2026, 1, 1))

    def test_an_unknown_zone_is_refused(self):
        for name in ("Europe/Atlantis", "../../etc/passwd", "\x00", "/etc"):
            with pytest.raises(InvalidSchedule, match="does not exist"):
                zone_called(name)


class TestNames:
    def test_a_fixed_time_is_called_by_what_the_clock_on_the_wall_was_to_show(self):
        table = Timetable(Cron("30 2 * * *", BERLIN), START)
        assert keys(table.upcoming(utc("2026-03-28T00:00"), 3)) == [f"2026-03-{day}T02:30" for day in (28, 29, 30)]

    def test_a_rule_that_follows_instants_is_called_by_them(self):
        table = Timetable(Cron("*/30 * * * *", BERLIN), START)
        assert keys(table.upcoming(utc("2026-10-25T00:10"), 3)) == [
            "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z",
        ]  # fmt: skip

    @settings(max_examples=300, deadline=None)
    @given(expressions, moments)
    def test_from_its_name_one_comes_back_to_the_time(self, fields, moment):
        name, day, hours_off = moment
        table = Timetable(Cron(" ".join(fields), ZoneInfo(name)), day - dt.timedelta(days=400))
        slots = table.upcoming(day + dt.timedelta(hours=hours_off), 4)
        assert [table.slot(slot.key) for slot in slots] == slots
        assert len({slot.key for slot in slots}) == len(slots)

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(ZONES), st.data())
    def test_the_first_instant_of_a_time_on_the_wall(self, name, data):
        zone, day = ZoneInfo(name), data.draw(st.sampled_from(changes(name)))
        wall = day.replace(tzinfo=None) + dt.timedelta(minutes=data.draw(st.integers(-1440, 1440)))
        instant = first_instant(wall, zone)
        shown = instant.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None)
        if exists(wall, zone):
            assert (shown, instant.fold) == (wall, 0)
        else:
            before = (instant.astimezone(dt.UTC) - dt.timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
            assert before < wall < shown


def test_a_date_that_never_was_comes_when_the_next_one_begins():
    """Samoa went from 29 to 31 December 2011."""
    apia = ZoneInfo("Pacific/Apia")
    assert first_instant(dt.datetime(2011, 12, 30, 12), apia).isoformat() == "2011-12-31T00:00:00+14:00"


def test_new_rules_for_a_zone_move_a_fixed_time_and_leave_its_name(tmp_path):
    """Berlin gives up summer time: as if its file were that of Algiers."""
    before = Timetable(Cron("30 2 * * *", "Europe/Berlin"), START)
    slot = before.after(utc("2026-06-01T12:00"))
    assert (slot.key, slot.moment) == ("2026-06-02T02:30", utc("2026-06-02T00:30"))
    source = next(Path(path, "Africa/Algiers") for path in zoneinfo.TZPATH if os.path.exists(f"{path}/Africa/Algiers"))
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes(source.read_bytes())
    try:
        zoneinfo.reset_tzpath([str(tmp_path)])
        ZoneInfo.clear_cache()
        after = Timetable(Cron("30 2 * * *", "Europe/Berlin"), START)
        assert after.slot(slot.key) == Slot(utc("2026-06-02T01:30"), slot.key)
    finally:
        zoneinfo.reset_tzpath()
        ZoneInfo.clear_cache()


def test_nothing_comes_before_the_start():
    table = Timetable(Cron("0 6 * * *", BERLIN), utc("2026-07-01T05:00"))
    assert keys(table.upcoming(utc("2026-01-01T00:00"), 1)) == ["2026-07-02T06:00"]
    at_six = Timetable(Cron("0 6 * * *", BERLIN), utc("2026-07-01T04:00"))
    assert keys(at_six.upcoming(utc("2026-01-01T00:00"), 1)) == ["2026-07-01T06:00"]


class TestSpread:
    def test_it_is_the_same_for_whoever_asks_and_another_for_each_slot(self):
        slots = Timetable(Every(minutes=1), START).upcoming(START, 50)
        delays = [slot.delay("7", 600) for slot in slots]
        assert delays == [slot.delay("7", 600) for slot in slots]
        assert len(set(delays)) > 30
        assert all(dt.timedelta() <= delay <= dt.timedelta(seconds=600) for delay in delays)
        assert {slot.delay("7", 0) for slot in slots} == {dt.timedelta()}

    def test_two_schedules_do_not_start_together(self):
        slot = Timetable(Every(minutes=1), START).after(START)
        assert len({slot.delay(str(number), 3600) for number in range(40)}) > 30


# What was missed.

RULES = [
    Every(minutes=1), Every(hours=7), Every(seconds=1), Cron("* * * * *", "UTC"), Cron("30 6 * * *", "UTC"),
    Cron("0 0 1 * *", "UTC"), Cron("*/7 1-5 * * 1,3", BERLIN), At(START + dt.timedelta(hours=1)),
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(RULES),
    st.integers(0, 3 * 86400),
    st.sampled_from(["latest", "all", "skip"]),
    st.integers(1, 100),
    st.one_of(st.none(), st.integers(1, 86400)),
)
def test_misfire_policies_against_their_definition(rule, late, policy, cap, ends_in):
    end = START + dt.timedelta(seconds=ends_in) if ends_in else None
    table = Timetable(rule, START, end)
    first = table.after(START)
    assume(first is not None)
    now = first.moment + dt.timedelta(seconds=late)
    due = table.due(first, now, cap if policy == "all" else 1)
    run, missed = due.choose(policy, now)

    passed = _passed(table, first, now, 20_000)
    if policy == "all":
        assert run == passed[-cap:]
    else:
        in_time = now - passed[-1].moment <= ON_TIME
        assert run == (passed[-1:] if policy == "latest" or in_time else [])
    if due.exact:
        assert missed == len(passed) - len(run)
    else:
        assert 0 < missed <= len(passed)
    following = table.after(due.slots[-1].moment)
    assert following is None or following.moment > now


def _passed(table, first, now, most):
    slots = [first]
    for slot in table.slots_after(first.moment):
        if slot.moment > now or len(slots) > most:
            break
        slots.append(slot)
    assume(len(slots) <= most)
    return slots


@pytest.mark.timeout(10)
@pytest.mark.parametrize("end", [None, utc("2023-01-01T00:00")])
def test_years_of_missed_minutes_are_not_walked_through_one_by_one(end):
    table = Timetable(Cron("* * * * *", "UTC"), utc("2000-01-01T00:00"), end)
    due = table.due(table.after(utc("2000-01-01T00:00")), START, 100)
    last = (end or START + dt.timedelta(minutes=1)) - dt.timedelta(minutes=1)
    assert (len(due.slots), due.slots[-1].moment, due.exact) == (100, last, False)


def test_a_run_that_is_a_little_late_is_not_skipped():
    slot = Slot(START, "x")
    assert Due([slot], 0).choose("skip", START + ON_TIME) == ([slot], 0)
    assert Due([slot], 0).choose("skip", START + ON_TIME + dt.timedelta(seconds=1)) == ([], 1)
