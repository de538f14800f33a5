"""The dashboard shows how jobs end, and to each user only of jobs that they may see."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.template import Context, Template
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path, resolve
from django.utils import timezone

from qorworker import Every, Schedule
from qorworker.actions.summarising import summarise
from qorworker.admin.schedules.admin import ScheduleAdmin
from qorworker.models import Attempt, Job, Outcome, Worker, database_now
from tests.admin.support import BASE, XSS, a_worker, in_state, make_job, page_of, text_of, user_with
from tests.models.rows import ended
from tests.support import ROOT

pytestmark = pytest.mark.django_db

BOARD = BASE.replace("job/", "")
LIVE = BASE + "dashboard/live/"
FAILURES = BASE + "failures/"
LOOKING = ("qorworker.view_job", "qorworker.view_job_log")


@pytest.fixture
def now():
    return database_now("default")


@pytest.fixture
def history(types, now):
    """Three doors done and one failed, two greetings aborted; all within the last hours."""
    for hours in (0, 1, 2):
        ended(name="tests.open", at=now - dt.timedelta(hours=hours, seconds=1))
    ended(Outcome.FAILED, name="tests.open", error="builtins.KeyError")
    for _ in range(2):
        ended(Outcome.ABORTED, name="tests.greet", queue_name="mail")
    summarise("default")


def table(page: str, key: str) -> list[list[str]]:
    """The cells of a chart's table that say something, row by row."""
    chart = page[page.index(f'aria-labelledby="qw-{key}"') :]
    chart = chart[chart.index("<tbody>") : chart.index("</tbody>")]
    rows = [re.findall(r"<t[hd][^>]*>(?:<a[^>]*>)?([^<]*)", row) for row in chart.split("<tr>")[1:]]
    return [row[1:] for row in rows if any(cell not in ("0", "—") for cell in row[1:])]


def attention(page: str) -> list[str]:
    part = page[page.index('id="qw-attention"') :] if 'id="qw-attention"' in page else ""
    return re.findall(r"<li>(?:<a[^>]*>)?([^<]*)", part[: part.index("</ul>")]) if part else []


def marks(page: str, key: str) -> list[tuple[str, str]]:
    """The links in a chart: what they say, and where they lead."""
    chart = page[page.index(f'aria-labelledby="qw-{key}"') :]
    chart = chart[chart.index("<svg") : chart.index("</svg>")]
    return [
        (label, url.replace("&amp;", "&"))
        for url, label in re.findall(r'<a href="([^"]*)" aria-label="([^"]*)"', chart)
    ]


# What it shows


def test_ends_are_drawn_and_listed_by_hour(history, visitor):
    page = text_of(visitor.get(BOARD))
    assert sorted(table(page, "ends")) == [["1", "0", "0", "0"], ["1", "0", "0", "0"], ["1", "1", "2", "0"]]
    told = [label for label, _url in marks(page, "ends")]
    assert len(told) == 3
    assert told[-1].endswith("Done: 1, Failed: 1, Aborted: 2")
    assert "<desc" in page
    assert "6 jobs have ended. Done: 3, Failed: 1, Aborted: 2" in page


def test_waiting_and_run_times_are_those_of_the_jobs(types, visitor):
    ended(name="tests.open", waited=2.2, ran=60.0)
    summarise("default")
    page = text_of(visitor.get(BOARD))
    # The middle of the bucket: right to within a fifth.
    assert table(page, "waits") == [["2.4 s", "2.4 s"]]
    assert table(page, "runs") == [["55 s", "55 s"]]


def test_what_nobody_has_added_up_yet_is_shown_already(types, visitor):
    ended(name="tests.open")
    assert table(text_of(visitor.get(BOARD)), "ends") == [["1", "0", "0", "0"]]
    summarise("default")
    assert table(text_of(visitor.get(BOARD)), "ends") == [["1", "0", "0", "0"]]


def test_it_is_shown_however_far_the_ids_have_come(types, visitor):
    ended(name="tests.open")
    Attempt.objects.update(id=10_000_000)
    assert table(text_of(visitor.get(BOARD)), "ends") == [["1", "0", "0", "0"]]


@pytest.mark.parametrize(("key", "hours", "is_shown"), [
    ("1h", 0.5, True), ("1h", 2, False), ("24h", 2, True), ("24h", 26, False), ("7d", 150, True), ("7d", 180, False),
    ("30d", 600, True), ("30d", 750, False),
])  # fmt: skip
def test_each_range_has_its_time_and_no_more(types, visitor, now, key, hours, is_shown):
    ended(name="tests.open", at=now - dt.timedelta(hours=hours))
    summarise("default")
    page = text_of(visitor.get(BOARD, {"range": key}))
    assert bool(table(page, "ends")) is is_shown
    assert page.count('aria-current="true"') == 2  # the range, and the place in the navigation


def test_type_and_queue_narrow_all_figures(history, visitor):
    page = text_of(visitor.get(BOARD, {"job": "tests.greet"}))
    assert table(page, "ends") == [["0", "0", "2", "0"]]
    assert table(text_of(visitor.get(BOARD, {"queue": "mail"})), "ends") == [["0", "0", "2", "0"]]
    assert table(text_of(visitor.get(BOARD, {"queue": "mail", "job": "tests.open"})), "ends") == []
    assert '<option value="tests.greet" selected>' in page


@pytest.mark.parametrize("name", ["range", "job", "queue"])
def test_what_does_not_exist_is_named_and_left_out(history, visitor, name):
    page = text_of(visitor.get(BOARD, {name: "no-such"}))
    assert f"{name}: there is no “no-such” here; it was left out." in page
    assert len(table(page, "ends")) == 3


def test_what_is_now_is_counted(types, visitor, now):
    a_worker(slots=4)
    make_job(types["open"], "new")
    make_job(types["open"], "running")
    make_job(types["open"], "scheduled")
    page = text_of(visitor.get(BOARD))
    for text in ("1 queued (the oldest due", "1 running", "1 scheduled (the next in", "1 worker, 4 slots"):
        assert text in page


def test_what_needs_attention_is_named_and_leads_there(history, visitor, types, root):
    in_state(types["open"], "silent")
    schedule = Schedule.objects.create_for(types["open"], Every(days=1), name="odd")
    Schedule.objects.filter(pk=schedule.pk).update(needs_attention="Something is wrong.")
    page = text_of(visitor.get(BOARD))
    assert attention(page) == [
        "1 job is not responding", "1 job failed (24 hours)", "1 schedule needs attention",
    ]  # fmt: skip
    assert f'href="{BASE}?tab=not_responding"' in page


def test_all_is_well_without_a_word(types, visitor):
    page = text_of(visitor.get(BOARD))
    assert attention(page) == []
    assert "No job has failed in this time." in page
    assert page.count("No job has ended in this time.") == 4


def test_what_starts_next_and_ones_own_jobs_are_listed(types, visitor, root):
    Schedule.objects.create_for(types["greet"], Every(days=1), {"subject": "tea"}, name="daily", by=root)
    job = make_job(types["open"], "scheduled", created_by=root)
    page = text_of(visitor.get(BOARD))
    assert page.index("Coming up") < page.index(f"#{job.pk}</span>") < page.index("My jobs")
    assert page.count(page_of(job)) == 2
    assert f'href="{BASE}?user=me"' in page


def test_links_lead_to_the_jobs_that_were_counted(history, visitor):
    make_job("tests.open", "exception", error="KeyError: old", finished_at=timezone.now() - dt.timedelta(days=3))
    Job.objects.filter(status="exception", error="").update(error="KeyError: 'sku'")
    page = text_of(visitor.get(BOARD))
    for label, url in marks(page, "ends"):
        number = sum(map(int, re.findall(r": (\d+)", label)))
        assert visitor.get(url).context["cl"].result_count == number, label
    failed = re.search(r'href="([^"]*)">KeyError: 1', page)[1].replace("&amp;", "&")
    assert visitor.get(failed).context["cl"].result_count == 1


def test_marks_can_be_told_apart_without_colours_and_the_page_has_no_inline_style(history, visitor):
    page = text_of(visitor.get(BOARD))
    assert page.count('fill="url(#qw-fill-failed)"') == 2  # a bar, and the legend
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]*src=)(?![^>]*application/json)", page)


def test_titles_that_could_be_markup_are_text(types, visitor):
    ended(Outcome.FAILED, name=XSS, error=f"app.{XSS}")
    summarise("default")
    for url in (BOARD, FAILURES):
        assert XSS not in text_of(visitor.get(url))


def test_the_models_are_still_listed(types, visitor):
    page = text_of(visitor.get(BOARD))
    for name in ("batch", "job", "queue", "schedule", "worker"):
        assert f'href="{BOARD}{name}/"' in page[page.index('class="qw-models"') :]


# Live


def test_an_open_page_asks_every_half_a_minute_for_the_same_figures(history, visitor):
    page = text_of(visitor.get(BOARD, {"range": "7d", "job": "tests.open"}))
    url = re.search(r'data-qw-every="30" data-qw-live="([^"]*)"', page)[1].replace("&amp;", "&")
    assert url == f"{LIVE}?range=7d&job=tests.open"
    news = visitor.get(url).json()
    assert set(news["parts"]) >= {"board", "place-j"}
    assert "4 jobs have ended." in news["parts"]["board"]


# What it costs


def test_it_takes_at_most_eight_statements_whatever_there_is(history, visitor, types, root):
    a_worker()
    for state in ("new", "running", "scheduled", "silent", "exception"):
        in_state(types["open"], state, created_by=root)
    ended(name="tests.open")
    Schedule.objects.create_for(types["greet"], Every(days=1), {"subject": "tea"}, name="daily", by=root)
    visitor.get(BOARD)
    with CaptureQueriesContext(connection) as captured:
        assert visitor.get(BOARD, {"range": "30d"}).status_code == 200
    ours = [query["sql"] for query in captured if "qorworker_" in query["sql"]]
    assert len(ours) <= 8, ours


# Rights


def test_without_any_right_there_is_no_page(types, history, client):
    client.force_login(user_with("auth.view_user"))
    assert client.get(BOARD).status_code == 404
    assert client.get(LIVE).status_code == 403
    assert client.get(FAILURES).status_code == 403


def test_figures_are_those_of_types_that_the_user_may_see(history, client, types):
    ended(name="tests.by_name")
    summarise("default")
    client.force_login(user_with("testapp.change_shop"))
    page = text_of(client.get(BOARD))
    assert table(page, "ends") == [["1", "0", "0", "0"]]
    assert "Open door" not in page
    assert "tests.open" not in text_of(client.get(BOARD, {"job": "tests.open"})).replace("“tests.open”", "")
    assert attention(page) == []


def test_errors_need_the_right_to_the_log(history, client):
    client.force_login(user_with("qorworker.view_job"))
    for url in (BOARD, FAILURES, LIVE):
        page = text_of(client.get(url))
        assert "Open door" in page
        assert "KeyError" not in page, url
    client.force_login(user_with(*LOOKING, name="reader"))
    for url in (BOARD, FAILURES, LIVE):
        assert "KeyError" in text_of(client.get(url)), url


def test_workers_need_their_own_right(types, client):
    a_worker()
    client.force_login(user_with("qorworker.view_job"))
    assert "slots" not in text_of(client.get(BOARD))


def test_where_users_see_only_their_own_jobs_the_figures_are_about_these(types, client, settings, now):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    ann, ben = user_with(*LOOKING, name="ann"), user_with(*LOOKING, name="ben")
    for user in (ann, ben, ben):
        ended(Outcome.FAILED, name="tests.open", error=f"app.{user.get_username().title()}", created_by=user)
    make_job(types["open"], "cancelled", created_by=ann)
    make_job(types["open"], "new", created_by=ben)
    summarise("default")
    client.force_login(ann)
    page = text_of(client.get(BOARD))
    assert table(page, "ends") == [["0", "1", "0", "1"]]
    assert "Only your own jobs count" in page
    assert "0 queued" in page
    for url in (BOARD, FAILURES, LIVE):
        page = text_of(client.get(url))
        assert "Ann" in page
        assert "Ben" not in page
    client.force_login(user_with(*LOOKING, "qorworker.view_all_jobs", name="chief"))
    assert table(text_of(client.get(BOARD)), "ends") == [["0", "3", "0", "0"]]


# Failures


def cells(page: str) -> list[list[str]]:
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    rows = [re.sub(r"<span class=\"visually-hidden\">[^<]*</span>", "", row) for row in body.split("<tr")[1:]]
    return [re.findall(r"<t[hd][^>]*>(?:<a[^>]*>|<span[^>]*>)?([^<]*)", row) for row in rows]


def test_failures_are_counted_by_type_and_error_for_three_times(types, visitor, now):
    for hours, error in ((0.1, "app.KeyError"), (5, "app.KeyError"), (100, "app.KeyError"), (100, "app.Trouble")):
        ended(Outcome.FAILED, name="tests.open", error=error, at=now - dt.timedelta(hours=hours))
    ended(Outcome.TIMEOUT, name="tests.greet")
    ended(Outcome.DONE, name="tests.log_in")
    summarise("default")
    assert cells(text_of(visitor.get(FAILURES))) == [
        ["Open door", "", "1", "2", "4"],
        ["", "KeyError", "1", "2", "3"],
        ["", "Trouble", "0", "0", "1"],
        ["Send greetings", "Time limit", "1", "1", "1"],
    ]


def test_a_number_of_failures_leads_to_the_list_with_their_verbs(types, visitor, now):
    job = ended(Outcome.FAILED, name="tests.open", error="app.Trouble")
    other = ended(Outcome.FAILED, name="tests.open", error="app.KeyError")
    Job.objects.filter(pk=job.pk).update(error="Trouble: no tea")
    Job.objects.filter(pk=other.pk).update(error="KeyError: 7")
    page = text_of(visitor.get(FAILURES))
    url = re.search(r'Trouble</td><td class="qw-digits"><a href="([^"]*)"', page)[1].replace("&amp;", "&")
    answer = visitor.get(url)
    assert [row.pk for row in answer.context["cl"].result_list] == [job.pk]
    assert "retry" in dict(answer.context["action_form"].fields["action"].choices)


def test_without_failures_the_page_says_so(types, visitor):
    assert "No job has failed in the last 7 days." in text_of(visitor.get(FAILURES))


# Other admin sites, and the box


calendar = admin.AdminSite(name="calendar")
calendar.register(Schedule, ScheduleAdmin)
urlpatterns = [path("admin/", admin.site.urls), path("calendar/", calendar.urls)]


def test_a_site_without_jobs_has_the_list_of_models_and_no_dashboard(history, visitor):
    with override_settings(ROOT_URLCONF=__name__):
        page = text_of(visitor.get("/calendar/qorworker/"))
    assert 'href="/calendar/qorworker/schedule/"' in page
    assert "Ended jobs" not in page


def box(user) -> str:
    request = RequestFactory().get("/admin/", {"job": "no-such"})
    request.user, request.resolver_match = user, resolve("/admin/")
    return Template("{% load qorworker_dashboard %}{% qw_box %}").render(Context({"request": request}))


def test_the_box_has_what_is_now_and_what_needs_attention(history, root):
    text = box(root)
    assert "0 queued" in text
    assert "1 job failed (24 hours)" in text
    assert f'href="{BOARD}"' in text


def test_the_box_is_empty_for_users_who_see_no_jobs(history):
    assert box(user_with("auth.view_user")).strip() == ""


def test_the_template_of_the_documentation_shows_the_box_on_the_index(history, visitor):
    (code,) = re.findall(r"```html\n(.*?)```", (ROOT / "docs" / "howto" / "dashboard.md").read_text(), re.DOTALL)
    own = ("django.template.loaders.locmem.Loader", {"admin/index.html": code})
    inherited = "django.template.loaders.app_directories.Loader"
    engine = {**settings.TEMPLATES[0], "APP_DIRS": False}
    engine["OPTIONS"] = {**engine["OPTIONS"], "loaders": [own, inherited]}
    with override_settings(TEMPLATES=[engine]):
        page = text_of(visitor.get(BOARD.removesuffix("qorworker/")))
    assert "1 job failed (24 hours)" in page
    assert "qorworker/dashboard.css" in page


def test_figures_stand_still_while_very_many_attempts_are_new(types, visitor, monkeypatch):
    monkeypatch.setattr("qorworker.queries.dashboard.UNSUMMED", 1)
    for _ in range(3):
        ended(name="tests.open")
    assert Attempt.objects.count() == 3
    said = "The figures lag behind: more than 1 attempts that have ended are not counted yet. Workers count them."
    page = text_of(visitor.get(BOARD))
    assert table(page, "ends") == []
    assert attention(page) == [said]
    assert said in text_of(visitor.get(FAILURES))
    assert not Worker.objects.exists()
