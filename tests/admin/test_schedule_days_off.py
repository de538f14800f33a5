"""Days off in the form, the preview and the pages of a schedule; and the way from a run form to a schedule."""

from __future__ import annotations

import datetime as dt

import pytest
from django.urls import reverse

from qorworker import Calendar, Cron, Every, Schedule
from qorworker.admin.display import qw_moment
from qorworker.models import Job, ScheduleSlot
from qorworker.models.clock import stored
from tests.admin.support import compact, superuser, text_of, user_with
from tests.admin.test_schedules import DAILY, GREET, add_url, url_of

pytestmark = [pytest.mark.django_db, pytest.mark.once]

RUN = reverse("admin:qorworker_job_run", args=["tests.greet"])


@pytest.fixture
def boss(client):
    client.force_login(superuser())
    return client


@pytest.fixture
def off():
    return Calendar.objects.create(name="off", title="Days off", weekdays="7")


class TestForm:
    def test_calendar_and_rule_are_stored_and_come_back(self, boss, types, off):
        chosen = {"qw-calendar": "off", "qw-on_holiday": "after"}
        assert boss.post(add_url(), {**GREET, **DAILY, **chosen}).status_code == 302
        schedule = Schedule.objects.get()
        assert (schedule.calendar, schedule.on_holiday) == ("off", "after")
        form = boss.get(url_of(schedule, "edit/")).context["forms"][0]
        assert (form.initial["calendar"], form.initial["on_holiday"]) == ("off", "after")

    @pytest.mark.parametrize(
        ("values", "field", "text"),
        [
            ({"qw-calendar": "other"}, "calendar", "not one of the available choices"),
            ({"qw-on_holiday": "before"}, "on_holiday", "Choose a calendar for this."),
            (
                {"qw-calendar": "off", "qw-shape": "once", "qw-at_0": "2999-01-01", "qw-at_1": "09:00"},
                "on_holiday", "What runs once follows no calendar.",
            ),
            (
                {"qw-calendar": "off", "qw-on_holiday": "after", "qw-shape": "every", "qw-number": "5"},
                "on_holiday", "Only an interval of whole days",
            ),
        ],
    )  # fmt: skip
    def test_what_does_not_go_together_is_told_at_its_field(self, boss, types, off, values, field, text):
        answer = boss.post(add_url(), {**GREET, **DAILY, "qw-unit": "minutes", **values})
        assert text in " ".join(answer.context["forms"][0].errors[field])
        assert not Schedule.objects.exists()

    def test_a_calendar_that_is_gone_is_not_dropped_in_silence(self, boss, types, off):
        boss.post(add_url(), {**GREET, **DAILY, "qw-calendar": "off"})
        schedule = Schedule.objects.get()
        off.delete()
        assert "off, which does not exist" in text_of(boss.get(url_of(schedule, "edit/")))
        answer = boss.post(url_of(schedule, "edit/"), {**GREET, **DAILY, "qw-calendar": "off", "qw-revision": "1"})
        assert "The calendar “off” does not exist." in " ".join(answer.context["forms"][0].errors["calendar"])

    def test_the_preview_has_moved_times_and_names_days_off(self, boss, types, off):
        preview = reverse("admin:qorworker_schedule_preview", args=("tests.greet",))
        weekly = {**DAILY, "qw-shape": "weekly", "qw-days": ["6", "7"], "qw-calendar": "off"}
        html = compact(boss.post(preview, weekly).json()["parts"]["preview"])
        assert html.count("<tr><td>") == 5
        assert "Not on:" in html
        assert "(Sunday)" in html
        moved = compact(boss.post(preview, {**weekly, "qw-on_holiday": "after"}).json()["parts"]["preview"])
        assert "instead of" in moved
        assert "Not on:" not in moved


class TestPages:
    def test_the_page_has_the_calendar_and_what_was_left_out_or_moved(self, client, types, off):
        rule = Cron("0 6 * * *", "UTC", calendar="off", on_holiday="before")
        schedule = Schedule.objects.create_for(types["open"], rule, name="daily")
        at = stored(dt.datetime(2026, 3, 1, 6, tzinfo=dt.UTC))
        fields = {"schedule": schedule, "revision": 1, "planned_at": at, "fired_at": at}
        ScheduleSlot.objects.create(
            slot="a", outcome="skipped", reason="holiday", holiday="Works outing", missed=1, **fields
        )
        ScheduleSlot.objects.create(slot="b", outcome="fired", holiday="Christmas", **fields)
        client.force_login(user_with("qorworker.view_job"))
        page = compact(text_of(client.get(url_of(schedule, "change/"))))
        assert "It was on a day off. Works outing" in page
        assert "moved because of: Christmas" in page
        assert "Run it on the last working day before" in page
        calendar_url = reverse("admin:qorworker_calendar_change", args=[off.pk])
        assert calendar_url not in page
        client.force_login(superuser())
        assert calendar_url in text_of(client.get(url_of(schedule)))

    def test_the_list_tells_the_next_time_that_runs(self, boss, types, off):
        rule = Cron("0 6 * * sat,sun", "UTC", calendar="off")
        schedule = Schedule.objects.create_for(types["open"], rule, name="weekend")
        assert schedule.next_run.isoweekday() == 6
        sunday = next(slot for slot in schedule.next_slots() if slot.is_left_out)
        schedule.next_slot, schedule.next_key = stored(sunday.moment), sunday.key
        schedule.save()
        page = text_of(boss.get(reverse("admin:qorworker_schedule_changelist")))
        assert str(qw_moment(schedule.next_run)) in page
        assert str(qw_moment(schedule.next_slot)) not in page

    def test_signs_of_the_last_runs_lead_to_their_jobs(self, boss, types):
        schedule = Schedule.objects.create_for(types["open"], Every(days=1), name="daily")
        job = schedule.run_now()
        url = reverse("admin:qorworker_job_change", args=[job.pk])
        page = text_of(boss.get(reverse("admin:qorworker_schedule_changelist")))
        assert f'<a href="{url}" tabindex="-1"' in page


class TestFromTheRunForm:
    def sent(self, boss, **values):
        return boss.post(add_url(), {"qw-token": "0.x", "qw-when": "now", "qw-from-run": "x", **GREET, **values})

    def test_the_button_opens_the_form_with_what_was_filled_in(self, boss, types):
        page = text_of(boss.get(RUN))
        assert f'formaction="{add_url()}"' in page
        answer = self.sent(boss, subject="Earl Grey", mode="rich")
        page = text_of(answer)
        assert 'value="Earl Grey"' in page
        assert "The form has the arguments of the run form." in page
        assert "Nothing was saved" not in page
        assert not Schedule.objects.exists()
        assert not Job.objects.exists()
        boss.post(add_url(), {**GREET, "subject": "Earl Grey", **DAILY})
        assert Schedule.objects.get().arguments["subject"] == "Earl Grey"

    def test_what_does_not_fit_is_told_and_left_out(self, boss, types):
        page = text_of(self.sent(boss, copies="many"))
        assert "The value for “Copies” does not fit; it was ignored." in page

    def test_a_secret_is_not_carried_along(self, boss, types):
        types["log_in"].schedulable = True
        answer = boss.post(add_url("tests.log_in"), {"qw-from-run": "x", "password": "opensesame", "user_name": "anna"})
        page = text_of(answer)
        assert "opensesame" not in page
        assert 'value="anna"' in page

    def test_without_the_right_there_is_no_button_and_no_form(self, client, types):
        client.force_login(user_with("qorworker.run_job"))
        assert "qw-from-run" not in text_of(client.get(RUN))
        assert self.sent(client).status_code == 403

    def test_types_that_cannot_be_scheduled_have_no_button(self, boss, types):
        types["greet"].schedulable = False
        try:
            assert "qw-from-run" not in text_of(boss.get(RUN))
        finally:
            types["greet"].schedulable = True
