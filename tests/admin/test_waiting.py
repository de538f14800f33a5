"""Why a job does not start: told on its page, before one runs it, and taken back when it is no longer so."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from tests.admin.support import BASE, a_worker, in_state, make_job, page_of

pytestmark = pytest.mark.django_db

GREET = BASE + "run/tests.greet/"
NO_WORKER, NO_CODE = "No worker is running that serves the queue", "knows this job."


def told(client, url):
    """Which of the two reasons a page gives."""
    page = client.get(url).content.decode()
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
    page = visitor.get(page_of(in_state(types["greet"], "done", attempt=2, max_attempts=1))).content.decode()
    assert "2 of 1" not in page
