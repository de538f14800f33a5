"""The head of a job's page: how far it is, how long it may take, and what is said about each state."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.utils import timezone

from qorworker.admin.jobs.estimate import estimate
from qorworker.models import Job
from tests.admin.support import in_state, make_job, page_of, text_of

pytestmark = pytest.mark.django_db


def ago(**span):
    return timezone.now() - dt.timedelta(**span)


def took(job_type, *seconds):
    for each in seconds:
        start = ago(hours=1)
        end = start + dt.timedelta(seconds=each)
        make_job(job_type, "done", last_attempted_at=start, finished_at=end)


def head_of(response):
    page = text_of(response).replace("\xa0", " ")
    part = page.split('id="qw-header"')[1].split('id="qw-actions"')[0]
    return " ".join(re.sub(r"<[^>]+>", " ", part).split())


# How long it may take


@pytest.mark.parametrize(
    ("progress", "seconds", "usual", "left"),
    [
        (50, 100, None, 100),
        (42, 80, 3_600, 110),  # by its progress, whatever is usual
        (4, 100, None, None),  # too little progress to tell
        (4, 100, 180, 80),  # by what is usual
        (6, 8, None, None),  # too early to tell
        (50, 0.5, 60, 60),
        (80, 4, 60, 5),  # much was done, so that counts, and not what is usual
        (None, 60, 180, 120),
        (None, 200, 180, None),  # already longer
        (100, 60, None, None),
        (50, 7_000, None, 6_900),  # rounded to five minutes
    ],
)
def test_the_time_left_comes_from_progress_or_else_from_what_is_usual(progress, seconds, usual, left):
    job = Job(status="running", progress=progress, last_attempted_at=ago(seconds=seconds))
    found = estimate(job, dt.timedelta(seconds=usual) if usual else None)
    assert (found.left.total_seconds() if found.left else None) == left


@pytest.mark.parametrize(("seconds", "is_long"), [(150, False), (160, True)])
def test_more_than_one_and_a_half_times_the_usual_is_long(seconds, is_long):
    job = Job(status="running", last_attempted_at=ago(seconds=seconds))
    assert estimate(job, dt.timedelta(seconds=104)).is_long is is_long


@pytest.mark.parametrize("status", ["new", "scheduled", "done"])
def test_only_a_running_job_has_time_left(status):
    job = Job(status=status, progress=50, last_attempted_at=ago(seconds=100), finished_at=timezone.now())
    found = estimate(job, dt.timedelta(seconds=104))
    assert (found.left, found.is_long, found.usual) == (None, False, dt.timedelta(seconds=104))


def test_a_running_job_tells_elapsed_left_and_usual(types, visitor):
    took(types["open"], 170, 180, 190)
    job = in_state(types["open"], "running", progress=42, last_attempted_at=ago(seconds=80), worker=None)
    head = head_of(visitor.get(page_of(job)))
    assert re.search(r"1 min [2-5]\d s elapsed about (1 min \d+|\d+) s left usually 3 min", head)
    assert 'value="42"' in text_of(visitor.get(page_of(job)))


def test_a_job_that_takes_long_says_so(types, visitor):
    took(types["open"], 170, 180, 190)
    job = in_state(types["open"], "running", last_attempted_at=ago(seconds=600))
    assert "longer than usual (usually 3 min)" in head_of(visitor.get(page_of(job)))
    assert re.search(r'<progress class="qw-progress"[^>]* max="100" aria', text_of(visitor.get(page_of(job))))


def test_becoming_unusually_long_is_news(types, visitor):
    took(types["open"], 50, 60, 70)
    job = in_state(types["open"], "running", last_attempted_at=ago(seconds=10))
    tag = visitor.get(page_of(job, "live/"))["ETag"]
    assert visitor.get(page_of(job, "live/"), headers={"if-none-match": tag}).status_code == 304
    Job.objects.filter(pk=job.pk).update(last_attempted_at=ago(seconds=100))
    news = visitor.get(page_of(job, "live/"), headers={"if-none-match": tag})
    assert "longer than usual" in news.json()["parts"]["header"]


def test_without_a_success_nothing_is_usual(types, visitor):
    make_job(types["open"], "exception")
    assert "usual" not in head_of(visitor.get(page_of(in_state(types["open"], "running"))))


# What is said


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"attempt": 0, "max_attempts": 3, "status": "new"}, "Attempt up to 3"),
        ({"attempt": 1, "max_attempts": 3}, "Attempt 1 of 3"),
        ({"attempt": 2, "max_attempts": 1}, "Attempt 2 (extra attempt)"),
    ],
)
def test_an_attempt_beyond_the_limit_is_an_extra_one(types, visitor, fields, told):
    job = make_job(types["greet"], **{"status": "exception", **fields})
    assert told in head_of(visitor.get(page_of(job)))


@pytest.mark.parametrize(
    ("state", "look"),
    [("running", "running"), ("done", "done"), ("exception", "exception"), ("killed", "killed"),
     ("aborting", "aborting")],
)  # fmt: skip
def test_the_bar_has_the_look_of_the_badge_and_the_true_value(types, visitor, state, look):
    page = text_of(visitor.get(page_of(in_state(types["open"], state, progress=42))))
    assert f'<progress class="qw-progress" data-look="{look}" max="100" value="42"' in page
    assert f'class="qw-badge" data-look="{look}"' in page


def test_a_job_that_waits_for_another_attempt_tells_which_and_when(types, visitor):
    job = in_state(types["greet"], "will_retry")
    assert re.search(r"attempt 2 starts \w+ \d\d:\d\d:\d\d \(in 5 h\)", head_of(visitor.get(page_of(job))))


def test_a_done_job_with_bad_rows_says_how_many(types, visitor):
    job = in_state(types["open"], "done", results_rows=20, results_errors=12)
    assert "12 rows with errors" in head_of(visitor.get(page_of(job)))


def test_a_silent_job_says_who_ends_it_and_what_to_do_if_nobody_is_left(types, visitor):
    head = head_of(visitor.get(page_of(in_state(types["open"], "silent"))))
    assert "no sign of life" in head
    assert "another worker takes the job over" in head
    assert "or a user marks it as failed" in head


def test_the_time_limit_is_told_while_it_matters(types, visitor):
    import qorworker

    limited = qorworker.job(name="tests.limited", timeout=1800)(lambda: None)
    assert "Time limit 30 min" in head_of(visitor.get(page_of(in_state(limited, "running"))))
    assert "Time limit" not in head_of(visitor.get(page_of(in_state(limited, "done"))))
    assert "Time limit" not in head_of(visitor.get(page_of(in_state(types["open"], "running"))))
