from datetime import timedelta

import pytest
from django.utils import timezone

from qorworker.models import Job, database_now, promoting
from qorworker.models.leases import Requests
from tests.models.rows import STATUSES, columns, make_job, token

pytestmark = pytest.mark.django_db
ROUNDING = timedelta(milliseconds=1)


def ago(**interval):
    return database_now("default") - timedelta(**interval)


def test_a_renewal_counts_from_now_by_the_databases_clock():
    job = make_job("running", lease_expires_at=ago(hours=1))
    before = database_now("default")
    assert Job.objects.renew({job.pk: job.attempt_token}, 15) == 1
    lease = timedelta(seconds=15)
    assert before + lease - ROUNDING <= columns(job)["lease_expires_at"] <= database_now("default") + lease + ROUNDING


def test_only_attempts_that_are_still_held_are_renewed():
    held, taken_over = make_job("running"), make_job("running")
    ended = make_job("done")
    before = columns(taken_over), columns(ended)
    tokens = {held.pk: held.attempt_token, taken_over.pk: token(), ended.pk: token()}
    assert Job.objects.renew(tokens, 15) == 1
    assert (columns(taken_over), columns(ended)) == before


def test_a_renewal_touches_the_lease_only():
    job = make_job("running", progress=3, abort_requested_at=timezone.now())
    before = columns(job)
    Job.objects.renew({job.pk: job.attempt_token}, 15)
    after = columns(job)
    assert {name for name in after if after[name] != before[name]} == {"lease_expires_at"}


def test_the_owner_hears_of_requests_and_of_a_job_that_it_has_lost():
    asked, quiet, paused, lost, ended = *(make_job("running", max_attempts=2) for _ in range(4)), make_job("killed")
    asked.abort()
    paused.pause()
    tokens = {job.pk: job.attempt_token or token() for job in (asked, quiet, paused, lost, ended)}
    tokens[lost.pk] = token()
    found = Job.objects.requests(tokens)
    assert found == {asked.pk: Requests(abort=True), quiet.pk: Requests(), paused.pk: Requests(pause=True)}


def test_a_stack_that_was_asked_of_an_earlier_attempt_is_not_asked_of_this_one():
    fresh, stale = (make_job("running", last_attempted_at=ago(minutes=1)) for _ in range(2))
    for job in (fresh, stale):
        job.request_stack()
    Job.objects.filter(pk=stale.pk).update(last_attempted_at=database_now("default") + timedelta(minutes=1))
    found = Job.objects.requests({job.pk: job.attempt_token for job in (fresh, stale)})
    assert found == {fresh.pk: Requests(stack_at=fresh.stack_requested_at), stale.pk: Requests()}


def test_a_token_that_belongs_to_another_job_of_the_batch_is_no_hold():
    mine, other = make_job("running"), make_job("running")
    assert Job.objects.requests({mine.pk: other.attempt_token, other.pk: other.attempt_token}) == {other.pk: Requests()}


def test_past_leases_are_listed_with_their_token():
    past, current = make_job("running", lease_expires_at=ago(seconds=1)), make_job("running")
    Job.objects.renew({current.pk: current.attempt_token}, 30)
    assert Job.objects.expired_leases() == {past.pk: (past.attempt_token, past.lease_expires_at)}


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "running"])
def test_a_job_that_is_not_running_has_no_lease_to_lose(status):
    make_job(status, lease_expires_at=ago(hours=1))
    assert Job.objects.expired_leases() == {}


def test_a_job_whose_lease_is_past_can_be_seized_once():
    job = make_job("running", lease_expires_at=ago(seconds=1))
    assert Job.objects.seize(job.pk, token(), token(), 15) == 0
    new = token()
    assert Job.objects.seize(job.pk, job.attempt_token, new, 15) == 1
    assert Job.objects.seize(job.pk, job.attempt_token, token(), 15) == 0
    assert (columns(job)["attempt_token"], columns(job)["status"]) == (new, "running")
    assert columns(job)["lease_expires_at"] > database_now("default")


def test_a_job_that_was_renewed_in_time_cannot_be_seized():
    job = make_job("running", lease_expires_at=ago(seconds=1))
    Job.objects.renew({job.pk: job.attempt_token}, 15)
    before = columns(job)
    assert Job.objects.seize(job.pk, job.attempt_token, token(), 15) == 0
    assert columns(job) == before


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "running"])
def test_a_job_that_is_not_running_cannot_be_seized(status):
    job = make_job(status, lease_expires_at=ago(hours=1))
    assert Job.objects.seize(job.pk, job.attempt_token or "", token(), 15) == 0


class TestDue:
    def test_what_is_due_is_queued_and_the_rest_waits(self):
        due, now, later = (make_job("scheduled", run_after=ago(seconds=gap)) for gap in (60, 0, -60))
        assert Job.objects.promote_due() == 2
        assert [columns(job)["status"] for job in (due, now, later)] == ["new", "new", "scheduled"]
        assert Job.objects.promote_due() == 0

    def test_with_what_is_due_comes_the_time_until_the_next(self):
        due = make_job("scheduled", run_after=ago(seconds=1), priority=7)
        make_job("scheduled", run_after=ago(seconds=-60))
        make_job("scheduled", run_after=ago(seconds=-30))
        promoted, wait, jobs = Job.objects.promote(100)
        assert (promoted, jobs) == (1, [(due.queue_name, due.priority, due.pk)])
        assert 0 < wait <= 30
        assert Job.objects.promote(10) == (0, None, [])

    def test_nothing_that_is_due_costs_one_query(self, django_assert_num_queries):
        make_job("scheduled", run_after=ago(seconds=-30))
        with django_assert_num_queries(1):
            assert Job.objects.promote(10) == (0, None, [])

    def test_behind_many_that_are_due_it_looks_again_at_once(self, monkeypatch):
        monkeypatch.setattr(promoting, "SOON", 2)
        for _ in range(3):
            make_job("scheduled", run_after=ago(seconds=1))
        assert Job.objects.promote(10)[:2] == (3, 0.0)

    @pytest.mark.parametrize("status", [status for status in STATUSES if status != "scheduled"])
    def test_only_scheduled_jobs_become_due(self, status):
        job = make_job(status, run_after=ago(hours=1))
        before = columns(job)
        assert Job.objects.promote_due() == 0
        assert columns(job) == before
