"""Why a job does not start: told on its page, before one runs it, and taken back when it is no longer so."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from qorworker import pause_queue
from tests.admin.support import BASE, XSS, a_worker, in_state, make_job, page_of, text_of

pytestmark = pytest.mark.django_db

GREET = BASE + "run/tests.greet/"
NO_WORKER, NO_CODE = "No worker is running that serves the queue", "has the code of this job."


def told(client, url):
    """Which of the two reasons a page gives."""
    page = text_of(client.get(url))
    return [reason for reason in (NO_WORKER, NO_CODE) if reason in page]


def test_a_queue_that_no_worker_serves_is_told_before_one_runs_a_job_and_on_its_page(types, visitor):
    pages = [GREET, page_of(make_job(types["greet"]))]
    assert [told(visitor, url) for url in pages] == [[NO_WORKER]] * 2
    a_worker(queues=["mail"])
    assert [told(visitor, url) for url in pages] == [[NO_WORKER]] * 2
    a_worker(queues=["default"])
    assert [told(visitor, url) for url in pages] == [[], []]


def test_a_type_that_no_worker_of_the_queue_knows_is_told_before_one_runs_a_job_and_on_its_page(types, visitor):
    pages = [GREET, page_of(make_job(types["greet"]))]
    a_worker(queues=["mail"])
    a_worker(job_types=["tests.other"])
    assert [told(visitor, url) for url in pages] == [[NO_CODE]] * 2
    a_worker()
    assert [told(visitor, url) for url in pages] == [[], []]


def test_a_job_whose_code_is_gone_everywhere_says_so_while_it_waits(types, visitor):
    a_worker()
    assert told(visitor, page_of(make_job("tests.gone"))) == [NO_CODE]


@pytest.mark.parametrize(
    ("state", "minutes", "reasons"),
    [("scheduled", -5, [NO_WORKER]), ("scheduled", 5, []), ("running", 0, []), ("done", 0, []), ("cancelled", 0, [])],
)
def test_only_a_job_whose_time_has_come_waits_for_a_worker(types, visitor, state, minutes, reasons):
    job = in_state(types["greet"], state, run_after=timezone.now() + dt.timedelta(minutes=minutes))
    assert told(visitor, page_of(job)) == reasons


def test_the_reason_goes_from_an_open_page_as_soon_as_a_worker_is_there(types, visitor):
    job = make_job(types["greet"])
    first = visitor.get(page_of(job, "live/"))
    assert NO_WORKER in first.json()["parts"]["header"]
    a_worker()
    second = visitor.get(page_of(job, "live/"), headers={"if-none-match": first["ETag"]})
    assert second.status_code == 200
    assert NO_WORKER not in second.json()["parts"]["header"]


def test_an_attempt_beyond_the_planned_ones_is_not_counted_against_them(types, visitor):
    page = text_of(visitor.get(page_of(in_state(types["greet"], "done", attempt=2, max_attempts=1))))
    assert "2 of 1" not in page


def test_a_paused_queue_is_told_with_who_and_why_on_the_page_and_in_the_json(types, visitor, root):
    a_worker()
    job = make_job(types["greet"])
    pause_queue("default", by=root, reason=XSS)
    page = text_of(visitor.get(page_of(job)))
    assert "The queue “default” has been paused by root since" in page
    assert XSS not in page
    (reason,) = visitor.get(page_of(job, "job.json")).json()["waiting"]
    assert reason["kind"] == "queue paused"
    assert "is paused. Since" in reason["text"]
    assert visitor.get(page_of(in_state(types["greet"], "done"), "job.json")).json()["waiting"] == []


def test_a_job_in_line_says_at_which_place_and_that_changes_on_an_open_page(types, visitor):
    a_worker(slots=1)
    first, job = make_job(types["open"]), make_job(types["greet"])
    page = visitor.get(page_of(job, "live/"))
    assert "1 job is before it in the queue “default”." in page.json()["parts"]["header"]
    first.cancel()
    news = visitor.get(page_of(job, "live/"), headers={"if-none-match": page["ETag"]})
    assert news.status_code == 200
    assert "It is the next one in the queue “default”." in news.json()["parts"]["header"]


def test_that_no_worker_runs_is_not_said_of_queues_that_need_none(types, visitor, settings):
    at_once = {"BACKEND": "qorworker.backends.immediate.ImmediateBackend", "OPTIONS": {}}
    make_job(types["open"])
    assert "No worker is running." in text_of(visitor.get(BASE))
    settings.QORWORKER = {"QUEUES": {**settings.QORWORKER["QUEUES"], "default": at_once}}
    page = text_of(visitor.get(BASE))
    assert "No worker is running." in page
    assert "1 job waiting" not in page
    settings.QORWORKER = {"QUEUES": {"default": at_once}}
    assert "No worker is running" not in text_of(visitor.get(BASE))
    assert "No worker is running" not in text_of(visitor.get(page_of(make_job(types["open"]))))


def test_a_worker_of_celery_takes_no_jobs_of_other_queues(types, visitor):
    a_worker(kind="celery", queues=["mail"])
    assert "No worker is running." in text_of(visitor.get(BASE))
    a_worker()
    assert "No worker is running." not in text_of(visitor.get(BASE))


def test_that_all_workers_are_paused_is_told_on_every_page(types, visitor):
    a_worker().pause()
    page = text_of(visitor.get(BASE))
    assert "All workers are paused, or about to end." in page
    assert "No worker is running" not in page
