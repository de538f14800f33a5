"""Verbs for many jobs at once: for those that fit, each with its entry in the audit, however many."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError

from qorworker.models import AuditEntry, Job, database_now, many
from qorworker.models.job_queries import JobQuerySet
from tests.models.rows import STATUSES, make_job, race

pytestmark = pytest.mark.django_db


def queued():
    return set(Job.objects.queued().values_list("pk", flat=True))


def test_all_that_failed_of_a_type_are_queued_again_and_no_other():
    wanted = {make_job("exception", name="app.mail", error="KeyError: 1", crashes=2).pk for _ in range(3)}
    others = [make_job(status, name="app.mail") for status in STATUSES if status not in ("exception", "new")]
    others.append(make_job("exception", name="app.other"))
    user = get_user_model().objects.create(username="ben")
    assert Job.objects.failed().for_type("app.mail").retry(by=user) == 3
    assert queued() == wanted
    for job in Job.objects.filter(pk__in=wanted):
        assert (job.error, job.crashes, job.finished_at, job.attempt) == ("", 0, None, 1)
        assert job.run_after <= database_now("default")
        assert [(e.action, e.outcome, e.user_name) for e in AuditEntry.objects.of_job(job.pk)] == [
            ("retry", "ok", "ben")
        ]
    assert not AuditEntry.objects.filter(job_id__in=[job.pk for job in others]).exists()


def test_only_what_ended_badly_is_taken_whatever_is_asked_for():
    jobs = {status: make_job(status) for status in STATUSES}
    assert Job.objects.all().retry() == 2
    assert queued() == {jobs["new"].pk, jobs["exception"].pk, jobs["killed"].pk}


def test_many_take_a_few_statements_for_each_batch(monkeypatch, django_assert_max_num_queries):
    for _ in range(25):
        make_job("exception")
    monkeypatch.setattr(many, "AT_ONCE", 10)
    with django_assert_max_num_queries(40):
        assert Job.objects.failed().retry() == 25
    assert Job.objects.queued().count() == AuditEntry.objects.filter(action="retry").count() == 25


def test_if_one_of_them_may_not_wait_now_the_others_do(monkeypatch):
    jobs = [make_job("exception") for _ in range(3)]
    queue_again = JobQuerySet.queue_again

    def refused_together(rows):
        if rows.count() > 1:
            raise IntegrityError("Another job has this key.")
        return queue_again(rows)

    Job.objects.filter(pk=jobs[1].pk).update(status="done")
    monkeypatch.setattr(JobQuerySet, "queue_again", refused_together)
    assert {job.pk for job in many.retry(jobs, "default")} == queued() == {jobs[0].pk, jobs[2].pk}


@pytest.mark.django_db(transaction=True)
def test_two_at_the_same_time_retry_each_job_once():
    for _ in range(20):
        make_job("exception")
    counts = race(Job.objects.failed().retry, Job.objects.failed().retry)
    assert sum(counts) == 20
    assert AuditEntry.objects.filter(action="retry", outcome="ok").count() == 20


@pytest.mark.django_db(transaction=True)
def test_a_backend_is_told_of_those_that_wait_again(settings, monkeypatch):
    from tests.backends.failing import FailingBackend

    settings.QORWORKER = {"QUEUES": {"default": {"BACKEND": "tests.backends.failing.FailingBackend"}}}
    told = []
    monkeypatch.setattr(FailingBackend, "jobs_ready", lambda backend, jobs: told.extend(job.pk for job in jobs))
    jobs = [make_job("exception") for _ in range(3)]
    Job.objects.failed().retry()
    assert sorted(told) == [job.pk for job in jobs]
