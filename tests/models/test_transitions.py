import itertools

import pytest
from django.db import IntegrityError, transaction

from qorworker.models import Job
from qorworker.models.sql import claim
from tests.models.rows import STATUSES, claim_ids, columns, leaving, make_job, wanted, written
from tests.test_status import ALLOWED

pytestmark = pytest.mark.django_db


def try_to_move(job, target):
    """Ask the one writer that is responsible for this move."""
    if target == "running":
        return len(claim("default", wanted()))
    if job.status == "running":
        return len(written(leaving(job, target)))
    return Job.objects.filter(pk=job.pk).transition(target)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(STATUSES, repeat=2)))
def test_a_row_moves_exactly_as_the_table_says(source, target):
    job = make_job(source)
    before = columns(job)
    try:
        moved = try_to_move(job, target)
    except ValueError:
        moved = 0
    job.refresh_from_db()
    if (source, target) in ALLOWED:
        assert (moved, job.status) == (1, target)
        assert (job.attempt_token is not None) is (target == "running")
    else:
        assert moved == 0
        assert columns(job) == before


@pytest.mark.parametrize("target", ["new", "scheduled", "exception", "cancelled"])
def test_a_transition_leaves_running_jobs_to_their_owner(target):
    job = make_job("running")
    before = columns(job)
    assert Job.objects.filter(pk=job.pk).transition(target) == 0
    assert columns(job) == before


@pytest.mark.parametrize("target", ["running", "done", "killed"])
def test_only_who_changes_the_owner_can_ask_for_what_owners_decide(target):
    job = make_job("running")
    before = columns(job)
    with pytest.raises(ValueError, match="attempt_token"):
        Job.objects.filter(pk=job.pk).transition(target)
    assert columns(job) == before


def test_a_transition_writes_what_it_is_given_and_nothing_else():
    job, bystander = make_job("new", error="as it was"), make_job("new")
    before = columns(bystander)
    assert Job.objects.filter(pk=job.pk).transition("exception", crashes=3) == 1
    job.refresh_from_db()
    assert (job.status, job.crashes, job.error) == ("exception", 3, "as it was")
    assert columns(bystander) == before


def test_many_rows_move_in_one_statement(django_assert_num_queries):
    for status in STATUSES:
        make_job(status)
    with django_assert_num_queries(1):
        assert Job.objects.transition("cancelled") == 2
    assert Job.objects.cancelled().count() == 3


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "running"])
def test_the_database_refuses_a_token_on_a_job_that_is_not_running(status):
    job = make_job(status)
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(attempt_token="0" * 32)
    job.refresh_from_db()
    assert job.attempt_token is None


def test_the_database_refuses_a_running_job_without_a_token():
    job = make_job("running")
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(attempt_token=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(status="done")
    assert claim_ids() == []


def test_an_attempt_can_end_in_its_own_transaction():
    job = make_job("running")
    before = columns(job)
    assert Job.objects.end_in_transaction(job.pk, 1, job.attempt_token, 2.5) is True
    assert columns(job) == before
    note = job.attempts.get()
    assert (note.number, note.outcome, round(note.duration.total_seconds(), 1)) == (1, "done", 2.5)


def test_an_attempt_that_lost_its_job_cannot_end_in_its_own_transaction():
    job = make_job("running")
    before = columns(job)
    assert Job.objects.end_in_transaction(job.pk, 1, "f" * 32) is False
    assert columns(job) == before
