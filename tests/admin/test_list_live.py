"""The rows of an open list told anew, and the list as JSON: the same rights and the same filters as the page."""

from __future__ import annotations

import datetime as dt
import html
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from qorworker.admin.jobs import list_json
from qorworker.models import Job
from tests.admin.support import BASE, XSS, compact, in_state, make_job, page_of, stored, text_of, user_with

pytestmark = pytest.mark.django_db

LIVE, JSON = BASE + "list/live/", BASE + "list.json"


def news(client, jobs, **asked):
    ids = ",".join(str(job.pk) for job in jobs)
    return client.get(LIVE, {"ids": ids, "newest": max(job.pk for job in jobs), **asked}).json()


def rows(news):
    """The cells that were sent, by the number of the job and the column."""
    found = {}
    for part, cell in news["parts"].items():
        number, _dash, column = part.partition("-")
        if number.isdigit():
            found.setdefault(number, {})[column] = cell
    return found


def newer(news):
    return news["parts"]["newer"].partition(" ·")[0].strip()


# Live rows


def test_each_row_asked_for_is_told_with_the_columns_of_its_tab(types, visitor):
    running, done = in_state(types["open"], "running", progress=42), in_state(types["open"], "done")
    make_job(types["open"])
    told = rows(news(visitor, [running, done]))
    assert set(told) == {str(running.pk), str(done.pk)}
    assert set(told[str(done.pk)]) == {"status", "arguments", "created", "duration", "by"}
    assert "42 %" in told[str(running.pk)]["status"]
    assert set(rows(news(visitor, [running], tab="queued"))[str(running.pk)]) == {
        "position", "waiting", "arguments", "queue", "by"
    }  # fmt: skip


def test_a_row_is_told_as_the_page_shows_it(types, visitor):
    job = in_state(types["greet"], "exception", arguments=stored(types["greet"], subject="Tea"))
    page = text_of(visitor.get(BASE))
    told = rows(news(visitor, [job]))[str(job.pk)]
    for name in ("status", "arguments", "by"):
        assert compact(f'<td class="field-{name}">{told[name]}</td>') in page


def test_a_row_that_is_gone_or_not_to_be_seen_is_told_as_gone(types, client):
    mine, other = make_job(types["by_name"]), make_job(types["open"])
    client.force_login(user_with("testapp.change_shop"))
    both = news(client, [mine, other])
    assert (set(rows(both)), both["gone"]) == ({str(mine.pk)}, [str(other.pk)])
    Job.objects.filter(pk=mine.pk).delete()
    none = news(client, [mine])
    assert (rows(none), none["gone"]) == ({}, [str(mine.pk)])


def test_a_page_asks_for_news_of_its_own_rows(types, visitor):
    first, second = make_job(types["open"]), make_job(types["greet"])
    page = text_of(visitor.get(f"{BASE}?tab=queued"))
    address = html.unescape(re.search(r'data-qw-live="([^"]+)"', page)[1])
    assert parse_qs(urlsplit(address).query) == {
        "tab": ["queued"], "ids": [f"{first.pk},{second.pk}"], "newest": [str(second.pk)], "whole": ["1"]
    }  # fmt: skip
    assert set(rows(visitor.get(address).json())) == {str(first.pk), str(second.pk)}


def test_newer_jobs_are_counted_and_not_listed(types, visitor):
    shown = make_job(types["open"])
    assert newer(news(visitor, [shown])) == ""
    make_job(types["greet"])
    assert newer(news(visitor, [shown])) == "1 newer job"
    assert newer(news(visitor, [shown], job="tests.open")) == ""
    make_job(types["greet"])
    assert newer(news(visitor, [shown], tab="queued")) == "2 newer jobs"


def test_a_job_that_came_into_a_tab_is_newer_if_the_page_showed_all_there_were(types, visitor):
    started_later = in_state(types["open"], "running")
    shown = in_state(types["open"], "running")
    assert newer(news(visitor, [shown], tab="running")) == ""
    assert newer(news(visitor, [shown], tab="running", whole="1")) == "1 newer job"
    assert newer(news(visitor, [shown, started_later], tab="running", whole="1")) == ""


def test_the_counts_of_all_tabs_come_along(types, visitor):
    shown = in_state(types["open"], "exception")
    parts = news(visitor, [shown])["parts"]
    assert (parts["count-all"], parts["count-failed"], parts["count-done"]) == ("1", "1", "0")


def test_nothing_new_has_no_body_and_few_queries(types, visitor):
    job = in_state(types["open"], "done", finished_at=timezone.now() - dt.timedelta(days=3))
    Job.objects.update(enqueued_at=timezone.now() - dt.timedelta(days=3))
    asked = {"ids": job.pk, "newest": job.pk}
    tag = visitor.get(LIVE, asked)["ETag"]
    with CaptureQueriesContext(connection) as captured:
        answer = visitor.get(LIVE, asked, headers={"if-none-match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert len(captured) <= 7
    Job.objects.update(status="cancelled")
    assert visitor.get(LIVE, asked, headers={"if-none-match": tag}).status_code == 200


@pytest.mark.parametrize("ids", ["", "x", "1,,2", "9" * 30, "-1", "1;2"])
def test_numbers_that_are_none_are_left_out(types, visitor, ids):
    assert visitor.get(LIVE, {"ids": ids, "newest": ids}).status_code == 200


def test_text_is_escaped_in_the_cells(types, visitor):
    job = in_state(types["greet"], "exception", error=XSS, arguments=stored(types["greet"], subject=XSS))
    assert XSS not in "".join(rows(news(visitor, [job]))[str(job.pk)].values())


# JSON


def all_pages(client, url):
    """Every job that following ``next`` gives, and in how many answers."""
    found, answers = [], 0
    while url:
        answer = client.get(url).json()
        found += [job["id"] for job in answer["jobs"]]
        url, answers = answer["next"], answers + 1
        assert answers < 50
    return found, answers


def test_the_list_is_narrowed_like_the_page(types, visitor):
    failed = in_state(types["greet"], "exception", queue_name="mail")
    in_state(types["open"], "exception")
    in_state(types["greet"], "done")
    for query in ("?tab=failed&job=tests.greet", "?q=type:greet+status:failed", "?queue=mail"):
        assert [job["id"] for job in visitor.get(JSON + query).json()["jobs"]] == [failed.pk]


def test_a_job_is_told_like_on_its_own(types, visitor):
    job = in_state(types["greet"], "exception", arguments=stored(types["greet"], subject="Tea"))
    answer = visitor.get(JSON).json()
    assert set(answer) == {"jobs", "next", "notes"}
    (row,), alone = answer["jobs"], visitor.get(page_of(job, "job.json")).json()
    more = {"return_value": None, "results_columns": [], "files": [], "questions": [], "approvals": [], "waiting": []}
    assert alone == {**row, **more, "rehearsal": None, "stack": None, "vitals": []}


@pytest.mark.parametrize("limit", ["1", "3", "50"])
def test_following_next_gives_each_job_once_the_newest_first(types, visitor, limit):
    jobs = [make_job(types["open"]).pk for _ in range(7)]
    found, answers = all_pages(visitor, f"{JSON}?limit={limit}&tab=queued")
    assert found == jobs[::-1]
    assert answers == -(-7 // int(limit))


def test_next_leads_on_where_an_answer_looked_at_all_it_may(types, visitor, settings):
    settings.QORWORKER = {**settings.QORWORKER, "LIST_JOBS": 1000}
    old = in_state(types["open"], "done")
    new = make_job(types["open"], "done", id=old.pk + 3500)
    found, answers = all_pages(visitor, f"{JSON}?tab=done")
    assert found == [new.pk, old.pk]
    assert answers == 4


def test_secrets_are_dots_and_what_one_may_not_see_is_null(types, client):
    make_job(types["log_in"], arguments=stored(types["log_in"], password="c4n4ry"), error="E")
    client.force_login(user_with("qorworker.view_job", "qorworker.view_job_arguments", name="a"))
    (job,) = client.get(JSON).json()["jobs"]
    assert job["arguments"]["password"] == "••••••"
    assert job["error"] is None
    client.force_login(user_with("qorworker.view_job", name="b"))
    assert client.get(JSON).json()["jobs"][0]["arguments"] is None


def test_jobs_one_may_not_see_are_not_there(types, client):
    make_job(types["open"])
    mine = make_job(types["by_name"])
    client.force_login(user_with("testapp.change_shop"))
    assert [job["id"] for job in client.get(JSON).json()["jobs"]] == [mine.pk]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?tab=x", {"tab"}), ("?q=shop:x", {"q"}), ("?from=x&to=y", {"from", "to"}), ("?limit=0", {"limit"}),
        ("?limit=501", {"limit"}), ("?limit=x", {"limit"}), ("?status=failed", {"status"}), ("?before=x", {"before"}),
        ("?period=1&user=%00", {"period", "user"}),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_an_error_for_each_parameter_and_lists_nothing(types, visitor, query, names):
    make_job(types["open"])
    answer = visitor.get(JSON + query)
    assert answer.status_code == 400
    assert set(answer.json()) == {"errors"}
    assert set(answer.json()["errors"]) == names


def test_an_answer_needs_few_queries_whatever_the_limit(types, visitor):
    for _ in range(30):
        in_state(types["open"], "done")
    with CaptureQueriesContext(connection) as captured:
        visitor.get(f"{JSON}?limit={list_json.MOST}")
    assert len(captured) <= 6
