"""Days off: which days they are, and the working days around them."""

from __future__ import annotations

import datetime as dt

import pytest

from qorworker.exceptions import InvalidSchedule
from qorworker.schedules.cron import Cron
from qorworker.schedules.holidays import Holidays, Span
from qorworker.schedules.timetable import Every


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


OFF = Holidays(
    "closed",
    [
        Span(day("2026-12-24"), day("2027-01-01"), "Works holidays"),
        Span(day("2026-12-25"), day("2026-12-26"), "Christmas"),
        Span(day("2026-12-31"), day("2027-01-03")),
    ],
    [7],
)


@pytest.mark.parametrize(
    ("date", "name"),
    [
        ("2026-12-23", ""), ("2026-12-24", "Works holidays"), ("2026-12-26", "Works holidays"),
        ("2027-01-01", "Works holidays"), ("2027-01-02", "closed"), ("2027-01-03", "closed"), ("2027-01-04", ""),
        ("2027-01-10", "Sunday"),
    ],
)  # fmt: skip
def test_each_day_off_has_a_name_and_ranges_may_overlap(date, name):
    assert OFF.name_on(day(date)) == name


def test_the_working_days_around_a_holiday():
    assert OFF.working_day(day("2026-12-26"), -1) == day("2026-12-23")
    assert OFF.working_day(day("2026-12-26"), 1) == day("2027-01-04")
    assert OFF.working_day(day("2027-01-09"), 1) == day("2027-01-11")
    assert Holidays("never", [], range(1, 8)).working_day(day("2026-12-26"), 1) is None
    assert Holidays("", []).working_day(dt.date.max, 1) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calendar": "bank holidays"}, "calendar='bank holidays' is not the name of a calendar"),
        ({"calendar": 7}, "calendar=7 is not the name"),
        ({"calendar": "x" * 51}, "at most 50"),
        ({"calendar": "off", "on_holiday": "never"}, "on_holiday='never' is none of 'skip', 'before', 'after'"),
        ({"on_holiday": "before"}, "on_holiday='before' needs a calendar"),
    ],
)
def test_what_is_no_calendar_or_no_rule_is_refused_with_the_parameter(options, message):
    for rule in (lambda: Cron("@daily", "UTC", **options), lambda: Every(days=1, **options)):
        with pytest.raises(InvalidSchedule) as refused:
            rule()
        assert message in str(refused.value)
