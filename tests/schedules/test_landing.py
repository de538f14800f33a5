"""Where slots land that meet holidays: none is lost, none runs twice, and moved ones land on working days."""

from __future__ import annotations

import datetime as dt
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qorworker.exceptions import InvalidSchedule
from qorworker.schedules.cron import Cron, first_instant
from qorworker.schedules.holidays import Holidays, Span
from qorworker.schedules.timetable import Every, Timetable
from tests.schedules.test_cron import ZONES

BERLIN = ZoneInfo("Europe/Berlin")
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
CHRISTMAS = Holidays("off", [Span(dt.date(2026, 12, 25), dt.date(2026, 12, 26), "Christmas")], [6, 7])  # a Friday


def table(when, holidays=CHRISTMAS, start=LONG_AGO, end=None):
    return Timetable(when, start, end, holidays)


def shown(slots, zone=BERLIN):
    return [
        f"{slot.moment.astimezone(zone):%d. %H:%M}" + (f" {slot.holiday}" if slot.is_left_out else "*" * slot.is_moved)
        for slot in slots
    ]


def after(text, number, when, **more):
    return shown(table(when, **more).upcoming(dt.datetime.fromisoformat(text).replace(tzinfo=BERLIN), number))


def daily(on_holiday, expression="0 6 * * *", zone=BERLIN):
    return Cron(expression, zone, calendar="off", on_holiday=on_holiday)


def test_left_out_slots_are_there_with_the_reason():
    assert after("2026-12-24", 5, daily("skip")) == [
        "24. 06:00", "25. 06:00 Christmas", "26. 06:00 Christmas", "27. 06:00 Sunday", "28. 06:00",
    ]  # fmt: skip


def test_before_is_the_last_working_day_at_the_same_time():
    assert after("2026-12-24", 2, daily("before", "0 6 * * fri")) == ["24. 06:00*", "01. 06:00"]
    assert after("2026-12-24T06:00", 1, daily("before", "0 6 * * fri")) == ["01. 06:00"]


def test_after_is_the_next_working_day_at_the_same_time():
    assert after("2026-12-24", 2, daily("after", "0 6 * * fri")) == ["28. 06:00*", "01. 06:00"]
    assert after("2026-12-26", 1, daily("after", "0 6 * * fri")) == ["28. 06:00*"]


@pytest.mark.parametrize("on_holiday", ["before", "after"])
def test_slots_that_land_on_the_time_of_another_make_one_run_with_the_name_of_that_one(on_holiday):
    slots = table(daily(on_holiday)).upcoming(dt.datetime(2026, 12, 23, 12, tzinfo=BERLIN), 3)
    assert shown(slots) == ["24. 06:00", "28. 06:00", "29. 06:00"]
    assert [slot.key for slot in slots] == ["2026-12-24T06:00", "2026-12-28T06:00", "2026-12-29T06:00"]


def test_slots_of_several_holidays_that_land_on_one_time_have_the_name_of_the_earliest():
    slots = table(daily("after", "0 6 * * fri,sat,sun")).upcoming(dt.datetime(2026, 12, 24, tzinfo=BERLIN), 1)
    assert (shown(slots), slots[0].key) == (["28. 06:00*"], "2026-12-25T06:00")


def test_other_times_of_the_same_day_stay_in_order():
    assert after("2026-12-24", 4, daily("before", "0 6,18 * * thu,fri")) == [
        "24. 06:00", "24. 18:00", "31. 06:00", "31. 18:00",
    ]  # fmt: skip


def test_a_whole_day_of_many_times_is_moved():
    moved = table(daily("after", "*/15 * * * fri")).upcoming(dt.datetime(2026, 12, 24, tzinfo=BERLIN), 97)
    assert shown(moved)[:2] + shown(moved)[-2:] == ["28. 00:00*", "28. 00:15*", "28. 23:45*", "01. 00:00"]


def test_a_slot_that_lands_in_a_gap_of_the_clocks_runs_at_its_end():
    """Clocks go forward on Sunday, 28 March 2027."""
    monday = Holidays("off", [Span(dt.date(2027, 3, 29), dt.date(2027, 3, 29))])
    rule = Cron("30 2 * * mon", BERLIN, calendar="off", on_holiday="before")
    assert after("2027-03-27", 1, rule, holidays=monday) == ["28. 03:00*"]


def test_times_that_come_twice_on_a_holiday_land_once():
    """Clocks go back on Sunday, 25 October 2026."""
    sunday = Holidays("off", [], [7])
    rule = Cron("*/30 2 * * sun", BERLIN, calendar="off", on_holiday="after")
    assert len(after("2026-10-24T12:00", 4, rule, holidays=sunday)) == 4
    slots = table(rule, sunday).upcoming(dt.datetime(2026, 10, 24, 12, tzinfo=BERLIN), 3)
    assert shown(slots) == ["26. 02:00*", "26. 02:30*", "02. 02:00*"]


def test_no_slot_is_lost_or_repeated_where_a_day_begins_with_a_clock_change():
    """In Beirut clocks go forward at midnight before 29 March 2026, and back at midnight after 24 October."""
    zone, rule = ZoneInfo("Asia/Beirut"), Cron("*/40 1-3 * * *", "Asia/Beirut", calendar="off", on_holiday="before")
    landed = table(rule, Holidays("off", [], [])).upcoming(dt.datetime(2026, 3, 28, 12, tzinfo=zone), 2)
    assert shown(landed, zone) == ["29. 01:00", "29. 01:40"]
    rule = Cron("*/15 * * * *", "Asia/Beirut", calendar="off", on_holiday="before")
    landed = table(rule, Holidays("off", [], [])).upcoming(dt.datetime(2026, 10, 24, 22, 40, tzinfo=zone), 10)
    assert shown(landed, zone) == [
        "24. 22:45", *2 * ["24. 23:00", "24. 23:15", "24. 23:30", "24. 23:45"], "25. 00:00",
    ]  # fmt: skip


def test_without_a_working_day_within_a_year_the_slot_is_left_out():
    closed = Holidays("closed", [Span(dt.date(2026, 1, 1), dt.date(2028, 6, 30))])
    assert after("2027-01-30", 1, daily("after", "0 6 1 2 *"), holidays=closed) == ["01. 06:00 closed"]


def test_nothing_is_moved_before_the_start_or_behind_the_end():
    begin, end = (dt.datetime(2026, 12, day, 12, tzinfo=BERLIN) for day in (24, 28))
    assert after("2026-12-01", 1, daily("before", "0 6 * * fri"), start=begin) == ["01. 06:00"]
    assert after("2026-12-20", 2, daily("after", "0 18 * * fri"), end=end) == []


def test_intervals_of_whole_days_are_moved_and_others_are_left_out():
    start = dt.datetime(2026, 12, 11, 6, tzinfo=BERLIN)
    fortnight = Every(weeks=2, calendar="off", on_holiday="before")
    assert after("2026-12-20", 2, fortnight, start=start) == ["24. 06:00*", "08. 06:00"]
    assert after("2026-12-25", 1, Every(minutes=15, calendar="off"), start=start) == ["25. 00:15 Christmas"]
    with pytest.raises(InvalidSchedule, match="whole days"):
        Every(hours=36, calendar="off", on_holiday="after")


# Against the definition.

RULES = [
    "0 6 * * *",
    "30 2 * * *",
    "*/40 1-3 * * *",
    "0 6,18 * * mon,fri",
    "15 0 1,15 * *",
    "0 0 * * sun",
    "59 23 L * *",
]
spans = st.lists(st.tuples(st.integers(0, 80), st.integers(0, 12)), max_size=6)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(RULES), st.sampled_from(ZONES), st.sampled_from(["skip", "before", "after"]), spans,
    st.sets(st.integers(1, 7), max_size=3), st.sampled_from([dt.date(2026, 2, 20), dt.date(2026, 9, 20)]),
    st.integers(0, 70 * 24),
)  # fmt: skip
def test_each_slot_makes_one_run_where_it_belongs(expression, name, on_holiday, ranges, weekdays, day, hours):
    zone = ZoneInfo(name)
    off = Holidays(
        "off", [Span(day + dt.timedelta(n), day + dt.timedelta(n + length)) for n, length in ranges], weekdays
    )
    rule = Cron(expression, zone, calendar="off", on_holiday=on_holiday)
    begin = dt.datetime.combine(day, dt.time(), zone) + dt.timedelta(hours=hours)
    end = begin + dt.timedelta(days=25)
    long = dt.timedelta(days=150)
    meant = takewhile(lambda slot: slot.moment <= end + long, Timetable(rule, LONG_AGO).slots_after(begin - long))
    targets: dict[dt.datetime, str] = {}
    for slot in meant:
        wall = slot.meant(zone)
        moment = slot.moment
        if off.name_on(wall.date()):
            target = wall.date()
            while off.name_on(target) and on_holiday != "skip":
                target += dt.timedelta(days=-1 if on_holiday == "before" else 1)
            if on_holiday != "skip":
                moment = first_instant(dt.datetime.combine(target, wall.time()), zone).astimezone(dt.UTC)
        targets.setdefault(moment, slot.key)
    expected = sorted(moment for moment in targets if begin < moment <= end)

    landed = table(rule, off)
    slots = list(takewhile(lambda slot: slot.moment <= end, landed.slots_after(begin)))
    assert [slot.moment for slot in slots] == expected
    assert len({slot.key for slot in slots}) == len(slots)
    for slot in slots:
        assert landed.slot(slot.key) == slot
        assert bool(off.name_on(slot.meant(zone).date())) == bool(slot.holiday)
        if on_holiday == "skip":
            assert slot.is_left_out == bool(slot.holiday)
        elif slot.is_moved:
            meant_time = slot.meant(zone).time()
            shown_at = slot.moment.astimezone(zone)
            assert not off.name_on(shown_at.date())
            assert shown_at.time() >= meant_time  # later only where clocks leave the time out
    one_by_one, moment = [], begin
    for _slot in slots[:10]:
        one_by_one.append(landed.after(moment))
        moment = one_by_one[-1].moment
    assert one_by_one == slots[:10]
