"""The list of jobs: tabs and their counts, columns and order, pages, what is said of nothing, in how many queries."""

from __future__ import annotations

import datetime as dt
import gzip
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from qorworker.models import Job
from qorworker.queries import counting, job_list
from tests.admin.support import (
    BASE,
    STATES,
    a_worker,
    in_state,
    make_job,
    page_of,
    stored,
    superuser,
    text_of,
    user_with,
)

pytestmark = pytest.mark.django_db


def listed(response):
    return [job.pk for job in response.context["cl"].result_list]


def columns_of(response):
    """The names of the columns, in their order."""
    row = re.search(r"<tbody>\s*<tr>(.*?)</tr>", text_of(response), re.DOTALL)[1]
    return re.findall(r'class="field-(\w+)', row)


# Tabs


def test_each_tab_lists_and_counts_its_jobs(types, visitor):
    for state in STATES:
        in_state(types["open"], state)
    in_state("tests.gone", "done")
    in_state(types["open"], "exception", results_rows=63, results_errors=1, return_value="null")
    in_state(types["open"], "done", results_rows=2, results_errors=1)
    in_state(types["open"], "exception", results_rows=2, results_errors=1)
    numbers = {}
    for tab in job_list.TABS:
        response = visitor.get(f"{BASE}?tab={tab}")
        changes = response.context["cl"]
        assert changes.counts[tab] == job_list.TabCount(changes.result_count)
        assert re.search(rf'aria-current="page">[^<]+<span class="qw-count" id="qw-count-{tab}">', text_of(response))
        numbers[tab] = changes.result_count
    assert numbers == {
        "all": 17, "queued": 1, "running": 5, "scheduled": 2, "done": 3, "failed": 3, "row_errors": 2, "will_retry": 1,
        "paused": 1, "asking": 0, "awaiting": 0, "aborted": 1, "cancelled": 1, "not_responding": 1, "not_in_code": 1,
    }  # fmt: skip


def test_counts_respect_everything_else_that_narrows_the_list(types, visitor):
    in_state(types["open"], "exception")
    in_state(types["greet"], "exception")
    in_state(types["greet"], "done")
    for query in ("q=greet", "job=tests.greet", "group=Mail", 'q=type:"Send gree"'):
        counts = visitor.get(f"{BASE}?tab=running&{query}").context["cl"].counts
        assert (counts["all"].number, counts["failed"].number, counts["done"].number) == (2, 1, 1)


def test_counts_and_pages_stop_at_the_cap(types, visitor, monkeypatch):
    monkeypatch.setattr(counting, "CAP", 5)
    in_state(types["open"], "cancelled")
    for _ in range(8):
        make_job(types["open"])
    make_job(types["open"], "done")
    response = visitor.get(BASE)
    changes = response.context["cl"]
    assert changes.result_count == 5
    told = dict(re.findall(r'id="qw-count-(\w+)">([^<]*)<', text_of(response)))
    assert told["queued"] == "5+"
    assert told["all"] == "5+"
    assert told["done"] == "1+"  # at least: not all were looked at
    assert told["cancelled"] == ""  # there may be one
    assert told["failed"] == "0"  # an index knows


def test_after_the_last_page_of_very_many_the_list_goes_on_by_number(types, visitor, monkeypatch):
    monkeypatch.setattr(counting, "CAP", 60)
    jobs = [make_job(types["open"], "done").pk for _ in range(65)]
    assert "Continue from here" not in text_of(visitor.get(BASE))
    last = visitor.get(BASE + "?p=2")
    assert listed(last) == jobs[5:15][::-1]
    (url,) = re.findall(r'href="([^"]+)">Continue from here', text_of(last))
    assert listed(visitor.get(BASE + url.replace("&amp;", "&"))) == jobs[:5][::-1]
    oldest_first = visitor.get(BASE + "?o=1&p=2")
    assert listed(oldest_first) == jobs[50:60]
    assert "Continue from here" not in text_of(oldest_first)  # which would lead back


def test_a_page_beyond_the_end_is_the_last_one(types, visitor):
    jobs = [make_job(types["open"]).pk for _ in range(51)]
    for page in ("99", "2"):
        response = visitor.get(f"{BASE}?tab=all&p={page}")
        assert response.status_code == 200
        assert listed(response) == jobs[:1]
    assert "51 to 51 of 51" in text_of(response)


def test_jobs_created_at_the_same_moment_are_all_listed_once(types, visitor):
    now = timezone.now()
    jobs = {make_job(types["open"], enqueued_at=now, run_after=now).pk for _ in range(60)}
    assert set(listed(visitor.get(BASE)) + listed(visitor.get(BASE + "?p=2"))) == jobs


# The window


@pytest.fixture
def many(types, settings):
    """More jobs than the list looks at: the oldest are one of each kind."""
    settings.QORWORKER = {**settings.QORWORKER, "LIST_JOBS": 1000}
    old = {state: in_state(types["open"], state) for state in ("new", "scheduled", "done", "exception")}
    newest = make_job(types["open"], "done", id=old["exception"].pk + 1100)
    return {**old, "newest": newest}


def test_the_list_looks_at_the_newest_jobs_and_says_so_only_if_there_are_older_ones(many, visitor):
    response = visitor.get(BASE)
    assert listed(response) == [many["newest"].pk]
    first = many["newest"].pk - 999
    assert f"Only the newest 1,000 jobs are looked at, from #{first} on." in text_of(response)
    Job.objects.exclude(pk=many["newest"].pk).delete()
    assert "are looked at" not in text_of(visitor.get(BASE))


def test_older_jobs_are_one_click_away_with_all_that_narrows_the_list(many, visitor):
    (url,) = re.findall(r'href="([^"]+)">Search older jobs', text_of(visitor.get(BASE + "?tab=done&q=door")))
    response = visitor.get(BASE + url.replace("&amp;", "&"))
    assert listed(response) == [many["done"].pk]
    assert "Back to the newest" in text_of(response)


@pytest.mark.parametrize(("tab", "state"), [("queued", "new"), ("scheduled", "scheduled")])
def test_jobs_that_wait_are_listed_however_old_they_are(many, visitor, tab, state):
    response = visitor.get(f"{BASE}?tab={tab}")
    assert listed(response) == [many[state].pk]
    assert response.context["cl"].counts[tab].number == 1
    assert "are looked at" not in text_of(response)


def test_a_date_in_the_past_moves_the_window_there(many, visitor):
    long_ago = timezone.now() - dt.timedelta(days=400)
    Job.objects.filter(pk=many["done"].pk).update(enqueued_at=long_ago)
    Job.objects.filter(pk__lt=many["done"].pk).update(enqueued_at=long_ago)
    day = timezone.localtime(long_ago).date() if timezone.is_aware(long_ago) else long_ago.date()
    assert many["done"].pk in listed(visitor.get(f"{BASE}?from={day}&to={day}"))


# Columns and order


@pytest.mark.parametrize(
    ("tab", "state", "columns"),
    [
        ("all", "done", "number job status arguments created duration by"),
        ("queued", "new", "number position job waiting arguments queue by"),
        ("running", "running", "number job status arguments started duration worker by"),
        ("scheduled", "scheduled", "number job starts status arguments by"),
        ("will_retry", "will_retry", "number job starts error attempts arguments by"),
        ("failed", "exception", "number job error attempts arguments finished by"),
        ("done", "done", "number job status arguments finished duration by"),
    ],
)
def test_each_tab_has_the_columns_that_tell_something_there(types, visitor, tab, state, columns):
    in_state(types["open"], state)
    assert columns_of(visitor.get(f"{BASE}?tab={tab}")) == columns.split()


@pytest.mark.parametrize(("tab", "state"), [("all", "done"), ("queued", "new")])
def test_the_number_and_the_title_of_a_job_lead_to_its_page(types, visitor, tab, state):
    job = in_state(types["open"], state)
    page = text_of(visitor.get(f"{BASE}?tab={tab}"))
    links = re.findall(rf'<a href="{page_of(job)}[^"#]*">(.*?)</a>', page)
    assert [re.sub(r"<[^>]+>", "", link) for link in links] == [f"#{job.pk}", "Open door"]


@pytest.mark.parametrize("tab", ["scheduled", "will_retry"])
def test_jobs_with_a_time_are_listed_by_it_the_next_first(types, visitor, tab):
    fields = {"attempt": 1, "max_attempts": 3}
    late, soon = (
        make_job(types["open"], "scheduled", run_after=timezone.now() + dt.timedelta(days=days), **fields)
        for days in (9, 1)
    )
    assert listed(visitor.get(f"{BASE}?tab={tab}")) == [soon.pk, late.pk]


def test_queued_jobs_are_listed_as_they_are_claimed_with_their_place_in_their_queue(types, visitor):
    later, first = make_job(types["open"]), make_job(types["open"], priority=5)
    mail = make_job(types["open"], queue_name="mail")
    response = visitor.get(BASE + "?tab=queued")
    assert listed(response) == [first.pk, later.pk, mail.pk]
    assert re.findall(r"Position: </span>([^<]+)<", text_of(response)) == ["1", "2", "1"]


def test_a_failed_job_tells_its_error_with_a_link_to_it_and_its_attempts(types, visitor):
    job = in_state(types["open"], "exception", attempt=2, max_attempts=3)
    page = text_of(visitor.get(BASE + "?tab=failed"))
    assert re.search(rf'href="{page_of(job)}#qw-error"[^>]*>KeyError: &#x27;sku&#x27;</a>', page)
    assert ">2 of 3<" in page


def test_how_long_a_job_waited_is_told_beside_how_long_it_took(types, visitor):
    now = timezone.now()
    made = {"run_after": now - dt.timedelta(seconds=100), "last_attempted_at": now - dt.timedelta(seconds=80)}
    make_job(types["open"], "done", finished_at=now, **made)
    page = text_of(visitor.get(BASE))
    assert '1 min 20 s<span class="qw-line">waited 20 s</span>' in page


def test_arguments_are_cut_after_eighty_characters_and_secrets_are_dots(types, visitor):
    make_job(types["greet"], arguments=stored(types["greet"], subject="x" * 200))
    make_job(types["log_in"], arguments=stored(types["log_in"], password="c4n4ry", user_name="ann"))
    page = text_of(visitor.get(BASE))
    shown = re.findall(r'class="qw-clamp" title="([^"]*)"', page)
    assert max(map(len, shown)) == 80
    assert "Password: ••••••, User name: ann" in shown
    assert "c4n4ry" not in page


# Nothing


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?tab=failed", "No job has failed."),
        ("?tab=not_in_code", "The code of every job is part of the project."),
        ("?tab=failed&q=door", "No job in this tab fits the search and the filters."),
        ("?q=nothing", "No job fits the search and the filters."),
    ],
)
def test_of_nothing_it_is_said_why_without_contradicting_the_counts(types, visitor, query, told):
    in_state(types["open"], "done")
    page = text_of(visitor.get(BASE + query))
    assert told in page
    assert ("Look in all tabs" in page) is ("in this tab" in told)


def test_without_any_job_the_list_leads_to_the_catalogue(types, visitor):
    page = text_of(visitor.get(BASE))
    assert "No job has run yet." in page
    assert page.count(f'href="{BASE}catalogue/"') >= 2


# Queries and bytes


@pytest.fixture
def busy(types):
    a_worker()
    for state in STATES:
        for name in ("open", "greet", "by_name"):
            in_state(types[name], state, created_by=superuser(f"u{Job.objects.count()}"))
    return types


@pytest.mark.parametrize("tab", list(job_list.TABS))
def test_the_list_needs_at_most_ten_queries(busy, visitor, tab):
    with CaptureQueriesContext(connection) as captured:
        visitor.get(f"{BASE}?tab={tab}")
    assert len(captured) <= 10


@pytest.mark.parametrize("worker", [True, False])
def test_the_list_needs_no_more_for_a_person_with_single_rights(busy, client, worker):
    if not worker:
        from qorworker.models import Worker

        Worker.objects.all().delete()
    client.force_login(user_with("qorworker.view_job", "qorworker.view_job_log", "qorworker.view_job_arguments"))
    with CaptureQueriesContext(connection) as captured:
        client.get(BASE)
    assert len(captured) <= (10 if worker else 11)  # without a worker it says since when jobs wait


def test_a_full_page_is_small_on_the_way(types, visitor):
    for number in range(50):
        arguments = stored(types["greet"], subject=f"A subject {number} that differs", copies=number)
        in_state(types["greet"], list(STATES)[number % len(STATES)], arguments=arguments)
    assert len(gzip.compress(visitor.get(BASE).content)) <= 40 * 1024


@pytest.mark.parametrize("per", [20, 50, 100, 200])
def test_the_number_of_rows_on_a_page_can_be_chosen(types, visitor, per):
    for _ in range(201):
        make_job(types["open"])
    response = visitor.get(BASE, {"per": per, "q": "open"})
    assert len(listed(response)) == per
    page = text_of(response)
    assert f"<option selected>{per}</option>" in page
    assert f"per={per}" in response.context["cl"].tabs[3]["url"]
    assert len(listed(visitor.get(BASE, {"per": per, "p": 2}))) == min(per, 201 - per)


def test_any_other_number_of_rows_is_refused_with_those_there_are(types, visitor):
    response = visitor.get(BASE, {"per": "1000000"})
    assert "20, 50, 100, 200" in response.context["filters"].errors["per"]
    assert response.context["cl"].list_per_page == 50
