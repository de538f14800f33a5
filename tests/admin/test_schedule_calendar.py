"""The page that tells what will run in the next thirty days."""

from __future__ import annotations

import datetime as dt

import pytest
from django.urls import reverse
from django.utils import timezone

from qorworker import At, Cron, Every, Schedule
from qorworker.admin.schedules import calendar
from qorworker.admin.schedules.calendar import days_of
from qorworker.models.clock import aware
from qorworker.schedules.timetable import Timetable
from tests.admin.support import superuser, text_of, user_with

pytestmark = pytest.mark.django_db

LIST = reverse("admin:qorworker_schedule_changelist")
CALENDAR = reverse("admin:qorworker_schedule_calendar")
NOON = dt.datetime(2026, 3, 20, 12, tzinfo=dt.UTC)


@pytest.fixture
def boss(client):
    client.force_login(superuser())
    return client


def made(types, when, name, kind="open", **more):
    more.setdefault("start", NOON - dt.timedelta(days=7))
    schedule = Schedule.objects.create_for(types[kind], when, name=name, **more)
    schedule.next_slot = None
    first = schedule.timetable.after(NOON)
    schedule.next_slot, schedule.next_key = (first.moment, first.key) if first else (None, "")
    return schedule


def told(*schedules, now=NOON):
    """What each day that has something has, and what runs all the time."""
    days, dense = days_of(list(schedules), now)
    assert len(days) == calendar.DAYS
    runs = {f"{day.date:%d.%m.}": [f"{moment:%H:%M} {each.name}" for moment, each in day.runs] for day in days}
    return {date: found for date, found in runs.items() if found}, [(each.name, words) for each, words in dense]


def test_each_day_has_its_times_in_order(types):
    weekly, morning = made(types, Cron("0 9 * * mon", "UTC"), "weekly"), made(types, Cron("30 6 1 * *", "UTC"), "first")
    with timezone.override("UTC"):
        runs, dense = told(morning, weekly)
    assert runs == {
        "23.03.": ["09:00 weekly"], "30.03.": ["09:00 weekly"], "01.04.": ["06:30 first"],
        "06.04.": ["09:00 weekly"], "13.04.": ["09:00 weekly"],
    }  # fmt: skip
    assert dense == []


def test_days_are_those_of_the_clock_of_who_looks(types):
    late = made(types, Cron("30 23 * * fri", "UTC"), "late")
    with timezone.override("Asia/Tokyo"):
        runs, _dense = told(late)
    assert runs["21.03."] == ["08:30 late"]


def test_what_runs_many_times_is_told_in_words(types):
    often = made(types, Every(minutes=15), "often")
    daily = made(types, Cron("0 6 * * *", "UTC"), "daily")
    runs, dense = told(often, daily)
    assert dense == [("often", "every 15 minutes")]
    assert sum(map(len, runs.values())) == 29  # of today it is past


def test_what_is_overdue_is_told_for_now(types):
    once = made(types, At(dt.datetime(2999, 1, 1, tzinfo=dt.UTC)), "once")
    once.next_slot = NOON - dt.timedelta(days=3)
    with timezone.override("UTC"):
        assert told(once)[0] == {"20.03.": ["12:00 once"]}


def test_what_comes_later_or_cannot_be_read_is_not_there(types):
    later = made(types, At(dt.datetime(2999, 1, 1, tzinfo=dt.UTC)), "later")
    broken = made(types, Cron("0 6 * * *", "UTC"), "broken")
    broken.zone = "Europe/Atlantis"
    assert told(later, broken) == ({}, [])


def test_the_page_leads_to_the_schedules_and_says_what_it_leaves_out(boss, types, monkeypatch):
    for number in range(3):
        Schedule.objects.create_for(types["open"], Cron(f"{number} 6 * * *"), name=f"number {number}")
    still = Schedule.objects.create_for(types["open"], Every(days=1), name="still")
    still.pause()
    later = Schedule.objects.create_for(types["open"], Cron("0 0 * * *"), name="goes on")
    later.pause(until=later.next_slot + dt.timedelta(days=2))
    monkeypatch.setattr(calendar, "OF_A_DAY", 2)
    page = text_of(boss.get(CALENDAR))
    assert f'href="{CALENDAR}"' in text_of(boss.get(LIST))
    assert f'href="{LIST}{later.pk}/change/"' in page
    assert f"{LIST}{still.pk}/" not in page
    assert "1 paused schedule is not shown." in page
    assert "and 1 more" in page
    monkeypatch.setattr(calendar, "MOST", 2)
    assert "Only the 2 that come first are shown." in text_of(boss.get(CALENDAR))
    Schedule.objects.all().delete()
    assert "No job runs on a schedule yet." in text_of(boss.get(CALENDAR))


def test_it_shows_only_what_one_may_see(client, types):
    Schedule.objects.create_for(types["open"], Every(days=1), name="not for you")
    Schedule.objects.create_for(types["by_name"], Every(days=1), name="mine")
    client.force_login(user_with("testapp.change_shop"))
    page = text_of(client.get(CALENDAR))
    assert ("mine" in page, "not for you" in page) == (True, False)


def test_the_number_of_queries_does_not_grow(boss, types, django_assert_max_num_queries):
    for number in range(20):
        Schedule.objects.create_for(types["open"], Every(days=1), name=f"number {number}")
    with django_assert_max_num_queries(15):
        boss.get(CALENDAR)
    assert aware(Schedule.objects.first().next_slot)


def counted_steps(monkeypatch):
    """How many times of rules are worked out from now on."""
    steps, real = [], Timetable.slots_after

    def slots_after(table, moment):
        for slot in real(table, moment):
            steps.append(slot)
            yield slot

    monkeypatch.setattr(Timetable, "slots_after", slots_after)
    return steps


def test_a_dense_rule_is_recognised_after_a_few_steps(types, monkeypatch):
    every_minute = ",".join(map(str, range(60)))
    dense = [made(types, Cron(f"{every_minute} * * * *", "UTC"), f"dense {number}") for number in range(20)]
    steps = counted_steps(monkeypatch)
    runs, words = told(*dense)
    assert (runs, len(words)) == ({}, 20)
    assert len(steps) <= 20 * (calendar.OF_A_DAY + 1)


def test_all_schedules_together_take_a_bounded_number_of_steps(types, monkeypatch):
    monkeypatch.setattr(calendar, "TIMES", 200)
    thrice = [made(types, Cron("0 6,12,18 * * *", "UTC"), f"number {number}") for number in range(10)]
    steps = counted_steps(monkeypatch)
    runs, words = told(*thrice)
    assert len(steps) <= 210
    named = {entry.partition(" ")[2] for day in runs.values() for entry in day}
    assert named | {name for name, _words in words} == {schedule.name for schedule in thrice}
    assert len(named) == 2
