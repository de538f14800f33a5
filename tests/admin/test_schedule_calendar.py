"""The page with a month or a week of what schedules did and will do."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.urls import reverse

from qorworker import At, Calendar, Cron, Every, Schedule
from qorworker.admin.schedules import agenda as module
from qorworker.admin.schedules import calendar
from qorworker.admin.schedules.agenda import Agenda
from qorworker.models import Job, ScheduleSlot
from qorworker.models.clock import stored
from qorworker.queries import schedule_calendar
from qorworker.schedules.cron import zone_called
from qorworker.schedules.timetable import Timetable
from tests.admin.support import in_state, superuser, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

LIST = reverse("admin:qorworker_schedule_changelist")
CALENDAR = reverse("admin:qorworker_schedule_calendar")
NOON = dt.datetime(2026, 3, 20, 12, tzinfo=dt.UTC)  # a Friday
FIRST = dt.date(2026, 3, 16)


@pytest.fixture
def boss(client):
    client.force_login(superuser())
    return client


def made(types, when, name, kind="open", **more):
    more.setdefault("start", NOON - dt.timedelta(days=7))
    schedule = Schedule.objects.create_for(types[kind], when, name=name, **more)
    first = schedule.timetable.after(NOON)
    schedule.next_slot, schedule.next_key = (stored(first.moment), first.key) if first else (None, "")
    schedule.save()
    return schedule


def told(*schedules, first=FIRST, days=14, zone="UTC", now=NOON, usual=None):
    """What each day that has something has."""
    agenda = Agenda(first, days, zone_called(zone), now, usual or {})
    agenda.add_coming(schedules)
    found = {
        f"{day.date:%d.%m.}": [
            " ".join(filter(None, (f"{one.moment:%H:%M}", one.schedule.name, one.words, one.note)))
            for one in day.entries
        ]
        for day in agenda.finish()
    }
    return {date: entries for date, entries in found.items() if entries}


class TestToCome:
    def test_each_day_has_its_times_in_order(self, types):
        weekly = made(types, Cron("0 9 * * mon", "UTC"), "weekly")
        daily = made(types, Cron("30 6 * * 1,2", "UTC"), "daily")
        assert told(weekly, daily, days=10) == {
            "23.03.": ["06:30 daily", "09:00 weekly"],
            "24.03.": ["06:30 daily"],
        }

    def test_days_are_those_of_the_chosen_zone(self, types):
        late = made(types, Cron("30 23 * * fri", "UTC"), "late")
        assert told(late, days=7, zone="Asia/Tokyo") == {"21.03.": ["08:30 late"]}

    def test_many_times_of_a_day_are_one_entry(self, types):
        assert told(made(types, Every(minutes=5), "often"), first=dt.date(2026, 3, 21), days=2) == {
            "21.03.": ["00:00 often every 5 minutes, 288 times"],
            "22.03.": ["00:00 often every 5 minutes, 288 times"],
        }
        cron = made(types, Cron("*/5 9-17 * * 1-5", "UTC"), "cron")
        assert told(cron, first=dt.date(2026, 3, 22), days=2) == {
            "23.03.": ["09:00 cron */5 9-17 * * 1-5 (UTC), 108 times"]
        }

    def test_they_are_counted_on_the_days_on_which_clocks_change_and_from_now_on(self, types):
        often = made(types, Cron("*/5 * * * *", "Europe/Berlin"), "often")
        found = told(often, first=dt.date(2026, 3, 20), days=10, zone="Europe/Berlin")
        assert found["20.03."] == ["13:05 often every 5 minutes (Europe/Berlin), 131 times"]
        assert found["28.03."] == ["00:00 often every 5 minutes (Europe/Berlin), 288 times"]
        assert found["29.03."] == ["00:00 often every 5 minutes (Europe/Berlin), 276 times"]

    def test_one_that_is_due_is_there_now(self, types):
        once = made(types, At(dt.datetime(2999, 1, 1, tzinfo=dt.UTC)), "once")
        once.next_slot, once.next_key = stored(NOON - dt.timedelta(days=3)), "2026-03-17T12:00:00Z"
        assert told(once) == {"20.03.": ["12:00 once It is due."]}

    def test_clock_changes_and_times_that_they_leave_out_are_marked(self, types):
        night = made(types, Cron("30 2 * * *", "Europe/Berlin"), "night")
        agenda = Agenda(dt.date(2026, 3, 28), 3, zone_called("Europe/Berlin"), NOON, {})
        agenda.add_coming([night])
        days = agenda.finish()
        assert [day.change for day in days] == ["", "Clocks go forward by 1 h.", ""]
        assert [(f"{day.entries[0].moment:%H:%M}", day.entries[0].note) for day in days] == [
            ("02:30", ""), ("03:00", "02:30 does not exist in Europe/Berlin."), ("02:30", ""),
        ]  # fmt: skip

    def test_holidays_are_named(self, types):
        Calendar.objects.create(name="off").add(dt.date(2026, 3, 23), title="Works outing")
        left_out = made(types, Cron("0 6 * * mon", "UTC", calendar="off"), "left out")
        moved = made(types, Cron("0 6 * * mon", "UTC", calendar="off", on_holiday="after"), "moved")
        often = made(types, Every(minutes=15, calendar="off"), "often")
        assert told(left_out, moved, days=9) == {
            "23.03.": ["06:00 left out Left out: Works outing"],
            "24.03.": ["06:00 moved moved because of: Works outing"],
        }
        assert told(often, first=dt.date(2026, 3, 23), days=1) == {
            "23.03.": ["00:00 often every 15 minutes, 96 times Left out: Works outing"]
        }

    def test_runs_that_will_still_go_on_are_predicted(self, types):
        hourly = made(types, Cron("0 6,7 * * mon", "UTC"), "hourly")
        usual = {hourly.job_name: dt.timedelta(minutes=80)}
        assert told(hourly, days=9, usual=usual) == {
            "23.03.": [
                "06:00 hourly Will usually still run at the next time: it takes 1 h 20 min. Then: Skip it.",
                "07:00 hourly",
            ]
        }
        assert told(hourly, days=9, usual={hourly.job_name: dt.timedelta(minutes=60)})["23.03."][0] == "06:00 hourly"

    def test_what_cannot_be_read_is_not_there(self, types):
        broken = made(types, Cron("0 6 * * *", "UTC"), "broken")
        broken.zone = "Europe/Atlantis"
        assert told(broken) == {}


class TestBounds:
    @pytest.fixture
    def steps(self, monkeypatch):
        """How many times of rules are worked out from now on."""
        steps, real = [], Timetable.slots_after

        def slots_after(table, moment):
            for slot in real(table, moment):
                steps.append(slot)
                yield slot

        monkeypatch.setattr(Timetable, "slots_after", slots_after)
        return steps

    def test_one_of_each_second_takes_a_few_steps(self, types, steps):
        found = told(made(types, Every(seconds=1), "second"), first=dt.date(2026, 3, 21), days=7)
        assert set(map(tuple, found.values())) == {("00:00 second every second, 86,400 times",)}
        assert len(steps) <= 7 * (module.SINGLE + 3)

    def test_very_many_take_a_bounded_number_of_steps_and_all_are_named(self, types, steps, monkeypatch):
        monkeypatch.setattr(module, "STEPS", 300)
        dense = [made(types, Cron("0-58 * * * *", "UTC"), f"dense {number:02}") for number in range(30)]
        agenda = Agenda(dt.date(2026, 3, 23), 42, zone_called("UTC"), NOON, {})
        agenda.add_coming(dense)
        assert len(steps) < 1000
        drawn = {entry.schedule.name for day in agenda.finish() for entry in day.entries}
        assert drawn | {schedule.name for schedule, _words in agenda.not_drawn} == {each.name for each in dense}
        assert len(drawn) < 10


class TestPast:
    def past(self, schedule, day, state="done", **fields):
        planned = stored(dt.datetime(2026, 3, day, 6, tzinfo=dt.UTC))
        job = None
        if state:
            job = in_state(schedule.job_type, state, schedule=schedule)
            fields["outcome"] = "fired"
        return ScheduleSlot.objects.create(
            schedule=schedule, revision=1, slot=f"{day} {fields}"[:32], planned_at=planned, fired_at=planned, job=job,
            **fields,
        )  # fmt: skip

    def page(self, boss, **more):
        return text_of(boss.get(CALENDAR, {"date": "2026-03-20", "zone": "UTC", **more}))

    def test_signs_lead_to_the_jobs(self, boss, types):
        schedule = made(types, Cron("0 6 * * *", "UTC"), "daily")
        done, failed = self.past(schedule, 17).job, self.past(schedule, 18, "exception").job
        page = self.page(boss)
        for job, label in ((done, "Done"), (failed, "Failed")):
            url = reverse("admin:qorworker_job_change", args=[job.pk])
            assert re.search(rf'href="{url}" title="{label}"', page)

    def test_times_without_a_job_say_why(self, boss, types):
        schedule = made(types, Cron("0 6 * * *", "UTC"), "daily")
        self.past(schedule, 17, "", outcome="skipped", reason="missed", missed=3)
        self.past(schedule, 18, "", outcome="skipped", reason="holiday", holiday="Works outing")
        page = self.page(boss)
        assert "No worker was running at that time. (3 times)" in page
        assert "Works outing" in page

    def test_a_job_that_one_may_not_see_is_not_named(self, client, types, settings):
        settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
        user = user_with("qorworker.view_job")
        schedule = made(types, Cron("0 6 * * *", "UTC"), "daily", by=user)
        job = self.past(schedule, 17).job
        client.force_login(user)
        page = self.page(client)
        assert "daily" in page
        assert f"#{job.pk}" not in page

    def test_many_of_a_day_are_one_entry_with_their_numbers(self, boss, types):
        schedule = made(types, Every(minutes=5), "often")
        for number in range(6):
            slot = self.past(schedule, 17, "exception" if number == 3 else "done")
            ScheduleSlot.objects.filter(pk=slot.pk).update(slot=f"t{number}")
        assert "5 × Done, 1 × Failed" in self.page(boss)

    def test_the_rows_are_few_whatever_the_table_holds(self, types, monkeypatch):
        monkeypatch.setattr(schedule_calendar, "EACH", 2)
        monkeypatch.setattr(schedule_calendar, "LEAST", 2)
        schedule = made(types, Every(days=1), "daily")
        for day in (16, 17, 18):
            self.past(schedule, day)
        times, had_more = schedule_calendar.past_times(
            [schedule.pk], NOON - dt.timedelta(days=9), NOON, Job.objects.all()
        )
        assert [time.moment.day for time in times] == [17, 18]
        assert had_more == {schedule.pk}


class TestPage:
    def test_it_leads_to_schedules_and_says_what_is_missing(self, boss, types, monkeypatch):
        for number in range(3):
            Schedule.objects.create_for(types["open"], Cron(f"{number} 6 * * *"), name=f"number {number}")
        still = Schedule.objects.create_for(types["open"], Every(days=1), name="still")
        still.pause()
        page = text_of(boss.get(CALENDAR, {"view": "week"}))
        assert f'href="{CALENDAR}"' in text_of(boss.get(LIST))
        assert "1 paused schedule will not run." in page
        monkeypatch.setattr(calendar, "MOST", 2)
        assert "Only 2 schedules are shown" in text_of(boss.get(CALENDAR))
        Schedule.objects.all().delete()
        assert "No job runs on a schedule yet." in text_of(boss.get(CALENDAR))

    def test_months_and_weeks_lead_to_those_beside_them(self, boss, types):
        made(types, Cron("0 6 * * *", "UTC"), "daily")
        month = text_of(boss.get(CALENDAR, {"date": "2026-12-31", "zone": "UTC", "type": types["open"].name}))
        assert "December 2026" in month
        beside = f"zone=UTC&amp;type={types['open'].name}"
        assert f'rel="prev" href="?view=month&amp;date=2026-11-01&amp;{beside}"' in month
        assert f'rel="next" href="?view=month&amp;date=2027-01-01&amp;{beside}"' in month
        week = text_of(boss.get(CALENDAR, {"date": "2026-12-31", "zone": "UTC", "view": "week"}))
        assert 'rel="next" href="?view=week&amp;date=2027-01-07&amp;zone=UTC"' in week

    @pytest.mark.parametrize(
        ("parameter", "value", "sentence"),
        [
            ("date", "yesterday", "“yesterday” is not a date that can be shown."),
            ("date", "9999-12-31", "“9999-12-31” is not a date that can be shown."),
            ("date", "0001-01-01", "“0001-01-01” is not a date"),
            ("zone", "Mars/Olympus", "The time zone “Mars/Olympus” does not exist."),
            ("view", "year", "There is a month and a week, but not “year”."),
        ],
    )
    def test_what_the_address_says_wrongly_is_said(self, boss, types, parameter, value, sentence):
        answer = boss.get(CALENDAR, {parameter: value})
        assert (answer.status_code, sentence in text_of(answer)) == (200, True)

    @pytest.mark.parametrize("date", ["1971-01-01", "2198-12-31"])
    def test_the_first_and_the_last_month_can_be_shown(self, boss, types, date):
        made(types, Cron("0 6 * * *", "UTC"), "daily")
        assert boss.get(CALENDAR, {"date": date}).status_code == 200

    def test_it_shows_only_what_one_may_see(self, client, types):
        made(types, Every(days=1), "not for you")
        made(types, Every(days=1), "mine", kind="by_name")
        client.force_login(user_with("testapp.change_shop"))
        page = text_of(client.get(CALENDAR))
        assert ("mine" in page, "not for you" in page) == (True, False)

    def test_a_type_narrows_it(self, boss, types):
        made(types, Every(days=1), "one")
        made(types, Every(days=1), "two", kind="by_name")
        page = text_of(boss.get(CALENDAR, {"type": types["by_name"].name}))
        assert (">two<" in page.replace(" ", "").replace("\n", ""), "one</a>" in page) == (True, False)
        assert "No schedule matches." in text_of(boss.get(CALENDAR, {"type": "gone"}))

    def test_the_number_of_queries_does_not_grow(self, boss, types, django_assert_max_num_queries):
        Calendar.objects.create(name="off")
        for number in range(20):
            made(types, Every(days=1, calendar="off"), f"number {number}")
        with django_assert_max_num_queries(20):
            boss.get(CALENDAR)
