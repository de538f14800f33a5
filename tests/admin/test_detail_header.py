"""The head of a job's page: how far it is, how long it may take, and what is said about each state."""

from __future__ import annotations

import datetime as dt
import json
import re

import pytest
from django.utils import timezone

from qorworker.admin.jobs.estimate import estimate
from qorworker.models import Job
from tests.admin.support import in_state, make_job, messages_of, page_of, superuser, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.once]


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


@pytest.mark.parametrize(
    ("progress", "seconds", "usual", "begin", "left"),
    [
        (70, 100, None, ["a1b2c3d4", 0, 60], 300),  # 10 % in 100 seconds, and 30 % are left
        (70, 200, None, ["a1b2c3d4", 100, 60], 300),
        (50, 300, None, ["a1b2c3d4", 200, 0], 100),  # the second loop
        (62, 100, None, ["a1b2c3d4", 0, 60], None),  # too little since then to tell
        (62, 100, 1_000, ["a1b2c3d4", 0, 60], 300),  # 40 % of what is usual
        (62, 500, 1_000, ["a1b2c3d4", 0, 60], None),  # already longer
        (60, 10, None, ["ffffffff", 0, 0], None),  # of an earlier attempt
        (60, 10, 1_000, ["ffffffff", 0, 0], 390),
        (50, 100, None, None, 100),
    ],
)
def test_progress_of_earlier_attempts_and_loops_does_not_count_for_the_time_left(progress, seconds, usual, begin, left):
    checkpoint = json.dumps({"loops": {}, "own": None, "rows": [0, 0], "begin": begin})
    job = Job(status="running", progress=progress, checkpoint=checkpoint, attempt_token="a1b2c3d4" * 4)
    job.last_attempted_at = ago(seconds=seconds)
    found = estimate(job, dt.timedelta(seconds=usual) if usual else None)
    assert (found.left.total_seconds() if found.left else None) == left


@pytest.mark.parametrize(("seconds", "factor"), [(150, None), (165, 1.6), (1_040, 10), (12_900, 120)])
def test_more_than_one_and_a_half_times_the_usual_is_long(seconds, factor):
    job = Job(status="running", last_attempted_at=ago(seconds=seconds))
    assert estimate(job, dt.timedelta(seconds=104)).factor == factor


@pytest.mark.parametrize("status", ["new", "scheduled", "done"])
def test_only_a_running_job_has_time_left(status):
    job = Job(status=status, progress=50, last_attempted_at=ago(seconds=100), finished_at=timezone.now())
    found = estimate(job, dt.timedelta(seconds=104))
    assert (found.left, found.factor, found.usual) == (None, None, dt.timedelta(seconds=104))


@pytest.mark.parametrize(("status", "shown"), [("done", True), ("exception", False), ("killed", False)])
def test_an_ended_job_tells_if_it_took_long_and_a_failed_one_only_that(status, shown):
    usual = dt.timedelta(seconds=100)
    long, short = (
        Job(status=status, last_attempted_at=ago(seconds=seconds), finished_at=timezone.now()) for seconds in (280, 90)
    )
    assert (estimate(long, usual).factor, estimate(long, usual).usual) == (2.8, usual)
    assert (estimate(short, usual).factor, estimate(short, usual).usual) == (None, usual if shown else None)


def test_a_few_seconds_more_than_usual_are_no_news():
    usual, now = dt.timedelta(milliseconds=50), timezone.now()
    ended = (
        Job(status="done", last_attempted_at=now - dt.timedelta(seconds=seconds), finished_at=now) for seconds in (5, 6)
    )
    assert [estimate(job, usual).factor for job in ended] == [None, 120]


def test_a_job_that_waits_again_tells_nothing_about_its_last_attempt():
    job = Job(status="scheduled", attempt=1, last_attempted_at=ago(seconds=500))
    assert estimate(job, dt.timedelta(seconds=100)).factor is None


def test_a_running_job_tells_elapsed_left_and_usual(types, visitor):
    took(types["open"], 170, 180, 190)
    job = in_state(types["open"], "running", progress=42, last_attempted_at=ago(seconds=80), worker=None)
    head = head_of(visitor.get(page_of(job)))
    assert re.search(r"1 min [2-5]\d s elapsed about (1 min \d+|\d+) s left usually 3 min", head)
    assert 'value="42"' in text_of(visitor.get(page_of(job)))


def test_a_job_that_takes_long_says_so(types, visitor):
    took(types["open"], 170, 180, 190)
    job = in_state(types["open"], "running", last_attempted_at=ago(seconds=600))
    assert "3.3 × slower than usual (usually 3 min)" in head_of(visitor.get(page_of(job)))
    assert re.search(r'<progress class="qw-progress"[^>]* max="100" aria', text_of(visitor.get(page_of(job))))


def test_becoming_unusually_long_is_news(types, visitor):
    took(types["open"], 50, 60, 70)
    job = in_state(types["open"], "running", last_attempted_at=ago(seconds=10))
    tag = visitor.get(page_of(job, "live/"))["ETag"]
    assert visitor.get(page_of(job, "live/"), headers={"if-none-match": tag}).status_code == 304
    Job.objects.filter(pk=job.pk).update(last_attempted_at=ago(seconds=100))
    news = visitor.get(page_of(job, "live/"), headers={"if-none-match": tag})
    assert "slower than usual" in news.json()["parts"]["header"]


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
     ("aborting", "aborting"), ("pausing", "pausing")],
)  # fmt: skip
def test_the_bar_has_the_look_of_the_badge_and_the_true_value(types, visitor, state, look):
    page = text_of(visitor.get(page_of(in_state(types["open"], state, progress=42))))
    assert f'<progress class="qw-progress" data-look="{look}" max="100" value="42"' in page
    assert f'class="qw-badge" data-look="{look}"' in page


def test_a_paused_job_tells_who_paused_it_and_why_and_what_happens_next(types, visitor):
    job = in_state(types["open"], "new")
    job.pause(by=superuser("anna"), reason="stocktaking")
    head = head_of(visitor.get(page_of(job)))
    assert re.search(r"Paused today \d\d:\d\d by anna ?: “stocktaking” It starts when it is resumed.", head)
    assert "not before" not in head
    now = timezone.now()
    begun = {"checkpoint": "{}", "progress": 42, "last_attempted_at": now}
    Job.objects.filter(pk=job.pk).update(run_after=now + dt.timedelta(hours=5), **begun)
    response = visitor.get(page_of(job))
    assert '<progress class="qw-progress" data-look="paused" max="100" value="42"' in text_of(response)
    head = head_of(response)
    assert "It goes on when it is resumed." in head
    assert re.search(r"not before .* \((in 5 h|in 4 h 59 min)\)", head)


def test_a_paused_job_takes_another_time_and_says_that_it_stays_paused(types, visitor):
    job = in_state(types["greet"], "paused")
    assert "It does not start before it is resumed." in text_of(visitor.get(page_of(job)))
    response = visitor.post(page_of(job, "reschedule/"), {"qw-at_0": "2020-01-01", "qw-at_1": "09:00"}, follow=True)
    (message,) = messages_of(response)
    assert message.endswith("It is still paused.")
    job.refresh_from_db()
    assert (job.is_paused, job.run_after.year) == (True, 2020)


def test_a_job_that_is_to_pause_says_whether_it_has_come_to_a_place_where_it_can(types, visitor):
    job = in_state(types["greet"], "running", max_attempts=2)
    job.pause(by=superuser("anna"), reason="stocktaking")
    head = head_of(visitor.get(page_of(job)))
    assert re.search(r"anna asked it to pause .*: “stocktaking”\.", head)
    assert "has not come to such a place yet" in head
    Job.objects.filter(pk=job.pk).update(checkpoint="{}")
    assert "It stops as soon as the current item is done." in head_of(visitor.get(page_of(job)))


def test_a_request_without_a_person_is_told_too(types, visitor):
    job = in_state(types["greet"], "looping")
    job.pause()
    assert re.search(r"It was asked to pause today \d\d:\d\d:\d\d ?\.", head_of(visitor.get(page_of(job))))


def test_the_button_comes_live_as_soon_as_a_loop_has_begun(types, visitor):
    job = in_state(types["open"], "running")
    first = visitor.get(page_of(job, "live/"))
    Job.objects.filter(pk=job.pk).update(checkpoint="{}")
    state = first.json()["state"]["state"]
    news = visitor.get(page_of(job, "live/"), {"state": state}, headers={"If-None-Match": first["ETag"]}).json()
    assert page_of(job, "pause/") in news["parts"]["actions"]


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
