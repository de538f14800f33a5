"""Calendars of days off as rows, and the schedules that follow them."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.exceptions import ValidationError

from qorworker import Calendar, Cron, Every, Plan, Schedule, job
from qorworker.exceptions import InvalidCalendar, InvalidSchedule
from qorworker.maintenance.declared import sync_declared
from qorworker.models import AuditEntry, ScheduleSlot, calendar
from qorworker.models.clock import aware
from qorworker.models.schedule_queries import with_holidays
from qorworker.schedules.holidays import Span
from tests.clock import Clock
from tests.job_types import own_types  # noqa: F401
from tests.testapp import jobs

pytestmark = pytest.mark.django_db

CHRISTMAS = dt.date(2026, 12, 25)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    return Clock(monkeypatch, "2026-12-21T12:00:00+00:00")  # a Monday


@pytest.fixture
def off():
    return Calendar.objects.create(name="off", title="Days off")


def made(on_holiday="skip", expression="0 6 * * fri", **more):
    rule = Cron(expression, "UTC", calendar="off", on_holiday=on_holiday)
    return Schedule.objects.create_for(jobs.noop, rule, **more)


def next_of(schedule):
    schedule.refresh_from_db()
    return f"{aware(schedule.next_slot):%d. %H:%M}", schedule.next_key


class TestDays:
    def test_days_and_ranges_are_added_once(self, off):
        assert off.add(CHRISTMAS, title="Christmas")
        assert off.add(dt.date(2026, 12, 28), dt.date(2026, 12, 31), "Works holidays")
        assert not off.add(CHRISTMAS, title="Christmas")
        assert [str(day) for day in off.days.all()] == ["Christmas", "Works holidays"]

    def test_they_can_be_replaced(self, off):
        off.add(CHRISTMAS)
        assert (
            off.add_all([Span(CHRISTMAS, CHRISTMAS), Span(dt.date(2027, 1, 1), dt.date(2027, 1, 1))], replace=True) == 1
        )
        assert off.days.count() == 2

    @pytest.mark.parametrize(
        ("first", "last", "message"),
        [
            (CHRISTMAS, dt.date(2026, 12, 24), "before the first"),
            (CHRISTMAS, dt.date(2027, 12, 26), "at most 366 days"),
            (dt.datetime(2026, 12, 25), None, "without a time"),
            ("2026-12-25", None, "without a time"),
        ],
    )
    def test_days_that_cannot_be_are_refused_and_nothing_is_stored(self, off, first, last, message):
        with pytest.raises(InvalidCalendar, match=message):
            off.add_all([Span(CHRISTMAS, CHRISTMAS), Span(first, last or first)])
        assert not off.days.exists()

    def test_a_calendar_has_an_end(self, off, monkeypatch):
        monkeypatch.setattr(calendar, "MOST_DAYS", 2)
        off.add_all([Span(CHRISTMAS, CHRISTMAS), Span(CHRISTMAS, CHRISTMAS, "again")])
        with pytest.raises(InvalidCalendar, match="at most 2 dates"):
            off.add(dt.date(2027, 1, 1))
        assert off.days.count() == 2

    def test_an_icalendar_file_is_imported(self, off):
        text = (
            "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20261225\nSUMMARY:Christmas\nEND:VEVENT\nEND:VCALENDAR"
        )
        assert (off.import_ics(text), off.import_ics(text)) == (1, 0)
        assert off.days.get().title == "Christmas"
        with pytest.raises(InvalidCalendar, match="Line 3"):
            off.import_ics(text.replace("20261225", "today"))

    def test_a_day_without_a_name_is_called_like_its_calendar(self, off):
        off.add(CHRISTMAS)
        assert Calendar.objects.holidays(["off"])["off"].name_on(CHRISTMAS) == "Days off"

    @pytest.mark.parametrize(
        ("weekdays", "message"), [("8", "digits from 1 to 7"), ("1234567", "has to be a working day")]
    )
    def test_weekdays_are_checked(self, off, weekdays, message):
        off.weekdays = weekdays
        with pytest.raises(Exception, match=message):
            off.full_clean()


class TestSchedules:
    def test_next_times_are_those_that_run(self, off):
        off.add(CHRISTMAS)
        assert [f"{moment:%d.%m.}" for moment in made().upcoming(2)] == ["01.01.", "08.01."]
        assert [f"{moment:%d.%m.}" for moment in made("before").upcoming(2)] == ["24.12.", "01.01."]
        assert [f"{moment:%d.%m.}" for moment in made("after").upcoming(2)] == ["26.12.", "01.01."]

    def test_they_follow_when_days_are_added_and_taken_away(self, off):
        before, after = made("before", name="before"), made("after", name="after")
        off.add(CHRISTMAS)
        assert next_of(before) == ("24. 06:00", "2026-12-25T06:00")
        assert next_of(after) == ("26. 06:00", "2026-12-25T06:00")
        off.add(dt.date(2026, 12, 26))
        assert next_of(after) == ("27. 06:00", "2026-12-25T06:00")
        off.days.all().delete()
        off.follow()
        assert next_of(before) == next_of(after) == ("25. 06:00", "2026-12-25T06:00")

    def test_one_that_would_have_run_before_now_is_due_at_once(self, off, clock):
        schedule = made("before")
        clock.forward(days=3)  # Thursday at noon
        off.add(CHRISTMAS)
        assert next_of(schedule) == ("24. 06:00", "2026-12-25T06:00")

    def test_paused_ones_and_others_stay(self, off):
        paused, other = (
            made("before", name="paused"),
            Schedule.objects.create_for(jobs.noop, Cron("0 6 * * fri", "UTC")),
        )
        paused.pause()
        off.add(CHRISTMAS)
        paused.refresh_from_db()
        assert paused.next_slot is None
        assert next_of(other)[0] == "25. 06:00"

    def test_to_skip_the_next_means_the_next_that_runs(self, off):
        off.add(CHRISTMAS, title="Christmas")
        schedule = made()
        assert f"{schedule.skip_next():%d.%m.}" == "01.01."
        rows = ScheduleSlot.objects.order_by("planned_at").values_list("slot", "reason", "holiday", "missed")
        assert list(rows) == [("2026-12-25T06:00", "holiday", "Christmas", 1), ("2027-01-01T06:00", "person", "", 0)]
        assert next_of(schedule)[0] == "08. 06:00"

    def test_the_holidays_of_many_are_read_with_two_queries(self, off, django_assert_num_queries):
        off.add(CHRISTMAS)
        for number in range(3):
            made(name=f"number {number}")
        plain = Schedule.objects.create_for(jobs.noop, Every(days=1))
        with django_assert_num_queries(3):
            rows = with_holidays(Schedule.objects.order_by("pk"))
            assert [schedule.upcoming(1)[0].day for schedule in rows] == [1, 1, 1, 22]
        with django_assert_num_queries(0):
            assert with_holidays([plain])[0].upcoming(1)

    def test_a_calendar_that_does_not_exist_is_refused(self, off):
        with pytest.raises(InvalidSchedule, match="The calendar “other” does not exist"):
            Schedule.objects.create_for(jobs.noop, Every(days=1, calendar="other"))
        schedule = made()
        with pytest.raises(InvalidSchedule, match="does not exist"):
            schedule.change(when=Every(days=1, calendar="other"))
        schedule.refresh_from_db()
        assert (schedule.calendar, AuditEntry.objects.filter(action="change schedule").count()) == ("off", 0)

    def test_a_change_of_the_calendar_is_a_change_of_the_times(self, off):
        off.add(CHRISTMAS)
        schedule = made("before")
        schedule.change(when=Cron("0 6 * * fri", "UTC"))
        assert next_of(schedule)[0] == "25. 06:00"
        assert (schedule.calendar, schedule.on_holiday) == ("", "skip")

    def test_one_that_code_declares_needs_attention_until_its_calendar_exists(self):
        @job(schedule=Plan(Cron("0 6 * * fri", "UTC", calendar="off", on_holiday="before"), name="declared"))
        def declared() -> None:
            pass

        sync_declared("default")
        schedule = Schedule.objects.get(name="declared")
        assert schedule.needs_attention == "The calendar “off” does not exist."
        off = Calendar.objects.create(name="off")
        off.add(CHRISTMAS)
        assert next_of(schedule)[0] == "24. 06:00"
        assert schedule.needs_attention == ""

    def test_schedules_keep_a_calendar_that_gets_another_name(self, off):
        off.add(CHRISTMAS)
        schedule = made("before")
        off.name = "closed"
        off.clean()
        off.save()
        assert next_of(schedule)[0] == "24. 06:00"
        assert schedule.calendar == "closed"
        schedule.change(when=Cron("0 6 * * fri", "UTC", calendar="closed", on_holiday="before"))

    def test_a_name_that_schedules_in_code_have_does_not_change(self, off):
        @job(schedule=Plan(Cron("0 6 * * fri", "UTC", calendar="off"), name="declared"))
        def named_in_code() -> None:
            pass

        sync_declared("default")
        off.name = "closed"
        with pytest.raises(ValidationError, match="Schedules in code name this calendar: declared"):
            off.clean()
        with pytest.raises(InvalidCalendar, match="Schedules in code name this calendar: declared"):
            off.save()
        assert Calendar.objects.get().name == "off"
