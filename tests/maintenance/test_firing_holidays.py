"""What becomes of slots on days off: one run each where it belongs, none lost, and the reason on record."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qorworker import Calendar, Cron, Every, Schedule
from qorworker.maintenance.declared import follow_zones
from qorworker.models import Holiday, Job, ScheduleSlot
from qorworker.models.clock import aware
from qorworker.schedules.holidays import Span
from tests.maintenance.support import fired, look, made

pytestmark = pytest.mark.django_db

MONDAY, TUESDAY, WEDNESDAY = (dt.date(2026, 11, day) for day in (23, 24, 25))


@pytest.fixture
def off(clock):
    calendar = Calendar.objects.create(name="off")
    calendar.add(TUESDAY, title="Founders' day")
    return calendar


def daily(on_holiday="skip", expression="0 6 * * *"):
    return Cron(expression, "UTC", calendar="off", on_holiday=on_holiday)


def pass_hours(clock, scheduler, hours):
    for _ in range(hours):
        clock.forward(hours=1)
        look(scheduler)
        Job.objects.update(status="done", attempt_token=None)


def rows():
    return list(ScheduleSlot.objects.order_by("id").values_list("slot", "outcome", "reason", "holiday", "missed"))


def test_a_left_out_time_is_on_record_with_the_name_of_its_holiday(off, clock, scheduler):
    made(daily())
    pass_hours(clock, scheduler, 72)
    assert fired() == ["23. 06:00", "25. 06:00"]
    assert rows()[1] == ("2026-11-24T06:00", "skipped", "holiday", "Founders' day", 1)


@pytest.mark.parametrize(("on_holiday", "day"), [("before", "23. 06:00"), ("after", "25. 06:00")])
def test_a_moved_time_runs_on_the_working_day_and_keeps_its_name(off, clock, scheduler, on_holiday, day):
    made(daily(on_holiday, "0 6 * * tue"))
    pass_hours(clock, scheduler, 96)
    assert fired() == [day]
    assert rows() == [("2026-11-24T06:00", "fired", "", "Founders' day", 0)]
    assert aware(Schedule.objects.get().next_slot).day == 1


@pytest.mark.parametrize("on_holiday", ["before", "after"])
def test_times_that_meet_make_one_run(off, clock, scheduler, on_holiday):
    made(daily(on_holiday))
    pass_hours(clock, scheduler, 96)
    assert fired() == ["23. 06:00", "25. 06:00", "26. 06:00"]
    assert [row[3] for row in rows()] == ["", "", ""]


def test_a_time_that_has_run_does_not_run_again_when_its_holiday_is_called_off(off, clock, scheduler):
    made(daily("before", "0 6 * * tue"))
    pass_hours(clock, scheduler, 24)
    assert fired() == ["23. 06:00"]
    off.days.all().delete()
    off.follow()
    pass_hours(clock, scheduler, 7 * 24)
    assert fired() == ["23. 06:00"]
    assert aware(Schedule.objects.get().next_slot).day == 1


def test_a_holiday_that_is_added_too_late_loses_no_run(off, clock, scheduler):
    off.days.all().delete()
    made(daily("before", "0 6 * * tue"))
    pass_hours(clock, scheduler, 24)  # Monday at noon
    off.add(TUESDAY)
    look(scheduler)
    assert fired() == ["23. 06:00"]


def test_rows_that_were_written_by_hand_count_when_the_time_comes(off, clock, scheduler):
    off.days.all().delete()
    made(daily("after", "0 6 * * tue"))
    Holiday.objects.create(calendar=off, first=TUESDAY, last=TUESDAY)
    pass_hours(clock, scheduler, 48)
    assert fired() == []
    pass_hours(clock, scheduler, 24)
    assert fired() == ["25. 06:00"]


def test_workers_that_start_follow_rows_that_were_written_by_hand(off, clock):
    schedule = made(daily("before", "0 6 * * wed"))
    Holiday.objects.create(calendar=off, first=WEDNESDAY, last=WEDNESDAY)
    follow_zones("default")
    schedule.refresh_from_db()
    assert aware(schedule.next_slot).day == 23


@pytest.mark.parametrize(("misfire", "times"), [("latest", ["23. 06:00"]), ("all", ["23. 06:00"]), ("skip", [])])
def test_after_an_outage_holidays_are_not_made_up_for(off, clock, scheduler, misfire, times):
    off.add(WEDNESDAY)
    made(daily(), misfire=misfire)
    clock.forward(hours=72)
    look(scheduler)
    assert fired() == times
    assert [row[0] for row in rows() if row[2] == "holiday"] == ["2026-11-24T06:00", "2026-11-25T06:00"]


def test_after_an_outage_of_many_times_the_last_one_on_a_working_day_runs(off, clock, scheduler):
    made(Cron("* * * * *", "UTC", calendar="off"))
    clock.forward(hours=47)
    look(scheduler)
    assert fired() == ["23. 23:59"]
    assert aware(Schedule.objects.get().next_slot) == dt.datetime(2026, 11, 24, 11, 1, tzinfo=dt.UTC)


def test_without_its_calendar_it_makes_no_job_and_says_why(off, clock, scheduler):
    made(daily(expression="0 6 * * *"))
    off.delete()
    pass_hours(clock, scheduler, 24)
    assert fired() == []
    assert Schedule.objects.get().needs_attention == "The calendar “off” does not exist."
    Calendar.objects.create(name="off")
    pass_hours(clock, scheduler, 24)
    assert (fired(), Schedule.objects.get().needs_attention) == (["24. 06:00"], "")


def test_schedules_without_a_calendar_cost_no_query_more(clock, scheduler, django_assert_max_num_queries):
    made(Every(hours=1))
    clock.forward(hours=1)
    with django_assert_max_num_queries(40) as asked:
        look(scheduler)
    assert not [query for query in asked.captured_queries if "qorworker_calendar" in query["sql"]]
    assert fired()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["skip", "before", "after"]),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=3),
    st.lists(st.integers(1, 60), min_size=2, max_size=8),
)
def test_however_late_workers_look_each_time_runs_once(scheduler, monkeypatch, on_holiday, ranges, pauses):
    """With ``misfire="all"`` the jobs are those that a worker that is always there makes."""
    from tests.clock import Clock

    clock = Clock(monkeypatch, "2026-11-22T12:00:00+00:00")
    for model in (Job, ScheduleSlot, Schedule, Calendar):
        model.objects.all().delete()
    calendar = Calendar.objects.create(name="off")
    day = dt.timedelta(days=1)
    calendar.add_all([Span(MONDAY + n * day, MONDAY + (n + length) * day) for n, length in ranges])
    schedule = made(daily(on_holiday, "30 6,18 * * mon,wed,thu"), misfire="all", misfire_cap=100, overlap="parallel")
    begin = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
    end = begin + sum(pauses) * dt.timedelta(hours=1)
    wanted = [
        f"{slot.moment:%d. %H:%M}"
        for slot in schedule.timetable.upcoming(begin, 120)
        if not slot.is_left_out and slot.moment <= end
    ]
    for hours in pauses:
        clock.forward(hours=hours)
        look(scheduler)
    assert fired() == wanted
