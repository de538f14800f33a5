"""What a job's page costs: queries and bytes, at their worst."""

from __future__ import annotations

import datetime as dt
import gzip

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from qorworker.models import Attempt, AuditEntry, Job, LogLine, Outcome, ResultsRow
from tests.admin.support import STATES, a_worker, in_state, make_job, page_of, stored, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

AUTH_TABLES = ("django_session", "auth_user", "auth_permission", "auth_group", "django_content_type")
TEXT = "Row {} of 10,000: SKU A-{} is unknown in Berlin, and so the price of the last import is kept"


def add_lines(job, count, start=0):
    now = timezone.now()
    LogLine.objects.bulk_create(
        LogLine(job=job, number=start + n, attempt=1, at=now, level=10 * (1 + n % 4), text=TEXT.format(n, n * 7919))
        for n in range(1, count + 1)
    )
    Job.objects.filter(pk=job.pk).update(log_lines=start + count, progress=n_percent(start + count))


def n_percent(lines):
    return min(99, lines // 20)


def full(types, state):
    """A job in *state* with a full page of everything."""
    job = in_state(
        types["greet"], state, arguments=stored(types["greet"], subject="x" * 2000), results_rows=1_000,
        results_errors=100, progress_text="row 7", rerun_of=make_job(types["greet"], "done"),
    )  # fmt: skip
    add_lines(job, 1_500)
    ResultsRow.objects.bulk_create(
        ResultsRow(job=job, number=n, attempt=1, has_error=n % 10 == 0,
                   cells=[{"value": f"A-{n * 7919}", "error": "unknown" if n % 10 == 0 else ""}, {"value": n}])
        for n in range(1, 1_001)
    )  # fmt: skip
    now = timezone.now()
    for number in range(1, 11):
        Attempt.objects.create(
            job=job, number=number, started_at=now, finished_at=now, outcome=Outcome.FAILED, error="KeyError: 'sku'",
            traceback='  File "/srv/app/x.py", line 7, in run\n    go()\n' * 40,
        )  # fmt: skip
        AuditEntry.objects.record("retry", job=job)
        make_job(types["greet"], "exception", rerun_of=job, error="KeyError: 'sku'")
    AuditEntry.objects.record("abort", job=job, reason="x" * 200)
    a_worker()
    return job


def ours(captured):
    return [query["sql"] for query in captured if not any(table in query["sql"] for table in AUTH_TABLES)]


@pytest.mark.parametrize("query", ["", "?find=row&level=20&times=start&attempt=1&sort=-1&rows=errors"])
@pytest.mark.parametrize("state", STATES)
def test_the_page_needs_at_most_twelve_queries_in_every_state(types, visitor, state, query):
    job = full(types, state)
    with CaptureQueriesContext(connection) as captured:
        assert visitor.get(page_of(job) + query).status_code == 200
    assert len(captured) <= 12, [each["sql"][:150] for each in captured]


def test_single_rights_cost_no_query_of_ours(types, visitor, client):
    job = full(types, "exception")
    with CaptureQueriesContext(connection) as by_root:
        visitor.get(page_of(job))
    names = ("view_job", "view_job_log", "view_job_arguments", "run_job", "retry_job", "view_worker", "delete_job")
    client.force_login(user_with(*(f"qorworker.{name}" for name in names)))
    with CaptureQueriesContext(connection) as captured:
        client.get(page_of(job))
    assert len(ours(captured)) <= len(ours(by_root))


@pytest.mark.parametrize("state", ["new", "scheduled", "will_retry", "running", "aborting", "silent"])
def test_no_news_cost_two_queries_and_no_body(types, visitor, state):
    job = full(types, state)
    tag = visitor.get(page_of(job, "live/"))["ETag"]
    with CaptureQueriesContext(connection) as captured:
        answer = visitor.get(page_of(job, "live/"), headers={"if-none-match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert len(ours(captured)) <= (3 if state == "new" else 2)  # the place in line changes, too


@pytest.mark.parametrize("state", ["running", "aborting", "silent"])
def test_fifty_new_lines_cost_five_queries_and_six_kilobytes(types, visitor, state):
    job = full(types, state)
    known = visitor.get(page_of(job, "live/")).json()
    add_lines(job, 50, start=1_500)
    with CaptureQueriesContext(connection) as captured:
        answer = visitor.get(page_of(job, "live/"), known["state"])
    assert answer.json()["append"]["lines"].count("<div") == 50
    assert set(answer.json()["parts"]) == {"header", "announcement", "log-count"}
    assert len(ours(captured)) <= 5, ours(captured)
    assert len(gzip.compress(answer.content)) <= 6 * 1024


@pytest.mark.parametrize("query", ["", "?per=200"])
@pytest.mark.parametrize("state", ["running", "exception"])
def test_the_page_is_at_most_sixty_kilobytes(types, visitor, state, query):
    answer = visitor.get(page_of(full(types, state)) + query)
    assert answer.content.count(b'<div id="L') == 1_000
    assert len(gzip.compress(answer.content)) <= 60 * 1024


def test_what_is_usual_looks_at_no_more_rows_for_more_jobs(types, visitor):
    start = timezone.now() - dt.timedelta(hours=1)
    for _number in range(100):
        make_job(types["open"], "done", last_attempted_at=start, finished_at=start + dt.timedelta(seconds=3))
    job = in_state(types["open"], "running")
    with CaptureQueriesContext(connection) as captured:
        visitor.get(page_of(job, "live/"))
    looking = [sql for sql in ours(captured) if "DESC" in sql and "done" in sql]
    assert len(looking) == 1
    assert looking[0].count("LIMIT") == 2
