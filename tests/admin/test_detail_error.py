"""The error on a job's page: what it was, where it came from, how often it came lately."""

from __future__ import annotations

import datetime as dt
import re
import sysconfig
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone
from django.utils.html import escape

from qorworker.admin.jobs.error import Explanation, frames_of, split_error
from qorworker.models import Attempt, Outcome
from tests.admin.support import make_job, page_of, superuser, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

LIBRARY = sysconfig.get_path("purelib")
TRACEBACK = f"""Traceback (most recent call last):
  File "{LIBRARY}/django/db/models/query.py", line 7, in get
    return self._get()
  File "/srv/shop/jobs.py", line 43, in import_products
    save(row)
  File "/srv/shop/importer.py", line 88, in save
    sku = row["sku"]
          ~~~^^^^^^^
KeyError: 'sku'
"""


def failed(job_type, error="KeyError: 'sku'", traceback=TRACEBACK, **fields):
    job = make_job(job_type, **{"status": "exception", "error": error, **fields})
    now = timezone.now()
    Attempt.objects.create(
        job=job, number=1, started_at=now, finished_at=now, outcome=Outcome.FAILED, error=error, traceback=traceback
    )
    return job


def block_of(response):
    page = text_of(response)
    return page.split('id="qw-error">')[1].split("<nav")[0]


def test_the_last_line_is_the_heading_and_the_place_is_that_of_the_project(types, visitor):
    block = block_of(visitor.get(page_of(failed(types["open"]))))
    heading = re.sub(r"<[^>]+>", "", re.search(r"<h2.*?</h2>", block, re.S)[0]).strip()
    assert heading == escape("KeyError: 'sku'")
    assert "raised in importer.py, line 88, in save" in block


def test_frames_of_libraries_are_folded_away_but_not_lost(types, visitor):
    block = block_of(visitor.get(page_of(failed(types["open"]))))
    shown, full = block.split("Full traceback")
    assert "/srv/shop/jobs.py" in shown
    assert "query.py" not in shown
    assert "query.py" in full
    assert 'data-qw-copy="qw-traceback"' in full


@pytest.mark.parametrize(("survivors", "look"), [(0, "killed"), (1, "exception")])
def test_an_abort_looks_like_a_failure_only_if_processes_are_left(types, visitor, survivors, look):
    job = failed(types["open"], "Aborted.", "", status="killed")
    job.attempts.update(outcome=Outcome.ABORTED, survivors=survivors)
    assert f'class="qw-card qw-failure" data-look="{look}"' in text_of(visitor.get(page_of(job)))


def test_a_long_message_is_cut_in_the_heading_and_whole_below_it(types, visitor):
    block = block_of(visitor.get(page_of(failed(types["open"], error="ValueError: " + "x" * 300))))
    assert "x" * 300 in block.split("</h2>")[1]
    assert "x" * 300 not in block.split("</h2>")[0]


def test_an_error_without_a_class_is_its_own_heading_and_is_not_counted(types, visitor):
    for _number in range(2):
        job = failed(types["open"], error="The worker web-3 stopped answering.", traceback="")
    block = block_of(visitor.get(page_of(job)))
    assert "The worker web-3 stopped answering.</h2>" in block
    assert "days" not in block


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        ("KeyError: 'sku'", ("KeyError", "'sku'")),
        ("StopIteration", ("", "StopIteration")),
        ("Stopped after the limit of 30 min.", ("", "Stopped after the limit of 30 min.")),
        ("3 of 4 rows: bad", ("", "3 of 4 rows: bad")),
    ],
)
def test_the_class_of_an_error_is_what_stands_before_its_message(error, parts):
    assert split_error(error) == parts
    assert Explanation(*parts).heading == error


def test_frames_are_read_from_any_printed_traceback():
    assert [(frame.file, frame.line, frame.is_application) for frame in frames_of(TRACEBACK)] == [
        ("query.py", "7", False),
        ("jobs.py", "43", True),
        ("importer.py", "88", True),
    ]


# How often


def test_the_same_error_of_the_last_seven_days_is_counted_with_a_link_to_those_jobs(types, visitor):
    week = dt.timedelta(days=7)
    for error, ended in [("KeyError: 'sku'", 1), ("KeyError: 'name'", 2), ("KeyErrors: x", 1), ("ValueError: x", 1)]:
        failed(types["open"], error=error, finished_at=timezone.now() - dt.timedelta(days=ended))
    failed(types["open"], finished_at=timezone.now() - week - dt.timedelta(hours=1))
    failed(types["greet"])
    block = block_of(visitor.get(page_of(failed(types["open"]))))
    assert "KeyError came 3 times in the last 7 days" in block
    query = parse_qs(urlsplit(re.search(r'href="([^"]+tab=failed[^"]+)"', block)[1].replace("&amp;", "&")).query)
    assert query == {"tab": ["failed"], "q": ["type:tests.open error:KeyError"]}


def test_an_error_that_came_once_is_not_counted(types, visitor):
    assert "days" not in block_of(visitor.get(page_of(failed(types["open"]))))


def test_only_jobs_that_one_may_see_are_counted(types, client, settings):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    user = user_with("qorworker.view_job", "qorworker.view_job_log")
    client.force_login(user)
    for author in (user, user, superuser()):
        job = failed(types["open"], created_by=author)
    mine = failed(types["open"], created_by=user)
    assert "KeyError came 3 times" in block_of(client.get(page_of(mine)))
    assert client.get(page_of(job)).status_code == 404


def test_without_the_right_to_the_log_nothing_is_told_of_the_error(types, client):
    failed(types["open"])
    job = failed(types["open"])
    client.force_login(user_with("qorworker.view_job"))
    assert "KeyError" not in text_of(client.get(page_of(job)))


def test_a_job_that_will_try_again_tells_why(types, visitor):
    job = failed(types["open"], status="scheduled", attempt=1, max_attempts=3)
    assert "importer.py" in block_of(visitor.get(page_of(job)))
