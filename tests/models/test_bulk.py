"""Verbs for many jobs at once: for those that fit, each with its entry in the audit, however many."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError

from qorworker.models import AuditEntry, Job, bulk, database_now
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
    monkeypatch.setattr(bulk, "AT_ONCE", 10)
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
    assert {job.pk for job in bulk.retry(jobs, "default")} == queued() == {jobs[0].pk, jobs[2].pk}


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


VERBS = {"cancel": "waiting", "run_now": "scheduled", "abort": "running"}
AFTER = {"cancel": ("cancelled", "cancelled"), "run_now": ("new",), "abort": ("running",)}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_for_many_does_what_it_does_for_one_and_leaves_the_others_alone(
    verb, django_capture_on_commit_callbacks
):
    user = get_user_model().objects.create(username="ben")
    jobs = [make_job(status) for status in STATUSES]
    fitting = set(getattr(Job.objects.all(), VERBS[verb])().values_list("pk", flat=True))
    before = dict(Job.objects.values_list("pk", "status"))
    with django_capture_on_commit_callbacks(execute=True):
        assert getattr(Job.objects.all(), verb)(by=user) == len(fitting) > 0
    after = {job.pk: job for job in Job.objects.all()}
    assert {pk: after[pk].status for pk in before if pk not in fitting} == {
        pk: status for pk, status in before.items() if pk not in fitting
    }
    assert sorted(after[pk].status for pk in fitting) == sorted(AFTER[verb])
    if verb == "abort":
        assert all(after[pk].abort_requested_at for pk in fitting)
    entries = AuditEntry.objects.order_by("job_id")
    assert [(entry.job_id, entry.action, entry.user_name, entry.outcome) for entry in entries] == [
        (pk, verb.replace("_", " "), "ben", "ok") for pk in sorted(fitting)
    ]
    assert len(jobs) == Job.objects.count()


@pytest.mark.parametrize("verb", ["cancel", "abort"])
def test_a_reason_is_recorded_with_each_job(verb):
    for status in ("new", "running"):
        make_job(status)
    getattr(Job.objects.all(), verb)(reason="the shop is closed")
    assert [entry.details for entry in AuditEntry.objects.all()] == [{"reason": "the shop is closed"}]


def test_an_abort_is_requested_once(settings):
    make_job("running")
    assert [Job.objects.all().abort(), Job.objects.all().abort()] == [1, 0]
    assert AuditEntry.objects.count() == 1


def test_each_cancelled_job_sends_its_signal(django_capture_on_commit_callbacks):
    from qorworker.signals import job_finished

    heard = []

    def hear(job_id, status, **more):
        heard.append((job_id, status))

    waiting = [make_job("new").pk, make_job("scheduled").pk]
    make_job("running")
    job_finished.connect(hear)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            Job.objects.all().cancel()
    finally:
        job_finished.disconnect(hear)
    assert sorted(heard) == [(pk, "cancelled") for pk in waiting]


def test_many_new_jobs_like_those_of_a_query_are_made_once_each():
    from tests.testapp.jobs import in_order

    jobs = [in_order.enqueue(ledger="ledger", name=str(number)) for number in range(3)]
    make_job("done", name="app.gone")  # has no code
    again = Job.objects.filter(rerun_of__isnull=False)
    assert Job.objects.all().rerun() == 3  # and not once more for those that it has just made
    assert sorted(again.values_list("rerun_of", flat=True)) == [job.pk for job in jobs]


def test_deleted_jobs_leave_an_audit_entry_and_nothing_else(monkeypatch):
    from qorworker.models import LogLine

    monkeypatch.setattr(bulk, "AT_ONCE", 2)
    jobs = [make_job(status) for status in STATUSES]
    kept = make_job("done", name="app.kept")
    for job in [*jobs, kept]:
        LogLine.objects.create(job=job, number=1, attempt=1, at=database_now("default"), level=20, text="a line")
    numbers = sorted(job.pk for job in jobs)
    counts = Job.objects.exclude(name="app.kept").delete()
    assert counts[1] == {"qorworker.Job": len(jobs), "qorworker.LogLine": len(jobs)}
    assert counts[0] == 2 * len(jobs)
    assert list(Job.objects.values_list("pk", flat=True)) == [kept.pk]
    assert (
        list(AuditEntry.objects.filter(action="delete").order_by("job_id").values_list("job_id", flat=True)) == numbers
    )


def test_a_job_that_was_retried_meanwhile_is_not_deleted_with_those_that_have_ended(monkeypatch):
    retried, ended, locked = make_job("exception"), make_job("exception"), bulk._locked

    def retry_first(jobs, rows):
        Job.objects.filter(pk=retried.pk).update(status="new", finished_at=None)
        return locked(jobs, rows)

    monkeypatch.setattr(bulk, "_locked", retry_first)
    assert Job.objects.finished().delete()[1]["qorworker.Job"] == 1
    assert queued() == {retried.pk}
    assert AuditEntry.objects.get(action="delete").job_id == ended.pk


def test_one_deleted_job_leaves_an_audit_entry_too():
    job = make_job("done")
    number = job.pk
    assert job.delete(by=get_user_model().objects.create(username="ben"))[1]["qorworker.Job"] == 1
    assert AuditEntry.objects.get().job_id == number
    assert AuditEntry.objects.get().user_name == "ben"
    with pytest.raises(TypeError):
        Job.objects.all()[:1].delete()


def test_the_secrets_of_cancelled_jobs_are_erased():
    from tests.testapp.jobs import gives_back

    job = gives_back.enqueue(password="x")
    assert Job.objects.all().cancel() == 1
    assert Job.objects.get(pk=job.pk).erased_secrets == ["password"]
