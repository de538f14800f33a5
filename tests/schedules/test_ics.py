"""iCalendar files: read as days off, or refused with the line."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qorworker.exceptions import InvalidCalendar
from qorworker.schedules import ics


def file_of(*events: str) -> str:
    inside = "\n".join(f"BEGIN:VEVENT\n{event}\nEND:VEVENT" for event in events)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\n{inside}\nEND:VCALENDAR\n"


def read(*events: str, year: int = 2026) -> list[str]:
    return [
        f"{first} {name}".strip() if first == last else f"{first}–{last} {name}".strip()
        for first, last, name in ics.read(file_of(*events), year)
    ]


@pytest.mark.parametrize(
    ("event", "days"),
    [
        ("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261227\nSUMMARY:Xmas", "2026-12-25–2026-12-26 Xmas"),
        ("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261226", "2026-12-25"),
        ("DTSTART;VALUE=DATE:20261225\nDTEND;VALUE=DATE:20261225", "2026-12-25"),  # as some programs write it
        ("DTSTART;VALUE=DATE:20261225", "2026-12-25"),
        ("DTSTART:20261225\nDURATION:P3D", "2026-12-25–2026-12-27"),
        ("DTSTART:20261225\nDURATION:P1W", "2026-12-25–2026-12-31"),
        ("DTSTART;TZID=Europe/Berlin:20261224T140000\nDTEND;TZID=Europe/Berlin:20261225T000000", "2026-12-24"),
        ('DTSTART;TZID="Europe/Berlin":20261224T140000\nDURATION:PT12H', "2026-12-24–2026-12-25"),
        ("DTSTART:20261224T140000Z", "2026-12-24"),
        ("DTSTART:20261224\nSUMMARY;LANGUAGE=de:Heiligabend\\, ab\\n18 Uhr", "2026-12-24 Heiligabend, ab 18 Uhr"),
        ("DTSTART:20261224\nSUMMARY:Christ\n mas \n\tEve", "2026-12-24 Christmas Eve"),
        ("DTSTART:20261224\nBEGIN:VALARM\nTRIGGER:-PT10M\nDTSTART:20200101\nEND:VALARM", "2026-12-24"),
    ],
)  # fmt: skip
def test_an_event_is_read_as_the_days_that_it_takes(event, days):
    assert read(event) == [days]


def test_times_in_utc_are_those_of_the_zone_of_the_project(settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    assert read("DTSTART:20261224T180000Z") == ["2026-12-25"]


def test_cancelled_events_and_what_is_beside_events_do_not_count():
    text = file_of("DTSTART:20261224", "DTSTART:20261225\nSTATUS:CANCELLED")
    text = text.replace("VERSION:2.0", "VERSION:2.0\nBEGIN:VTIMEZONE\nTZID:X\nRRULE:FREQ=DAILY\nEND:VTIMEZONE")
    assert [span.first for span in ics.read(text, 2026)] == [dt.date(2026, 12, 24)]


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        ("FREQ=YEARLY", ["2025-05-01", "2026-05-01", "2036-05-01", 12]),
        ("FREQ=YEARLY;BYMONTH=5;BYMONTHDAY=1;WKST=MO", ["2025-05-01", "2026-05-01", "2036-05-01", 12]),
        ("FREQ=YEARLY;INTERVAL=4", ["2028-05-01", "2032-05-01", "2036-05-01", 3]),
        ("FREQ=YEARLY;COUNT=8", ["2025-05-01", "2026-05-01", "2027-05-01", 3]),
        ("FREQ=YEARLY;UNTIL=20260501", ["2025-05-01", "2026-05-01", "2026-05-01", 2]),
        ("FREQ=YEARLY;UNTIL=20260430T220000Z", ["2025-05-01", "2026-05-01", "2026-05-01", 2]),  # 1 May in Berlin
            ("FREQ=YEARLY;UNTIL=20260430T215959Z", ["2025-05-01", "2025-05-01", "2025-05-01", 1]),
        ("FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", ["2025-11-27", "2026-11-26", "2036-11-27", 12]),
        ("FREQ=YEARLY;BYMONTH=5;BYDAY=-1MO", ["2025-05-26", "2026-05-25", "2036-05-26", 12]),
    ],
)  # fmt: skip
def test_yearly_events_are_read_for_the_next_ten_years(rule, days):
    found = read(f"DTSTART;VALUE=DATE:20200501\nRRULE:{rule}")
    assert [found[0], found[min(1, len(found) - 1)], found[-1], len(found)] == days


def test_29_february_comes_in_leap_years():
    assert read("DTSTART:20200229\nRRULE:FREQ=YEARLY") == ["2028-02-29", "2032-02-29", "2036-02-29"]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("DTSTART:20261301", "Line 4: “20261301” is not a date or a time."),
        ("DTSTART:20260230", "Line 4: “20260230” is not a date"),
        ("DTSTART:tomorrow", "Line 4: “tomorrow” is not a date"),
        ("DTSTART:99990101", "Line 4: the year is not between 1900 and 2200."),
        ("DTSTART;TZID=Mars/Olympus:20261224T140000", "Line 4: The time zone “Mars/Olympus” does not exist."),
        ("DTSTART:20261225\nDTEND:20261220", "Line 5: an event takes from one to 366 days"),
        ("DTSTART:20261225\nDTEND:20281225", "Line 5: an event takes from one to 366 days"),
        ("DTSTART:20261225\nDTEND:20261226T100000Z", "Line 5: the start is a date and the end a time"),
        ("DTSTART:20261225\nDURATION:soon", "Line 5: “soon” is not a duration."),
        ("DTSTART:20261225\nRRULE:FREQ=WEEKLY", "Line 5: only events that repeat each year"),
        ("DTSTART:20261225\nRRULE:FREQ=YEARLY;BYWEEKNO=20", "Line 5: only events that repeat each year"),
        ("DTSTART:20261225\nRRULE:FREQ=YEARLY;BYDAY=MO", "Line 5: BYDAY is supported only"),
        ("DTSTART:20261225\nRRULE:FREQ=YEARLY;BYMONTH=13;BYDAY=1MO", "Line 5: BYDAY is supported only"),
        ("DTSTART:20261225\nRRULE:FREQ=YEARLY;BYMONTH=5,6", "Line 5: “BYMONTH=5,6” is not a number."),
        ("DTSTART:20261225\nRRULE:FREQ=YEARLY;INTERVAL=0", "Line 5: “INTERVAL=0” is not a number."),
        ("DTSTART:20261225\nRDATE:20270101", "Line 5: RDATE is not supported."),
        ("DTSTART:20261225\nEXDATE:20271225", "Line 5: EXDATE is not supported."),
        ("SUMMARY:x", "Line 3: this event has no DTSTART."),
        ("DTSTART:20261225\nnonsense", "Line 5: this is no line of an iCalendar file."),
        ("DTSTART:20261225\nEND:VALARM", "Line 5: nothing that ends here has begun."),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_line(event, message):
    with pytest.raises(InvalidCalendar) as refused:
        read(event)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with BEGIN:VCALENDAR"),
        ("<html>", "Line 1: this is no line"),
        (file_of(), "has no events"),
        (file_of("DTSTART:20261225").replace("END:VCALENDAR\n", ""), "Line 1: this has no end"),
        ("x" * (ics.LARGEST + 1), "larger than 1000 kB"),
        (file_of(*["DTSTART:20261225"] * (ics.MOST_EVENTS + 1)), "more than 2000 dates"),
    ],
)
def test_what_is_no_calendar_or_too_large_is_refused(text, message):
    with pytest.raises(InvalidCalendar) as refused:
        ics.read(text, 2026)
    assert message in str(refused.value)


pieces = st.sampled_from(
    [
        "BEGIN:VCALENDAR", "END:VCALENDAR", "BEGIN:VEVENT", "END:VEVENT", "DTSTART", ";VALUE=DATE", ":", "20261225",
        "\n", ",", "RRULE:FREQ=YEARLY", ";", "=", '"', "BYDAY=1MO", "BYMONTH=2", " ", "\r\n", "T250000Z", "DURATION:P",
        "9D", "\x00", "ü",
    ]
)  # fmt: skip


@given(st.lists(pieces, max_size=40).map("".join))
def test_any_text_is_read_or_refused(text):
    try:
        spans = ics.read(text, 2026)
    except InvalidCalendar:
        return
    assert all(span.first <= span.last for span in spans)


def test_a_line_of_many_commas_takes_no_time():
    line = "A;B=" + "," * 50_000
    with pytest.raises(InvalidCalendar, match="Line 1"):
        ics.read(line, 2026)
