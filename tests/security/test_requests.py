"""Requests that no page of ours would send: refused, ignored, answered without telling anything; never an error."""

from __future__ import annotations

import logging
import re

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse

import qorworker
from qorworker import Calendar, Every, Schedule
from qorworker.models import Attempt, AuditEntry, Job, LogLine, Origin, Preset
from tests.admin.filled_in import filled_in
from tests.admin.support import BASE, a_worker, in_state, make_job, page_of, stored, text_of, user_with
from tests.admin.test_run_form import token_of
from tests.security.matrix import MATRIX
from tests.security.people import READING, a_batch, a_calendar, a_message, a_rule, a_schedule, everything, told
from tests.security.walk import path, paths
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]

FOR_SCRIPTS = ("live", "json", "autocomplete", "list_json", "list_live")
CHANGING = [route for route, row in MATRIX.items() if row.changes]
RUN = BASE + "run/tests.greet/"
GREETING = {"subject": "Tea", "copies": "1", "mode": "plain", "qw-when": "now"}


@pytest.fixture
def own_json(types):
    def takes(data: dict) -> None:
        pass

    return qorworker.job(name="tests.takes")(takes)


def ready(route: str, types) -> tuple[str, dict[str, str]]:
    """The URL of a route that changes something, and the data with which it would."""
    row = MATRIX[route]
    job = in_state(types["greet"], row.state)
    about = subject(route, job, row.is_paused)
    url = path(route, pk=about.pk, object_id=about.pk, name=job.name)
    return url, row.sent(about.pk, job)


def subject(route: str, job: Job, is_paused: bool):
    """What a route is about."""
    kind = route.partition("/")[0]
    if kind == "batch":
        return a_batch(job)
    if kind == "calendar":
        return a_calendar()
    if kind == "schedule":
        return a_schedule(job, is_paused)
    if kind == "message":
        return a_message(job)
    if kind == "messagerule":
        return a_rule(job)
    if kind == "worker":
        worker = a_worker()
        if is_paused:
            worker.pause()
        return worker
    return job


# Who asks


@pytest.mark.parametrize("name", FOR_SCRIPTS)
@pytest.mark.parametrize("who", ["nobody", "expired", "no staff"])
def test_what_scripts_ask_for_tells_nothing_to_who_is_not_signed_in(types, client, name, who):
    job = make_job(types["greet"], "running", arguments=stored(types["greet"], subject="between us"))
    if who != "nobody":
        user = user_with(*READING)
        client.force_login(user)
        if who == "expired":
            Session.objects.all().delete()
        else:
            get_user_model().objects.update(is_staff=False)
    args = {"autocomplete": (job.name, "shop"), "list_json": (), "list_live": ()}.get(name, (job.pk,))
    answer = client.get(reverse(f"admin:qorworker_job_{name}", args=args))
    assert (answer.status_code, answer.json()) == (403 if who == "no staff" else 401, {})
    assert "no-store" in answer["Cache-Control"]


def test_a_right_that_was_taken_away_while_the_form_was_open_is_gone(types, client):
    user = user_with(*READING, "qorworker.run_job")
    client.force_login(user)
    token = token_of(client, RUN)
    user.user_permissions.clear()
    assert client.post(RUN, {**GREETING, "qw-token": token}).status_code == 404
    get_user_model().objects.update(is_active=False)
    assert client.post(RUN, {**GREETING, "qw-token": token}).status_code == 302  # to the login
    assert not Job.objects.exists()


def test_to_run_a_job_of_somebody_else_again_needs_the_right_to_both_and_names_who_did(types, client, root):
    job = make_job(types["greet"], "done", created_by=root, arguments=stored(types["greet"], subject="x"))
    for missing in ("qorworker.run_job", "qorworker.view_job_arguments"):
        rights = {*READING, "qorworker.run_job"} - {missing}
        client.force_login(user_with(*rights, name=f"without {missing}"))
        assert client.post(page_of(job, "run-again/")).status_code == 403
    ann = user_with(*READING, "qorworker.run_job", name="ann")
    client.force_login(ann)
    client.post(page_of(job, "run-again/"), {"confirmed": "1"})
    new = Job.objects.latest("pk")
    assert (new.rerun_of_id, new.created_by) == (job.pk, ann)
    assert AuditEntry.objects.of_job(new.pk).get().user_name == "ann"


def test_secrets_are_not_copied_to_who_runs_it_again(types, client, root):
    log_in = types["log_in"]
    job = log_in.using(user=root).enqueue(password="c4n4ry")
    Job.objects.update(status="done")
    client.force_login(user_with(*READING, "qorworker.run_job"))
    client.post(page_of(job, "run-again/"))
    assert Job.objects.count() == 1
    assert job.arguments["password"]["$secret"] not in text_of(client.get(f"{BASE}run/tests.log_in/?from={job.pk}"))


# From where, and how


@pytest.mark.parametrize("route", CHANGING)
@pytest.mark.parametrize("how", ["without a token", "from another site", "as plain text"])
def test_a_post_that_another_site_could_send_changes_nothing(types, root, route, how):
    client = Client(enforce_csrf_checks=True)
    client.force_login(root)
    url, data = ready(route, types)
    before = everything()
    if how == "from another site":
        client.cookies["csrftoken"] = "a" * 32
        answer = client.post(url, {**data, "csrfmiddlewaretoken": "a" * 32}, HTTP_ORIGIN="https://evil.example")
    elif how == "as plain text":
        answer = client.post(url, "confirmed=1", content_type="text/plain")
    else:
        answer = client.post(url, data)
    assert answer.status_code == 403
    assert everything() == before


@pytest.mark.parametrize("route", CHANGING)
def test_no_header_or_field_turns_one_method_into_another(types, visitor, route):
    url, data = ready(route, types)
    before = everything()
    for method in ("POST", "DELETE", "PUT"):
        visitor.get(url, {**data, "_method": method}, headers={"X-HTTP-Method-Override": method})
    assert everything() == before


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "javascript:alert(1)", "/\\evil.example"])
@pytest.mark.parametrize("route", CHANGING)
def test_no_answer_leads_to_another_site(types, visitor, route, target):
    for query in ("", f"?next={target}"):
        url, data = ready(route, types)
        answer = visitor.post(url + query, {**data, "next": target, "_next": target}, headers={"Referer": target})
        if query and url == BASE:  # which takes no parameter that it does not know
            assert answer.status_code == 400
        else:
            assert answer.url.startswith((BASE, reverse("admin:index")))
        if route.startswith("calendar/"):
            Calendar.objects.all().delete()  # the same name is taken only once


def test_every_page_forbids_to_be_framed(types, visitor):
    for url in paths(make_job(types["open"])):
        assert visitor.get(url)["X-Frame-Options"] == "DENY", url


@pytest.mark.parametrize(
    "query", ["q='; --", "q=%25", "q=_", "q=.*", "o=99", "o=-", "tab='", "job=' OR 1=1", "group=%25"]
)
def test_what_looks_like_sql_or_a_pattern_is_just_text(types, visitor, query):
    make_job(types["open"])
    answer = visitor.get(f"{BASE}?{query}", follow=True)
    assert answer.status_code == 200
    if not query.startswith(("o=", "tab=")):
        assert answer.context["cl"].result_count == 0


@pytest.mark.parametrize(
    "query", ["error__regex=(a%2B)%2B$", "created_by__username=x", "id__gt=1", "worker__host=x", "meta__form_token=x"]
)
def test_no_field_can_be_asked_for_by_its_name(types, visitor, query):
    assert visitor.get(f"{BASE}?{query}").status_code == 400


@pytest.mark.parametrize("page", ["999", "0", "-1", "x", "9" * 30])
def test_a_page_far_beyond_the_last_is_answered(types, visitor, page):
    make_job(types["open"])
    assert visitor.get(f"{BASE}?p={page}").status_code in (200, 302)


# What is brought in


@pytest.mark.parametrize(
    "name", ["os.system", "qorworker.models.Job", "tests.open ", "TESTS.OPEN", "..", "%00", "a" * 5000]
)
def test_only_registered_names_are_job_types(types, visitor, name):
    assert visitor.get(f"{BASE}run/{name}/").status_code == 404
    assert visitor.get(f"{BASE}catalogue/", {"job": name}).status_code == 200


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": NaN}', "Infinity", "[" * 100_000, "[" * 100_000 + "]" * 100_000, "9" * 1_000_000, '{"a": ' * 9000],
    ids=["nan", "infinity", "open", "deep", "long", "objects"],
)
def test_json_that_is_a_trap_is_refused_by_the_form(types, own_json, visitor, text):
    url = BASE + "run/tests.takes/"
    answer = visitor.post(url, {"data": text, "qw-when": "now", "qw-token": token_of(visitor, url)})
    assert answer.status_code == 200
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "planted",
    [{"__class__": "os.system"}, {"py/object": "os.system"}, {"py/reduce": ["os.system", "x"]}, 7, []],
)
def test_what_somebody_planted_in_the_arguments_is_shown_and_never_run(types, visitor, planted):
    job = make_job(types["greet"], "done", arguments={"subject": planted})
    for url in (BASE, page_of(job), page_of(job, "live/"), f"{RUN}?from={job.pk}"):
        assert visitor.get(url).status_code == 200
    assert not types["greet"].can_start(job)


@pytest.mark.parametrize("planted", ["text", 7, [], [[]], None])
def test_arguments_that_are_no_object_break_no_page(types, visitor, planted):
    job = make_job(types["greet"], "done")
    Job.objects.update(arguments=planted if planted is not None else {"subject": None})
    for url in (BASE, page_of(job), page_of(job, "live/"), f"{RUN}?from={job.pk}"):
        assert visitor.get(url).status_code == 200


INTERNALS = {
    "status": "done", "attempt_token": "x", "created_by": "99", "priority": "100", "queue_name": "mail", "id": "7",
    "name": "tests.open", "max_attempts": "50", "run_as": "root", "schedule": "1", "rerun_of": "7",
    "arguments": '{"subject": "y"}',
}  # fmt: skip


def test_fields_that_a_form_does_not_have_change_nothing(types, visitor, root):
    visitor.post(RUN, {**GREETING, **INTERNALS, "qw-token": token_of(visitor, RUN)})
    job = Job.objects.get()
    assert (job.name, job.status, job.created_by, job.max_attempts) == ("tests.greet", "new", root, 3)
    assert (job.priority, job.queue_name, job.rerun_of_id, job.arguments["subject"]) == (0, "default", None, "Tea")


def test_another_time_is_all_that_can_be_changed_of_a_scheduled_job(types, visitor):
    job = in_state(types["greet"], "scheduled", arguments=stored(types["greet"], subject="x"))
    before = Job.objects.values().get()
    visitor.post(page_of(job, "reschedule/"), {"qw-at_0": "2999-01-01", "qw-at_1": "09:00", **INTERNALS})
    after = Job.objects.values().get()
    assert {name for name in before if before[name] != after[name]} == {"run_after"}


def test_only_time_and_arguments_can_be_changed_of_a_job_that_waits(types, visitor):
    job = in_state(types["greet"], "scheduled", arguments=stored(types["greet"], subject="x"))
    before = Job.objects.values().get()
    shown = filled_in(visitor.get(page_of(job, "update/")))
    later = {"qw-when": "later", "qw-at_0": "2999-01-01", "qw-at_1": "09:00"}
    more = {**INTERNALS, "qw-priority": "9", "qw-queue_name": "mail"}
    sent = {**more, **shown, **later, "subject": "Tea"}
    assert visitor.post(page_of(job, "update/"), sent).status_code == 302
    after = Job.objects.values().get()
    assert {name for name in before if before[name] != after[name]} == {"run_after", "arguments", "form_tokens"}
    assert set(after["form_tokens"]) == {"changed"}
    assert after["arguments"] == {"subject": "Tea", "copies": 1, "mode": "plain"}


def test_what_a_form_carries_of_a_job_tells_nothing_of_its_secrets(types, visitor):
    job = in_state(types["log_in"], "scheduled", arguments=stored(types["log_in"], password="opensesame"))
    page = text_of(visitor.get(page_of(job, "update/")))
    assert "opensesame" not in page
    assert job.arguments["password"]["$secret"] not in page


# What is told


def test_a_line_of_the_log_cannot_pretend_to_be_two(types, visitor):
    job = make_job(types["open"], "done", log_lines=1)
    forged = "nothing happened\x1b[2K\u2028\u0085 2026-01-01 00:00:00.000 ERROR    forged"
    LogLine.objects.create(job=job, number=1, attempt=1, at=job.enqueued_at, level=20, text=forged)
    assert text_of(visitor.get(page_of(job, "log.txt"))).count("\n") == 1
    page = visitor.get(page_of(job)).content.decode()
    assert "\\u001b[2K\\u2028\\u0085" in page


def test_a_download_comes_in_pieces_and_is_noted_with_who_took_it(types, visitor, caplog):
    job = make_job(types["open"], "done")
    told(job)
    with caplog.at_level(logging.INFO, "qorworker.access"):
        for end in ("log.txt", "results.csv"):
            answer = visitor.get(page_of(job, end))
            assert answer.streaming
            assert answer["Content-Disposition"].startswith("attachment")
    assert [record.getMessage() for record in caplog.records if record.name == "qorworker.access"] == [
        f"'root' downloads {page_of(job, 'log.txt')}.",
        f"'root' downloads {page_of(job, 'results.csv')}.",
    ]


@pytest.mark.parametrize("name", ["file%0Anothing happened", "file%0D%E2%80%A8x", "%1b[2K", "file%E2%80%AE"])
def test_a_name_in_an_address_forges_no_line_of_the_access_log(types, visitor, caplog, name):
    job = make_job(types["upload"], "done")
    with caplog.at_level(logging.INFO, "qorworker.access"):
        assert visitor.get(page_of(job, f"file/{name}/")).status_code == 404
    [record] = [record for record in caplog.records if record.name == "qorworker.access"]
    assert record.getMessage().isprintable()
    assert "\\u" in record.getMessage()


def test_a_refused_request_forges_neither_a_line_of_the_log_nor_an_entry_of_the_audit(types, client, caplog):
    client.force_login(user_with(name="eve"))
    path = BASE + "1%E2%80%A8root is refused%00/delete/"  # Django itself takes no %0A
    with caplog.at_level(logging.INFO, "qorworker.access"):
        assert [client.post(path, {"post": "yes"}).status_code for _attempt in range(2)] == [403, 403]
    (entry,) = AuditEntry.objects.filter(outcome="denied")
    assert (entry.user_name, entry.action) == ("eve", "job delete")
    assert entry.details == {"path": BASE + "1\\u2028root is refused\\u0000/delete/"}
    (record,) = [record for record in caplog.records if record.name == "qorworker.access"]
    assert record.getMessage().isprintable()


def test_an_upload_with_a_hostile_name_is_given_out_under_a_harmless_one(types, visitor, settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path)
    given = stored(types["upload"], file=ContentFile(b"x", "a.csv"), shop=Shop.objects.create(name="Berlin"))
    given["file"]["name"] = 'a\r\nSet-Cookie: b="c\u202e'
    answer = visitor.get(page_of(make_job(types["upload"], "done", arguments=given), "file/file/"))
    assert answer.status_code == 200
    assert answer["Content-Disposition"].isprintable()
    assert "Set-Cookie" not in answer


def test_the_log_as_text_and_the_arguments_hide_and_reorder_nothing(types, visitor):
    hostile = "safe\u202etxt\x1b[2K"
    job = make_job(types["greet"], "exception", arguments={"subject": hostile, "copies": 1}, log_lines=1, error=hostile)
    LogLine.objects.create(job=job, number=1, attempt=1, at=job.enqueued_at, level=20, text=hostile)
    text = f"Traceback\n{hostile}\nValueError: {hostile}"
    Attempt.objects.create(
        job=job, number=1, started_at=job.enqueued_at, finished_at=job.enqueued_at, outcome="failed", error=hostile,
        traceback=text,
    )  # fmt: skip
    schedule = Schedule.objects.create_for(types["greet"], Every(hours=1), {"subject": hostile}, name="hostile")
    Preset.objects.create(job_name="tests.greet", name=hostile, is_shared=True, arguments={"subject": hostile})
    for url in (
        page_of(job, "log.txt"),
        page_of(job),
        BASE,
        BASE + "run/tests.greet/?from=" + str(job.pk),
        reverse("admin:qorworker_schedule_change", args=(schedule.pk,)),
        reverse("admin:qorworker_schedule_changelist"),
        reverse("admin:qorworker_schedule_add") + f"?job=tests.greet&copy={schedule.pk}",
    ):
        page = re.sub(r'value="[^"]*"|<textarea.*?</textarea>', "", text_of(visitor.get(url)), flags=re.DOTALL)
        assert "\u202e" not in page, url
        assert "\x1b" not in page, url
        if "/run/" not in url and "/schedule/" not in url:
            assert "safe\\u202etxt" in page, url


def test_the_record_outlives_user_and_job(types, visitor, root):
    job = in_state(types["open"], "new")
    visitor.post(page_of(job, "cancel/"), {"confirmed": "1"})
    visitor.post(page_of(job, "delete/"), {"post": "yes"})
    get_user_model().objects.filter(pk=root.pk).delete()
    assert not Job.objects.exists()
    entries = list(AuditEntry.objects.of_job(job.pk).values_list("action", "user_name", "job_name", "origin"))
    assert entries == [
        ("cancel", "root", "tests.open", "admin"),
        ("delete", "root", "tests.open", "admin"),
    ]


def test_what_code_and_people_do_is_told_apart(types, visitor, root):
    first, second = in_state(types["open"], "new"), in_state(types["open"], "new")
    first.cancel()
    visitor.post(page_of(second, "cancel/"), {"confirmed": "1"})
    told_of = [AuditEntry.objects.of_job(job.pk).get() for job in (first, second)]
    assert [(entry.origin, entry.user_name) for entry in told_of] == [(Origin.CODE, ""), (Origin.ADMIN, "root")]


@pytest.mark.parametrize("end", ["change/", "live/", "log.txt"])
def test_an_error_of_the_server_tells_nothing_of_it(types, root, monkeypatch, settings, end):
    settings.DEBUG = False
    visitor = Client(raise_request_exception=False)
    visitor.force_login(root)

    def broken(*args, **kwargs):
        raise RuntimeError("SELECT secret FROM settings")

    monkeypatch.setattr("qorworker.queries.site.one_job", broken)
    answer = visitor.get(page_of(make_job(types["open"]), end))
    assert answer.status_code == 500
    for word in ("RuntimeError", "SELECT", "Traceback", "settings"):
        assert word not in answer.content.decode()


def test_who_may_not_see_the_log_gets_no_traceback_from_any_page(types, client):
    job = make_job(types["open"], "exception", error="KeyError: deep-inside")
    told(job, "deep-inside")
    client.force_login(user_with("qorworker.view_job", "qorworker.view_job_arguments"))
    for url in (*paths(job), BASE):
        body = text_of(client.get(url))
        assert "deep-inside" not in body.replace("/deep-inside", ""), url
        assert "Traceback" not in body, url
