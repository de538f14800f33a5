"""The pages of schedules: list, form, preview, buttons, history."""

from __future__ import annotations

import datetime as dt
import re
from urllib.parse import urljoin

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse
from django.utils import timezone

from qorworker import At, Cron, Every, Plan, RowKeys, Schedule, job
from qorworker.maintenance.declared import sync_declared
from qorworker.models import AuditEntry, Job, ScheduleSlot
from qorworker.models.clock import aware
from qorworker.schedules.timetable import Slot
from tests.admin.support import compact, make_job, messages_of, superuser, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

MANAGE = ("qorworker.view_job", "qorworker.run_job", "qorworker.manage_schedule", "qorworker.view_job_arguments")
LIST = reverse("admin:qorworker_schedule_changelist")
DAILY = {
    "qw-name": "Greetings", "qw-shape": "daily", "qw-time": "06:30", "qw-zone": "Europe/Berlin", "qw-overlap": "skip",
    "qw-misfire": "latest", "qw-misfire_cap": "10", "qw-jitter": "0", "qw-unit": "minutes", "qw-number": "15",
    "qw-revision": "0",
}  # fmt: skip
GREET = {"subject": "Tea", "copies": "2", "mode": "plain"}


@pytest.fixture
def boss(client):
    client.force_login(superuser())
    return client


def add_url(name="tests.greet"):
    return f"{reverse('admin:qorworker_schedule_add')}?job={name}"


def url_of(schedule, end="change/"):
    return f"{LIST}{schedule.pk}/{end}"


def made(types, when=None, kind="greet", **more):
    arguments = {"subject": "Tea"} if kind == "greet" else {}
    return Schedule.objects.create_for(
        types[kind], when or Every(minutes=15), {**arguments, **more.pop("arguments", {})}, **more
    )


class TestQuestion:
    """What a job type wants to be confirmed before it runs."""

    def test_nothing_is_saved_before_it_is_answered(self, boss, types):
        page = text_of(boss.get(add_url("tests.asks")))
        assert "Everything will be deleted." in page
        page = text_of(boss.post(add_url("tests.asks"), DAILY))
        assert "Tick this to run it." in page
        assert not Schedule.objects.exists()
        boss.post(add_url("tests.asks"), {**DAILY, "qw-confirmed": "on"})
        assert Schedule.objects.get().job_name == "tests.asks"

    def test_a_type_without_a_question_asks_for_no_tick(self, boss, types):
        assert "qw-confirmed" not in text_of(boss.get(add_url()))

    def test_run_now_asks_and_starts_nothing_before_it_is_answered(self, boss, types):
        schedule = made(types, kind="asks")
        assert 'data-qw-ask="Everything will be deleted."' in text_of(boss.get(url_of(schedule)))
        page = text_of(boss.post(url_of(schedule, "run-now/"), {"qw-token": "7.token-of-sixteen-chars"}))
        assert "Everything will be deleted." in page
        assert 'value="7.token-of-sixteen-chars"' in page
        assert not Job.objects.exists()
        boss.post(url_of(schedule, "run-now/"), {"confirmed": "1"})
        assert Job.objects.get().schedule == schedule

    def test_run_now_for_many_shows_the_questions(self, boss, types):
        schedule = made(types, kind="asks")
        page = text_of(boss.post(LIST, {"action": "run_now", "_selected_action": [schedule.pk]}))
        assert "Everything will be deleted." in page
        assert not Job.objects.exists()


class TestForm:
    def test_one_chooses_a_job_and_fills_in_its_form(self, boss, types):
        page = text_of(boss.get(reverse("admin:qorworker_schedule_add")))
        assert "?job=tests.greet" in page
        assert "?job=tests.log_in" not in page  # nobody may choose a time for it
        page = text_of(boss.get(add_url()))
        assert 'name="subject"' in page
        assert 'name="qw-expression"' in page
        assert 'value="Send greetings"' in page

    def test_saved_it_waits_for_its_time(self, boss, types):
        response = boss.post(add_url(), {**GREET, **DAILY}, follow=True)
        assert messages_of(response) == ["“Greetings” was saved."]
        schedule = Schedule.objects.get()
        assert (schedule.kind, schedule.expression, schedule.zone) == ("cron", "30 6 * * *", "Europe/Berlin")
        assert schedule.arguments == {"subject": "Tea", "copies": 2, "mode": "plain"}
        assert schedule.created_by.username == "root"
        assert schedule.answerable == schedule.created_by
        assert "every day at 06:30" in text_of(response)

    @pytest.mark.parametrize(
        ("shape", "values", "stored"),
        [
            ("every", {"qw-number": "2", "qw-unit": "hours"}, {"interval": dt.timedelta(hours=2)}),
            ("weekly", {"qw-days": ["1", "3"]}, {"expression": "30 6 * * 1,3"}),
            ("monthly", {"qw-day": "31"}, {"expression": "30 6 31 * *"}),
            ("monthly", {"qw-day": "L"}, {"expression": "30 6 L * *"}),
            ("cron", {"qw-expression": " */5  * * * * "}, {"expression": "*/5 * * * *"}),
        ],
    )
    def test_each_shape_is_stored_and_comes_back(self, boss, types, shape, values, stored):
        boss.post(add_url(), {**GREET, **DAILY, "qw-shape": shape, **values})
        schedule = Schedule.objects.get()
        assert {name: getattr(schedule, name) for name in stored} == stored
        form = boss.get(url_of(schedule, "edit/")).context["forms"][0]
        if shape != "cron":
            assert form.initial["shape"] == shape
        boss.post(url_of(schedule, "edit/"), {**GREET, **DAILY, "qw-shape": shape, **values, "qw-revision": "1"})
        again = Schedule.objects.get()
        assert (again.next_slot, again.revision) == (schedule.next_slot, 2)

    def test_once_is_in_the_zone_that_was_chosen(self, boss, types):
        once = {"qw-shape": "once", "qw-at_0": "2999-07-01", "qw-at_1": "09:00:00", "qw-zone": "Asia/Tokyo"}
        boss.post(add_url(), {**GREET, **DAILY, **once})
        schedule = Schedule.objects.get()
        assert aware(schedule.next_slot).isoformat() == "2999-07-01T00:00:00+00:00"
        page = text_of(boss.get(url_of(schedule, "edit/")))
        assert 'value="2999-07-01"' in page
        assert 'value="09:00:00"' in page

    @pytest.mark.parametrize(
        ("values", "field", "text"),
        [
            ({"qw-shape": "cron", "qw-expression": "0 25 * * *"}, "expression", "Hour: “25” does not exist (0–23)."),
            ({"qw-shape": "cron", "qw-expression": "0 0 30 2 *"}, "expression", "This never fires"),
            ({"qw-shape": "cron", "qw-expression": "* * * * * *"}, "expression", "smallest step is one minute"),
            ({"qw-shape": "cron", "qw-expression": ""}, "expression", "Fill this in."),
            ({"qw-shape": "every", "qw-number": ""}, "number", "Fill this in."),
            ({"qw-shape": "every", "qw-number": "0"}, "number", "greater than or equal to 1"),
            ({"qw-shape": "weekly"}, "days", "Fill this in."),
            ({"qw-shape": "once"}, "at", "Fill this in."),
            (
                {"qw-shape": "once", "qw-at_0": "2026-03-29", "qw-at_1": "02:30"}, "at",
                "2026-03-29 02:30 does not exist in Europe/Berlin: clocks go forward to 03:00.",
            ),
            ({"qw-shape": "once", "qw-at_0": "9999-12-31", "qw-at_1": "02:30"}, "at", "too far away"),
            ({"qw-name": ""}, "name", "required"),
            ({"qw-zone": "Europe/Atlantis"}, "zone", "not one of the available choices"),
            ({"qw-jitter": "-1"}, "jitter", "greater than or equal to 0"),
            ({"qw-misfire_cap": "101"}, "misfire_cap", "less than or equal to 100"),
            ({"qw-start_0": "2026-02-02"}, "start", "Enter a valid time"),
        ],
    )  # fmt: skip
    def test_mistakes_are_told_at_their_field_and_nothing_is_lost(self, boss, types, values, field, text):
        response = boss.post(add_url(), {**GREET, **DAILY, **values})
        assert text in " ".join(response.context["forms"][0].errors[field])
        assert 'value="Tea"' in text_of(response)
        assert not Schedule.objects.exists()

    def test_arguments_of_an_older_version_are_shown_as_the_code_of_today_takes_them(self, boss, types):
        @job(name="tests.mail", version=2, upgrade=lambda arguments, version: {"address": arguments["to"]})
        def mail(address: str):
            pass

        schedule = Schedule.objects.create_for(mail, Every(minutes=15), {"address": "x@example.com"})
        Schedule.objects.update(arguments={"to": "ann@example.com"}, version=1)
        assert 'value="ann@example.com"' in text_of(boss.get(url_of(schedule, "edit/")))

    def test_errors_of_the_arguments_are_told_too(self, boss, types):
        response = boss.post(add_url(), {**GREET, "copies": "many", **DAILY})
        assert list(response.context["forms"][1].errors) == ["copies"]

    def test_a_name_that_is_taken_is_told(self, boss, types):
        made(types, name="Greetings")
        response = boss.post(add_url(), {**GREET, **DAILY})
        assert response.context["forms"][0].errors["name"] == ["A schedule called “Greetings” already exists."]

    def test_what_another_has_changed_meanwhile_is_not_overwritten_unasked(self, boss, types):
        schedule = made(types, name="Greetings")
        schedule.change(jitter=5)
        response = boss.post(url_of(schedule, "edit/"), {**GREET, **DAILY, "qw-revision": "1"})
        assert "changed this schedule in the meantime" in text_of(response)
        schedule.refresh_from_db()
        assert (schedule.jitter, schedule.revision) == (5, 2)
        boss.post(url_of(schedule, "edit/"), {**GREET, **DAILY, "qw-revision": "2"})
        schedule.refresh_from_db()
        assert (schedule.jitter, schedule.revision) == (0, 3)

    def test_a_secret_is_kept_unless_another_is_entered_and_never_shown(self, boss, types):
        root = get_user_model().objects.get()
        types["log_in"].schedulable = True
        schedule = made(
            types, kind="log_in", name="Greetings", arguments={"password": "opensesame"}, by=root, origin="admin"
        )
        page = text_of(boss.get(url_of(schedule, "edit/")))
        assert "opensesame" not in page
        assert "Leave this empty to keep what is stored." in page
        edited = {**DAILY, "qw-revision": "1", "user_name": "anna", "password": ""}
        assert boss.post(url_of(schedule, "edit/"), edited).status_code == 302
        schedule.refresh_from_db()
        load = types["log_in"].arguments.load
        assert load(schedule.arguments)["password"].get_secret_value() == "opensesame"
        assert schedule.arguments["user_name"] == "anna"
        boss.post(url_of(schedule, "edit/"), {**edited, "qw-revision": "2", "password": "closesesame"})
        schedule.refresh_from_db()
        assert load(schedule.arguments)["password"].get_secret_value() == "closesesame"

    def test_the_keys_of_rows_are_kept_that_no_form_shows(self, boss, types):
        @job(name="tests.only", title="Only some")
        def handler(shop: str = "Berlin", only: RowKeys | None = None):
            pass

        some = Schedule.objects.create_for(handler, Every(minutes=15), {"only": ["a", "b"]}, name="Greetings")
        edited = {**DAILY, "qw-revision": "1", "shop": "Riga"}
        assert boss.post(url_of(some, "edit/"), edited).status_code == 302
        some.refresh_from_db()
        assert some.arguments == {"shop": "Riga", "only": ["a", "b"]}
        copy = {**DAILY, "qw-name": "Copy", "shop": "Oslo"}
        assert boss.post(f"{add_url('tests.only')}&copy={some.pk}", copy).status_code == 302
        assert Schedule.objects.get(name="Copy").arguments == {"shop": "Oslo", "only": ["a", "b"]}

    @pytest.mark.parametrize("entered_by", ["anna", "code"])
    def test_nobody_carries_off_a_secret_of_another_person(self, boss, types, entered_by):
        types["log_in"].schedulable = True
        more = {"by": superuser("anna"), "origin": "admin" if entered_by == "anna" else "code"}
        given = {"password": "opensesame", "user_name": "anna"}
        schedule = made(types, kind="log_in", name="Greetings", arguments=given, **more)
        before = schedule.arguments
        edited = {**DAILY, "qw-revision": "1", "user_name": "evil", "password": ""}
        answer = boss.post(url_of(schedule, "edit/"), edited)
        assert "Enter this again: another person entered the stored value" in text_of(answer)
        boss.post(url_of(schedule, "run-now/"))
        schedule.refresh_from_db()
        assert schedule.arguments == before
        assert Job.objects.get().arguments == before
        # Another time is no other address, and what one enters oneself is one's own.
        assert boss.post(url_of(schedule, "edit/"), {**edited, "user_name": "anna"}).status_code == 302
        schedule.refresh_from_db()
        assert (schedule.arguments, schedule.revision) == (before, 2)
        edited = {**edited, "qw-revision": "2"}
        assert boss.post(url_of(schedule, "edit/"), {**edited, "password": "closesesame"}).status_code == 302
        edited = {**edited, "qw-revision": "3", "user_name": "ben"}
        assert boss.post(url_of(schedule, "edit/"), edited).status_code == 302
        schedule.refresh_from_db()
        assert schedule.arguments["user_name"] == "ben"

    def test_what_the_code_declares_is_changed_there(self, boss, types):
        schedule = made(types)
        Schedule.objects.update(declared_in_code=True)
        response = boss.get(url_of(schedule, "edit/"), follow=True)
        assert messages_of(response) == ["This schedule is declared in code: change it there."]
        assert "Change…" not in text_of(response)


class TestPreview:
    def told(self, boss, **values):
        answer = boss.post(reverse("admin:qorworker_schedule_preview", args=("tests.greet",)), {**DAILY, **values})
        assert answer.status_code == 200
        return compact(answer.json()["parts"]["preview"])

    def test_five_times_in_words_and_utc_and_nothing_is_stored(self, boss, types):
        html = self.told(boss)
        assert "every day at 06:30 (Europe/Berlin)" in html
        assert html.count("<tr><td>") == 5
        assert re.search(r"06:30 <span class=\"qw-quiet\">Europe/Berlin</span></td><td>[^<]*0[45]:30</td>", html)
        assert not Schedule.objects.exists()

    def test_utc_is_told_once(self, boss, types):
        html = self.told(boss, **{"qw-zone": "UTC"})
        assert re.search(r"06:30 <span class=\"qw-quiet\">UTC</span></td><td class=", html)

    def test_without_script_too(self, boss, types):
        response = boss.post(add_url(), {**GREET, **DAILY, "qw-preview": "Preview"})
        page = text_of(response)
        assert "every day at 06:30 (Europe/Berlin)" in page
        assert page.count("<tr><td>") == 5
        assert not Schedule.objects.exists()

    def test_a_time_that_clocks_leave_out_is_told(self, boss, types):
        assert "does not exist in Europe/Berlin: it will run at 03:00." in self.told(boss, **{"qw-time": "02:30"})
        assert "does not exist" not in self.told(boss, **{"qw-time": "04:30"})

    def test_errors_are_told_with_their_field(self, boss, types):
        html = self.told(boss, **{"qw-shape": "cron", "qw-expression": "0 25 * * *"})
        assert "Cron expression: Hour: “25” does not exist (0–23)." in html

    def test_a_single_time_that_is_past_runs_at_once(self, boss, types):
        once = {"qw-shape": "once", "qw-at_0": "2020-01-01", "qw-at_1": "09:00"}
        assert "This time is past: it will run at once." in self.told(boss, **once)

    def test_both_kinds_of_days_are_explained(self, boss, types):
        html = self.told(boss, **{"qw-shape": "cron", "qw-expression": "0 0 13 * 5"})
        assert "every day for which either is right" in html

    def test_the_same_times_of_the_same_job_are_told(self, boss, types):
        other = made(types, Cron("30 6 * * *", "Europe/Berlin"), name="Morning")
        assert "“Morning” runs the same job at the same times." in self.told(boss)
        assert "same times" not in self.told(boss, **{"qw-schedule": str(other.pk)})

    def test_what_ends_before_it_begins_never_runs(self, boss, types):
        html = self.told(boss, **{"qw-end_0": "2020-01-01", "qw-end_1": "00:00"})
        assert "It will never run" in html


class TestButtons:
    def test_pause_with_a_reason_and_an_end(self, boss, types):
        schedule = made(types)
        page = text_of(boss.get(url_of(schedule)))
        assert "Pause…" in page
        asked = {"qw-reason": "stocktaking", "qw-until_0": "2999-01-01", "qw-until_1": "00:00"}
        response = boss.post(url_of(schedule, "pause/"), asked, follow=True)
        assert messages_of(response) == ["It is paused."]
        schedule.refresh_from_db()
        assert (schedule.is_paused, schedule.paused_reason, schedule.paused_by.username) == (
            True,
            "stocktaking",
            "root",
        )
        assert "stocktaking" in text_of(response)
        assert "Resume" in text_of(response)

    def test_a_pause_that_cannot_be_is_told(self, boss, types):
        schedule = made(types)
        asked = {"qw-until_0": "2999-01-01", "qw-until_1": "soon"}
        response = boss.post(url_of(schedule, "pause/"), asked)
        assert response.status_code == 422
        assert "Enter a valid time" in text_of(response)
        response = boss.post(
            url_of(schedule, "pause/"), {"qw-until_0": "2020-01-01", "qw-until_1": "00:00"}, follow=True
        )
        assert messages_of(response) == ["A pause ends in the future."]
        schedule.refresh_from_db()
        assert not schedule.is_paused

    def test_resume(self, boss, types):
        schedule = made(types)
        schedule.pause()
        response = boss.post(url_of(schedule, "resume/"), follow=True)
        assert messages_of(response)[0].startswith(
            "It was resumed. What it missed meanwhile is not made up for. The next"
        )
        schedule.refresh_from_db()
        assert schedule.next_slot is not None

    def test_skip_the_next_time(self, boss, types):
        schedule = made(types)
        before = schedule.next_slot
        [message] = messages_of(boss.post(url_of(schedule, "skip-next/"), follow=True))
        assert re.fullmatch(r"The time [\w ,.:]+ is left out\. The next time is in [\w ]+\.", message)
        schedule.refresh_from_db()
        assert schedule.next_slot > before
        assert "A user asked to skip it." in text_of(boss.get(url_of(schedule)))

    def test_run_now(self, boss, types):
        schedule = made(types)
        response = boss.post(url_of(schedule, "run-now/"), follow=True)
        job = Job.objects.get()
        assert messages_of(response) == [f"Job #{job.pk} was queued. The next time stays as it is."]
        assert (job.schedule, job.created_by.username) == (schedule, "root")
        assert "by hand" in text_of(response)

    def test_who_may_schedule_but_not_run_starts_nothing_at_once(self, client, types):
        schedule = made(types, kind="by_code")
        client.force_login(user_with("qorworker.manage_schedule", "qorworker.view_job", name="may-schedule"))
        page = text_of(client.get(url_of(schedule)))
        assert "skip-next/" in page
        assert "run-now/" not in page
        assert client.post(url_of(schedule, "run-now/")).status_code == 403
        client.post(LIST, {"action": "run_now", "_selected_action": [schedule.pk], "confirmed": "1"})
        assert not Job.objects.exists()
        assert set(AuditEntry.objects.filter(outcome="denied").values_list("action", flat=True)) == {"run"}

    def test_run_now_clicked_twice_makes_one_job_and_from_the_next_page_another(self, boss, types):
        schedule = made(types)

        def token():
            return re.search(r'run-now/">.*?name="qw-token" value="([^"]+)"', text_of(boss.get(url_of(schedule))))[1]

        click = {"qw-token": token()}
        first, second = (messages_of(boss.post(url_of(schedule, "run-now/"), click, follow=True)) for _ in range(2))
        assert [first[0].endswith("The next time stays as it is."), second] == [True, ["This run was already started."]]
        assert (Job.objects.count(), AuditEntry.objects.filter(action="run schedule").count()) == (1, 1)
        boss.post(url_of(schedule, "run-now/"), {"qw-token": token()})
        assert Job.objects.count() == 2

    def test_each_button_leads_to_what_it_says(self, boss, types):
        schedule = made(types)
        page = url_of(schedule)
        actions = re.findall(r'<form method="post"\s+action="([^"]+)"', text_of(boss.get(page)))
        leads_to = {urljoin(page, action) for action in actions}
        assert {url_of(schedule, end) for end in ("run-now/", "skip-next/", "pause/")} <= leads_to
        boss.post(url_of(schedule, "pause/"))
        assert 'action="../resume/"' in text_of(boss.get(page))

    def test_what_cannot_be_done_now_changes_nothing(self, boss, types):
        schedule = made(types)
        response = boss.post(url_of(schedule, "resume/"), follow=True)
        assert "Nothing was changed." in messages_of(response)[0]
        assert AuditEntry.objects.filter(action="resume schedule").count() == 0

    def test_delete(self, boss, types):
        schedule = made(types)
        boss.post(url_of(schedule, "run-now/"))
        assert boss.get(url_of(schedule, "delete/")).status_code == 200
        response = boss.post(url_of(schedule, "delete/"), {"post": "yes"})
        assert response.url == LIST
        assert (Schedule.objects.count(), Job.objects.count()) == (0, 1)
        assert AuditEntry.objects.filter(action="delete schedule", user_name="root").count() == 1

    @pytest.mark.parametrize("end", ["pause/", "resume/", "skip-next/", "run-now/"])
    def test_only_a_post_changes_anything(self, boss, types, end):
        schedule = made(types)
        before = Schedule.objects.values().get()
        assert boss.get(url_of(schedule, end)).status_code == 405
        assert Schedule.objects.values().get() == before


class TestRights:
    @pytest.fixture
    def schedule(self, types):
        return made(types)

    @pytest.mark.parametrize("end", ["pause/", "resume/", "skip-next/", "run-now/", "edit/"])
    def test_who_may_only_look_is_refused_by_the_name_of_the_permission(self, client, schedule, end):
        client.force_login(user_with("qorworker.view_job", "qorworker.run_job"))
        response = client.post(url_of(schedule, end))
        assert response.status_code == 403
        assert "qorworker.manage_schedule" in text_of(response)
        assert f'<a href="{LIST}">Schedules</a>' in text_of(response)  # where it comes from
        assert AuditEntry.objects.filter(action="manage_schedule", outcome="denied").count() == 1
        assert not Job.objects.exists()

    def test_who_may_only_look_may_not_delete_and_that_is_on_record(self, client, schedule):
        client.force_login(user_with("qorworker.view_job", name="ann"))
        assert client.get(url_of(schedule, "delete/")).status_code == 403
        assert not AuditEntry.objects.filter(outcome="denied").exists()
        answer = client.post(url_of(schedule, "delete/"), {"post": "yes"})
        assert answer.status_code == 403
        assert "qorworker.manage_schedule" in text_of(answer)
        entry = AuditEntry.objects.get(action="manage_schedule", outcome="denied")
        assert (entry.schedule_id, entry.user_name) == (schedule.pk, "ann")
        assert Schedule.objects.filter(pk=schedule.pk).exists()

    def test_who_may_not_run_the_job_may_not_schedule_it(self, client, schedule):
        client.force_login(user_with("qorworker.view_job", "qorworker.manage_schedule"))
        assert client.post(url_of(schedule, "run-now/")).status_code == 403
        assert client.get(reverse("admin:qorworker_schedule_add")).status_code == 403

    def test_who_may_do_both_may(self, client, schedule):
        client.force_login(user_with(*MANAGE))
        assert client.post(url_of(schedule, "run-now/")).status_code == 302
        assert client.get(add_url()).status_code == 200
        assert client.get(url_of(schedule, "edit/")).status_code == 200

    def test_what_one_may_not_see_is_not_there(self, client, schedule):
        client.force_login(user_with("testapp.change_shop"))
        assert client.get(url_of(schedule)).status_code == 404
        assert client.post(url_of(schedule, "run-now/")).status_code == 404
        assert schedule.name not in text_of(client.get(LIST))

    def test_arguments_are_for_those_who_may_see_them(self, client, schedule):
        client.force_login(user_with("qorworker.view_job", "qorworker.manage_schedule", "qorworker.run_job"))
        assert "Tea" not in text_of(client.get(url_of(schedule)))
        assert client.get(url_of(schedule, "edit/")).status_code == 403

    def test_with_own_jobs_only_one_sees_ones_own(self, client, types, settings):
        settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
        user = user_with(*MANAGE)
        client.force_login(user)
        mine, other = made(types, by=user, name="mine"), made(types, name="theirs")
        page = text_of(client.get(LIST))
        assert ("mine" in page, "theirs" in page) == (True, False)
        assert (client.get(url_of(mine)).status_code, client.get(url_of(other)).status_code) == (200, 404)

    @pytest.mark.parametrize(("own_only", "suggested"), [(True, "Send greetings"), (False, "Send greetings 2")])
    def test_the_suggested_name_tells_only_of_visible_schedules(self, client, types, settings, own_only, suggested):
        settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": own_only}
        made(types, name="Send greetings")
        client.force_login(user_with(*MANAGE))
        assert f'value="{suggested}"' in text_of(client.get(add_url()))


class TestCopy:
    def test_the_form_starts_from_another_schedule_under_a_free_name(self, boss, types):
        source = made(types, Cron("30 6 * * 1-5", "Europe/Berlin"), name="mornings", overlap="wait", expires=90)
        page = text_of(boss.get(url_of(source)))
        assert f"add/?job=tests.greet&amp;copy={source.pk}" in page
        assert "1 min 30 s" in page
        form = boss.get(add_url() + f"&copy={source.pk}")
        for text in ('value="Tea"', "The form has what “mornings” has.", 'value="Send greetings"', 'value="1.5"'):
            assert text in text_of(form)
        assert form.context["preview"].words.startswith("Monday to Friday at 06:30")
        boss.post(add_url() + f"&copy={source.pk}", {**GREET, **DAILY, "qw-name": "copied", "qw-expires": "2.5"})
        copied = Schedule.objects.get(name="copied")
        assert (copied.arguments["subject"], copied.expires, copied.revision) == ("Tea", 150, 1)
        source.refresh_from_db()
        assert (source.name, source.revision) == ("mornings", 1)

    def test_one_that_the_code_declares_can_be_copied(self, boss, types):
        source = made(types, name="declared")
        Schedule.objects.update(declared_in_code=True)
        boss.post(add_url() + f"&copy={source.pk}", {**GREET, **DAILY, "qw-name": "mine"})
        assert not Schedule.objects.get(name="mine").declared_in_code

    @pytest.mark.parametrize("given", ["x", "999999", "-1", "9" * 30])
    def test_what_is_no_schedule_is_not_found(self, boss, types, given):
        assert boss.get(add_url() + f"&copy={given}").status_code == 404

    def test_one_of_another_type_or_that_one_may_not_see_is_not_found(self, boss, client, types):
        other, source = made(types, kind="open"), made(types)
        assert boss.get(add_url() + f"&copy={other.pk}").status_code == 404
        client.force_login(user_with("qorworker.view_job", "qorworker.run_job", "qorworker.manage_schedule"))
        assert client.get(add_url() + f"&copy={source.pk}").status_code == 404  # its arguments
        assert "copy=" not in text_of(client.get(url_of(source)))


class TestList:
    def test_it_tells_what_runs_when(self, boss, types):
        schedule = made(types, Cron("30 6 * * 1-5", "Europe/Berlin"), name="weekdays")
        job = make_job(types["greet"], "done", schedule=schedule)
        page = text_of(boss.get(LIST))
        for text in ("weekdays", "Send greetings", "Monday to Friday at 06:30", f"/job/{job.pk}/change/"):
            assert text in page

    def test_the_last_runs_are_a_strip_of_signs_that_words_tell_too(self, boss, types):
        schedule = made(types)
        now = timezone.now() if timezone.is_aware(timezone.now()) else aware(timezone.now())
        for state in ("done", "exception", "killed", "done", "running"):
            make_job(types["greet"], state, schedule=schedule)
        ScheduleSlot.objects.note(schedule, Slot(now, "a"), outcome="skipped", reason="overlap")
        page = text_of(boss.get(LIST))
        strip = re.search(r'<svg class="qw-runs".*?</svg>', page, re.DOTALL)[0]
        looks = ["done", "exception", "killed", "done", "running", "cancelled"]
        assert sorted(re.findall(r'data-look="(\w+)"', strip)) == sorted(looks)
        assert 'role="group" aria-label="Last runs: 2 Done, ' in strip
        assert all(f"1 {label}" in strip for label in ("Failed", "Aborted", "Running", "Skipped"))
        assert re.search(r"<title>Skipped, [^<]+: An earlier run had not ended\.</title>", strip)
        assert len(set(re.findall(r' d="([^"]+)"', strip))) == 5  # not by colour alone
        assert "style=" not in strip

    def test_jobs_that_one_may_not_see_have_no_sign(self, client, types, settings):
        settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
        user = user_with(*MANAGE)
        client.force_login(user)
        make_job(types["greet"], "exception", schedule=made(types, by=user))
        assert "qw-runs" not in text_of(client.get(LIST))

    def test_tabs(self, boss, types):
        made(types, name="first one")
        made(types, name="second one").pause()
        made(types, name="third one")
        Schedule.objects.filter(name="third one").update(needs_attention="Look.")
        for tab, names in {
            "": {"first", "second", "third"}, "active": {"first", "third"}, "paused": {"second"},
            "attention": {"third"}, "rubbish": {"first", "second", "third"},
        }.items():  # fmt: skip
            page = text_of(boss.get(LIST, {"tab": tab}))
            assert {name for name in ("first", "second", "third") if f"{name} one" in page} == names

    @pytest.mark.parametrize(
        ("ends", "is_failing"),
        [(["exception"], True), (["exception", "done"], False), (["done", "exception", "new"], True)],
    )
    def test_a_schedule_whose_last_run_failed_needs_attention(self, boss, types, ends, is_failing):
        schedule = made(types, name="first one")
        for status in ends:
            make_job(types["greet"], status, schedule=schedule)
        assert ("first one" in text_of(boss.get(LIST, {"tab": "attention"}))) == is_failing
        schedule.pause()
        assert "first one" not in text_of(boss.get(LIST, {"tab": "attention"}))

    def test_a_failed_run_that_one_may_not_see_asks_for_no_attention(self, client, types, settings):
        settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
        user = user_with(*MANAGE)
        client.force_login(user)
        make_job(types["greet"], "exception", schedule=made(types, by=user, name="first one"))
        assert "first one" not in text_of(client.get(LIST, {"tab": "attention"}))

    def test_search(self, boss, types):
        made(types, name="first one")
        made(types, name="second one")
        page = text_of(boss.get(LIST, {"q": "first"}))
        assert ("first one" in page, "second one" in page) == (True, False)

    def test_an_empty_list_leads_on(self, boss, types):
        assert "No job runs on a schedule yet." in text_of(boss.get(LIST))

    def test_an_empty_list_counts_what_the_code_declares_until_a_worker_has_started(self, boss, types):
        @job(name="tests.nightly", schedule=[Every(hours=1), Plan(Every(days=1), name="second")])
        def nightly():
            pass

        for url in (LIST, f"{LIST}calendar/"):
            page = text_of(boss.get(url))
            assert "The code declares 2 schedules. They appear here as soon as a worker has started." in page
            assert "No job runs on a schedule yet." not in page
        sync_declared("default")
        page = text_of(boss.get(LIST))
        assert "The code declares" not in page
        assert page.count("From code") == 2
        assert page.count('class="qw-badge">Active<') == 2  # a state; where it is from is none

    def test_an_empty_list_says_if_there_may_be_schedules_that_one_does_not_see(self, client, types, settings):
        made(types, name="hidden")
        client.force_login(user_with("testapp.change_shop"))
        assert "There are no schedules of jobs that you may see." in text_of(client.get(LIST))
        settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
        client.force_login(user_with("qorworker.view_job", name="bea"))
        for url in (LIST, f"{LIST}calendar/"):
            page = text_of(client.get(url))
            assert "You have no schedules. Those that other people made" in page
            assert "No job runs on a schedule yet." not in page

    def test_the_number_of_queries_does_not_grow(self, boss, types, django_assert_max_num_queries):
        for number in range(20):
            schedule = made(types, name=f"number {number}")
            make_job(types["greet"], "done", schedule=schedule)
        with django_assert_max_num_queries(20):
            boss.get(LIST)

    def test_a_type_and_a_zone_that_are_gone_break_no_page(self, boss, types):
        schedule = made(types, Cron("30 6 * * *", "Europe/Berlin"))
        Schedule.objects.update(job_name="gone.job", zone="Europe/Atlantis", needs_attention="<b>Look</b>")
        assert boss.get(LIST).status_code == 200
        page = text_of(boss.get(url_of(schedule)))
        assert "is no longer part of this project." in page
        assert "<b>Look</b>" not in page
        assert boss.get(url_of(schedule, "edit/")).status_code == 302


class TestHistory:
    def test_times_that_fired_and_those_that_did_not(self, boss, types):
        schedule = made(types)
        slots = ScheduleSlot.objects
        now = timezone.now() if timezone.is_aware(timezone.now()) else aware(timezone.now())
        job = make_job(types["greet"], "done", schedule=schedule)
        slots.note(schedule, Slot(now, "a"), outcome="fired", job=job)
        slots.note(schedule, Slot(now, "b"), outcome="skipped", reason="missed", missed=7)
        slots.note(schedule, Slot(now, "c"), outcome="skipped", reason="overlap")
        by_hand = make_job(types["greet"], "exception", schedule=schedule)
        page = text_of(boss.get(url_of(schedule)))
        for text in (
            f"#{job.pk}", f"#{by_hand.pk}", "by hand", "No worker was running at that time. (7 times from this one on)",
            "An earlier run had not ended.", "1 of 2 went well",
        ):  # fmt: skip
            assert text in page

    def test_jobs_that_one_may_not_see_are_not_told(self, client, types, settings):
        settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
        user = user_with(*MANAGE)
        client.force_login(user)
        schedule = made(types, by=user)
        job = make_job(types["greet"], "done", schedule=schedule)
        assert f"/job/{job.pk}/" not in text_of(client.get(url_of(schedule)))

    def test_what_was_done_by_whom(self, boss, types):
        schedule = made(types)
        boss.post(url_of(schedule, "pause/"), {"qw-reason": "holidays"})
        page = text_of(boss.get(url_of(schedule)))
        assert "Pause schedule" in page
        assert "holidays" in page


def test_a_single_time_that_has_been_says_so(boss, types):
    schedule = made(types, At(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))
    Schedule.objects.update(next_slot=None, next_key="")
    assert boss.get(url_of(schedule)).status_code == 200
    assert boss.get(LIST).status_code == 200


@pytest.mark.parametrize("page", [lambda schedule: LIST, lambda schedule: url_of(schedule)])
def test_a_time_in_the_zone_of_the_reader_names_it_beside_times_of_another(boss, types, page):
    later = {"qw-start_0": "2999-01-01", "qw-start_1": "00:00"}
    for zone, is_named in (("Asia/Tokyo", True), ("Europe/Berlin", False)):
        boss.post(add_url(), {**GREET, **DAILY, "qw-name": zone, "qw-zone": zone, **later})
        with timezone.override("Europe/Berlin"):
            html = text_of(boss.get(page(Schedule.objects.get(name=zone))))
        assert ("(Europe/Berlin)" in html.replace("every day at 06:30 (Europe/Berlin)", "")) is is_named
        Schedule.objects.all().delete()


def test_zones_are_offered_by_region_after_those_that_are_most_likely(boss, types):
    choice = boss.get(add_url()).context["forms"][0].fields["zone"]
    (title, likely), *regions = choice.choices
    assert (title, [name for name, _label in likely]) == ("Most likely", ["Europe/Berlin", "UTC"])
    names = [region for region, _zones in regions]
    assert names == sorted(names)
    assert {"Africa", "America", "Asia", "Europe"} < set(names)
    for region, zones in regions:
        assert zones == sorted(zones)
        assert all(name.startswith(f"{region}/") for name, _label in zones)
    page = text_of(boss.get(add_url()))
    assert page.count('<option value="Europe/Berlin" selected>') == 1
