"""Cron expressions: read, refused, and followed through the days on which clocks change."""

from __future__ import annotations

import calendar
import datetime as dt
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from qorworker.exceptions import InvalidSchedule
from qorworker.schedules.cron import MACROS, Cron

UTC = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = UTC) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone)


def told(cron: Cron, after: dt.datetime, number: int) -> list[str]:
    return [f"{moment:%d. %H:%M %z}" for moment in cron.upcoming(after, number)]


@pytest.mark.parametrize(
    "expression", [*MACROS, "30 6 * * 1-5", "0 0 L * *", "0 9 * * fri#1", "0 0 1 jan *", "0 0 * * 7"]
)
def test_what_cron_knows_is_accepted(expression):
    assert Cron(expression, UTC).after(at("2026-11-22T12:00")) > at("2026-11-22T12:00")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 25 * * *", "Hour: “25” does not exist (0–23)."),
        ("99 * * * *", "Minute: “99” does not exist (0–59)."),
        ("* * 32 * *", "Day of the month: “32” does not exist (1–31)."),
        ("* * * 13 *", "Month: “13” does not exist (1–12)."),
        ("* * * * 8", "Day of the week: “8” does not exist (0–7)."),
        ("*/0 * * * *", "Minute: “*/0” does not exist (0–59)."),
        ("R * * * *", "Minute: “R” does not exist (0–59)."),
        ("5,r(1-5) * * * *", "Minute: “5,r(1-5)” does not exist (0–59)."),
        ("0 0 30 2 *", "This never fires: none of these months has that day."),
        ("0 0 31 4,6 *", "This never fires: none of these months has that day."),
        ("* * * * * *", "Seconds and years are not supported: the smallest step is one minute. Use five fields."),
        ("", "A cron expression has five fields: minute, hour, day of the month, month, day of the week."),
        ("daily", "A cron expression has five fields: minute, hour, day of the month, month, day of the week."),
        ("@reboot", f"“@reboot” is not known. Choose one of: {', '.join(MACROS)}."),
        ("0 " * 101, "A cron expression has at most 200 characters."),
        ("0 0 * * \x00", "Day of the week: “\x00” does not exist (0–7)."),
    ],
)
def test_what_cannot_be_is_refused_with_the_field(expression, message):
    with pytest.raises(InvalidSchedule) as refused:
        Cron(expression, UTC)
    assert str(refused.value) == message


@given(st.text(alphabet="0123456789*/,-#LHR@ ?adeilmnorstuwy\x00é", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        cron = Cron(text, BERLIN, spread="x")
    except InvalidSchedule:
        return
    first = cron.after(at("2026-01-01T00:00"))
    assert first is None or first > at("2026-01-01T00:00")


def test_a_range_of_one_value_is_that_value():
    assert told(Cron("28-28 2-2 * * fri-fri", UTC), at("2026-11-22T00:00"), 2) == ["27. 02:28 +0000", "04. 02:28 +0000"]


def test_spread_gives_each_its_own_minute_and_keeps_it():
    minutes = {Cron("H 3 * * *", UTC, spread=str(number)).after(at("2026-11-22T00:00")).minute for number in range(40)}
    assert len(minutes) > 10
    again = [Cron("H 3 * * *", UTC, spread="a").after(at("2026-11-22T00:00")) for _ in range(3)]
    assert len(set(again)) == 1


def test_a_fixed_time_that_does_not_exist_comes_at_the_first_instant_after_the_gap():
    assert told(Cron("30 2 * * *", BERLIN), at("2026-03-28T12:00"), 2) == ["29. 03:00 +0200", "30. 02:30 +0200"]


def test_a_fixed_time_that_exists_twice_comes_once():
    assert told(Cron("30 2 * * *", BERLIN), at("2026-10-24T12:00"), 2) == ["25. 02:30 +0200", "26. 02:30 +0100"]
    between = at("2026-10-25T02:40", BERLIN)
    assert told(Cron("30 2 * * *", BERLIN), between, 1) == ["26. 02:30 +0100"]


def test_a_step_follows_every_instant_of_both_hours():
    assert told(Cron("*/15 * * * *", BERLIN), at("2026-10-25T01:59", BERLIN), 9) == [
        *(f"25. 02:{minute:02} +0200" for minute in (0, 15, 30, 45)),
        *(f"25. 02:{minute:02} +0100" for minute in (0, 15, 30, 45)),
        "25. 03:00 +0100",
    ]


def test_a_step_skips_what_the_gap_swallows():
    assert told(Cron("*/30 2 * * *", BERLIN), at("2026-03-28T12:00"), 2) == ["30. 02:00 +0200", "30. 02:30 +0200"]


def test_29_february_is_found_over_the_century_without_a_leap_year():
    assert Cron("0 0 29 2 *", UTC).after(at("2096-03-01T00:00")) == at("2104-02-29T00:00")


def test_what_does_not_happen_in_forty_years_ends():
    assert Cron("0 0 29 2 */7", UTC).upcoming(at("2026-01-01T00:00"), 2) == [
        at("2032-02-29T00:00"),
        at("2060-02-29T00:00"),
    ]


# Against cronsim, which was written independently, and against the definition itself

ZONES = ["Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Beirut", "Africa/Cairo", "America/Sao_Paulo"]
ZONES += ["Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham", "UTC"]


@cache
def changes(name: str) -> list[dt.datetime]:
    """The days from 2010 to 2029 on which clocks changed in a zone, or one day if they never did."""
    zone, moment = ZoneInfo(name), at("2010-01-01T00:00")
    days = [moment + dt.timedelta(days=number) for number in range(7300)]
    changed = [
        day
        for day in days
        if day.astimezone(zone).utcoffset() != (day - dt.timedelta(days=1)).astimezone(zone).utcoffset()
    ]
    return changed or [moment]


def part(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    return st.one_of(
        st.just("*"),
        st.sampled_from([2, 3, 5, 10, 15, 20]).map("*/{}".format),
        number.map(str),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        pair.map(lambda ends: f"{ends[0]},{ends[1]}"),
    )


hours = st.one_of(part(0, 3), part(0, 23))
expressions = st.tuples(
    part(0, 59), hours, st.one_of(st.just("*"), part(1, 28)), st.just("*"), st.one_of(st.just("*"), part(0, 6))
)
moments = st.sampled_from(ZONES).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(changes(name)), st.integers(-30, 6))
)


@settings(max_examples=1000, deadline=None)
@given(expressions, moments)
@example(("30", "2", "*", "*", "*"), ("Europe/Berlin", at("2026-03-29T00:00"), -5))
@example(("0", "*/5", "*/15", "*", "*/10"), ("Asia/Beirut", at("2023-10-29T00:00"), 0))  # the gap comes months later
def test_it_agrees_with_cronsim_around_clock_changes(fields, moment):
    """Except where cronsim leaves out times that exist: changes of less than an hour (Lord Howe), zones that are no
    whole hours away (Chatham), and gaps at midnight, where it also gives an instant for a time that is none. Asked
    within the hour that comes again it does not know that a time has been there already."""
    name, day, hours_off = moment
    zone, expression, begin = ZoneInfo(name), " ".join(fields), day + dt.timedelta(hours=hours_off)
    ours = [found.astimezone(UTC) for found in Cron(expression, zone).upcoming(begin, 6)]
    theirs = CronSim(expression, begin.astimezone(zone))
    wanted = [next(theirs).astimezone(UTC) for _ in range(6)]
    if ours != wanted:
        odd = name in {"Australia/Lord_Howe", "Pacific/Chatham"} or has_gap_at_midnight(
            zone, begin, max(*ours, *wanted)
        )
        assert odd or begin.astimezone(zone).fold


def has_gap_at_midnight(zone: ZoneInfo, begin: dt.datetime, end: dt.datetime) -> bool:
    """Whether a day from *begin* to *end*, or in the two months after *begin*, starts later than at 00:00."""
    first = begin.astimezone(zone).date() - dt.timedelta(days=1)
    days = max(60, (end - begin).days + 3)
    midnights = [dt.datetime.combine(first + dt.timedelta(days=number), dt.time(), zone) for number in range(days)]
    return any(midnight.astimezone(UTC).astimezone(zone).time() != dt.time() for midnight in midnights)


@settings(max_examples=500, deadline=None)
@given(part(0, 59), hours, moments)
@example("*/20", "*", ("Australia/Lord_Howe", at("2010-04-04T00:00"), -10))
@example("*", "2", ("Pacific/Chatham", at("2010-04-04T00:00"), -11))
@example("*", "2", ("Pacific/Chatham", at("2010-04-04T00:05"), -10))
def test_a_rule_with_a_wildcard_is_every_minute_that_fits(minute, hour, moment):
    assume(minute.startswith("*") or hour.startswith("*"))
    name, day, hours_off = moment
    zone, begin = ZoneInfo(name), day + dt.timedelta(hours=hours_off)
    fitting = [range(60) if minute == "*" else fit(minute, 60), range(24) if hour == "*" else fit(hour, 24)]
    minutes = ((begin + dt.timedelta(minutes=number)).astimezone(zone) for number in range(1, 60 * 30))
    wanted = [each for each in minutes if each.minute in fitting[0] and each.hour in fitting[1]]
    ours = Cron(f"{minute} {hour} * * *", zone).upcoming(begin, len(wanted))
    assert [each.astimezone(UTC) for each in ours] == [each.astimezone(UTC) for each in wanted]


def fit(text: str, size: int) -> list[int]:
    if text.startswith("*/"):
        return list(range(0, size, int(text[2:])))
    if "-" in text:
        first, last = map(int, text.split("-"))
        return list(range(first, last + 1))
    return [int(number) for number in text.split(",")]


def fits_by_the_calendar(day: dt.date, of_month: str, of_week: str) -> bool:
    """An oracle of its own for the two fields of days, with lists, ``L``, ``5#2`` and ``L5``."""
    last = calendar.monthrange(day.year, day.month)[1]
    weekday = day.isoweekday() % 7

    def month_fits(part: str) -> bool:
        return part == "*" or day.day == (last if part == "L" else int(part))

    def week_fits(part: str) -> bool:
        if "#" in part:
            wanted, number = part.split("#")
            return weekday == int(wanted) and (day.day + 6) // 7 == int(number)
        if part.startswith("L"):
            return weekday == int(part[1:]) and day.day + 7 > last
        return part == "*" or weekday == int(part)

    fitting = any(map(month_fits, of_month.split(","))), any(map(week_fits, of_week.split(",")))
    return all(fitting) if "*" in (of_month, of_week) else any(fitting)


@pytest.mark.parametrize("of_month", ["*", "15", "1,15", "L", "3,L", "31"])
@pytest.mark.parametrize("of_week", ["*", "5", "1,3", "5#2", "1#5", "1#1,5#2", "L5", "L1,L5", "5#1,L5", "0#1", "L0"])
def test_either_day_is_enough_also_where_the_week_of_the_month_is_named(of_month, of_week):
    start = dt.date(2026, 1, 1)
    days = [
        day for number in range(4 * 366) if fits_by_the_calendar(day := start + dt.timedelta(number), of_month, of_week)
    ]
    found = Cron(f"0 0 {of_month} * {of_week}", UTC).upcoming(at("2025-12-31T12:00"), len(days))
    assert [moment.date() for moment in found] == days


@pytest.mark.parametrize("expression", ["30 2 15 * 0#5", "30 2 L * L0", "15 * 25 * L0", "*/20 2 L 3,10 0#1"])
def test_either_day_is_enough_where_clocks_change(expression):
    """The same times as those of both halves, each of which follows the rules for clocks by itself."""
    minute, hour, of_month, month, of_week = expression.split()
    halves = [
        Cron(f"{minute} {hour} {of_month} {month} *", BERLIN),
        Cron(f"{minute} {hour} * {month} {of_week}", BERLIN),
    ]
    start = at("2026-01-01T00:00", BERLIN)
    both = {moment.astimezone(UTC) for half in halves for moment in half.upcoming(start, 600)}
    cron = Cron(expression, BERLIN)
    found = cron.upcoming(start, 600)
    assert [moment.astimezone(UTC) for moment in found] == sorted(both)[:600]
    named = [cron.moment_of(cron.key_of(moment)) for moment in found]
    assert [moment.astimezone(UTC) for moment in named] == [moment.astimezone(UTC) for moment in found]


def test_the_hour_that_comes_twice_does_so_also_if_the_next_time_is_in_summer():
    cron = Cron("*/30 2 L 3,10 *", BERLIN)
    assert told(cron, at("2027-10-01T00:00", BERLIN), 5) == [
        "31. 02:00 +0200",
        "31. 02:30 +0200",
        "31. 02:00 +0100",
        "31. 02:30 +0100",
        "31. 02:00 +0200",
    ]


def test_one_day_that_never_comes_leaves_the_other():
    assert told(Cron("0 0 30 2 5#2", UTC), at("2026-01-01T00:00"), 2) == ["13. 00:00 +0000", "12. 00:00 +0000"]
    with pytest.raises(InvalidSchedule, match="never fires"):
        Cron("0 0 30 2 *", UTC)
