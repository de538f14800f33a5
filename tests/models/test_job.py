from datetime import timedelta

import pytest
from django.utils import timezone

from qorworker.models import Job
from tests.models.rows import STATUSES, make_job

pytestmark = pytest.mark.django_db
MINUTE = timedelta(minutes=1)

NAMED = {
    "waiting": {"new", "scheduled"},
    "queued": {"new"},
    "scheduled": {"scheduled"},
    "running": {"running"},
    "done": {"done"},
    "failed": {"exception"},
    "aborted": {"killed"},
    "cancelled": {"cancelled"},
    "finished": {"done", "exception", "killed", "cancelled"},
    "ended_badly": {"exception", "killed"},
}


@pytest.mark.parametrize("question", NAMED)
def test_a_named_query_finds_its_statuses_and_no_other(question):
    for status in STATUSES:
        make_job(status)
    assert set(getattr(Job.objects, question)().values_list("status", flat=True)) == NAMED[question]


def test_jobs_are_found_by_type_user_and_attempt(django_user_model):
    user = django_user_model.objects.create_user("lou")
    mine = make_job("scheduled", name="app.other", created_by=user, attempt=1)
    make_job("scheduled")
    assert [*Job.objects.for_type("app.other"), *Job.objects.for_types(["app.other", "app.none"])] == [mine, mine]
    assert Job.objects.of_user(user).get() == Job.objects.will_retry().get() == mine
    assert Job.objects.will_retry().get().will_retry


def test_the_newest_comes_first():
    jobs = [make_job() for _ in range(3)]
    assert list(Job.objects.newest_first()) == list(Job.objects.all()) == jobs[::-1]


def test_a_running_job_whose_lease_is_past_does_not_respond():
    job = make_job("running", lease_expires_at=timezone.now() - MINUTE)
    assert job.not_responding
    assert Job.objects.not_responding().get() == job
    job.lease_expires_at = timezone.now() + MINUTE
    assert not job.not_responding


@pytest.mark.parametrize("status", STATUSES)
def test_the_duration_is_that_of_the_last_attempt(status):
    start = timezone.now() - MINUTE
    job = make_job(status, last_attempted_at=start, finished_at=None if status == "running" else start + MINUTE / 2)
    if status in ("new", "scheduled", "cancelled"):
        assert job.duration is None
    elif status == "running":
        assert MINUTE <= job.duration < 2 * MINUTE
    else:
        assert job.duration == MINUTE / 2


def test_a_job_that_never_started_has_no_duration():
    assert make_job("exception", last_attempted_at=None).duration is None


def test_a_clock_that_is_behind_makes_no_negative_duration():
    assert make_job("running", last_attempted_at=timezone.now() + MINUTE).duration == timedelta()


def test_a_job_whose_code_is_gone_is_shown_by_its_name():
    job = make_job(name="gone.job")
    assert job.job_type is None
    assert str(job) == f"gone.job #{job.pk}"


@pytest.mark.parametrize("status", STATUSES)
def test_a_job_knows_whether_it_has_ended(status):
    assert make_job(status).is_finished is (status in NAMED["finished"])
