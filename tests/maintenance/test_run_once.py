"""What fires schedules where no ``runworker`` stays: once for each time, whoever comes first."""

from __future__ import annotations

import datetime as dt

import pytest

from qorworker import At, Every, Schedule, job
from qorworker.backends import crontab
from qorworker.definitions.registry import registry
from qorworker.maintenance import run_once, scheduler
from qorworker.maintenance.scheduler import Scheduler
from qorworker.models import Attempt, Job, JobQuerySet, ScheduleSlot, Summary, database_now
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import make_job, race
from tests.testapp import jobs

LOCAL = {"BACKEND": "qorworker.backends.local.LocalBackend"}
CRON = {"BACKEND": "qorworker.backends.crontab.CrontabBackend"}
KEEPER = {**CRON, "OPTIONS": {"MODE": "keeper"}}
PAST = At(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))


@pytest.fixture(autouse=True)
def afresh():
    run_once.scheduler_of.cache_clear()
    yield
    run_once.scheduler_of.cache_clear()


def made(name="", when=PAST):
    return Schedule.objects.create_for(registry.get("testapp.noop"), when, name=name)


def made_by(schedule):
    return list(Job.objects.filter(schedule=schedule).values_list("status", flat=True))


@pytest.mark.django_db
@pytest.mark.parametrize("queue", [CRON, KEEPER])
def test_a_tick_of_cron_fires_what_is_due(settings, monkeypatch, queue):
    settings.QORWORKER = {"QUEUES": {"default": LOCAL, "cron": queue}}
    started = []
    monkeypatch.setattr(crontab, "start_keeper", started.append)
    due, later = made(), made("later", At(dt.datetime(2999, 1, 1, tzinfo=dt.UTC)))
    crontab.run_tick()
    crontab.run_tick()
    assert (made_by(due), made_by(later)) == (["new"], [])
    assert bool(started) is (queue is KEEPER)


@pytest.mark.django_db
def test_a_job_whose_worker_has_no_row_any_more_is_settled(settings):
    settings.QORWORKER = {"OBSERVATION": 1}
    job = jobs.noop.enqueue()
    past = database_now("default") - dt.timedelta(seconds=1)
    Job.objects.filter(pk=job.pk).update(
        status="running", attempt=1, attempt_token="f" * 32, lease_expires_at=past, worker_id=2**30
    )
    assert run_once.rescue_lost("default") == 1
    job.refresh_from_db()
    assert (job.status, job.attempts.get().outcome) == ("exception", "lost")


@pytest.mark.django_db
def test_a_job_that_is_deleted_while_it_is_taken_over_is_let_go(settings, monkeypatch):
    settings.QORWORKER = {"OBSERVATION": 1}
    job = jobs.noop.enqueue()
    past = database_now("default") - dt.timedelta(seconds=1)
    Job.objects.filter(pk=job.pk).update(status="running", attempt=1, attempt_token="f" * 32, lease_expires_at=past)
    monkeypatch.setattr(JobQuerySet, "seize", lambda jobs, pk, *given: jobs.filter(pk=pk).delete()[0])
    assert run_once.rescue_lost("default") == 0


@pytest.mark.django_db
def test_a_task_of_celery_fires_what_is_due():
    celery = pytest.importorskip("qorworker.backends.celery.tasks", reason="the extra celery is not installed")
    due = made()
    celery.tend.run()
    celery.tend.run("default")
    assert made_by(due) == ["new"]


@pytest.mark.django_db
def test_a_paused_one_is_left_alone():
    due = made()
    due.pause()
    run_once.run_once("default")
    assert made_by(due) == []


@pytest.mark.django_db
def test_many_that_are_due_are_all_fired_in_one_go_however_long_that_takes(monkeypatch):
    monkeypatch.setattr(scheduler, "SHARE", 0.0)
    for number in range(5):
        made(f"number {number}")
    run_once.run_once("default")
    assert Job.objects.count() == 5


@pytest.mark.django_db
def test_what_the_code_declares_is_brought_in_once(own_types, monkeypatch):  # noqa: F811
    @job(name="declared", schedule=Every(minutes=15))
    def declared() -> None:
        """Does nothing."""

    run_once.run_once("default")
    assert Schedule.objects.get().name == "declared"
    monkeypatch.setattr(scheduler, "sync_declared", lambda using: pytest.fail("Once is enough."))
    run_once.run_once("default")


@pytest.mark.django_db
def test_a_backend_that_cannot_be_told_does_not_keep_schedules_from_firing(settings, monkeypatch):
    settings.QORWORKER = {"QUEUES": {"default": {"BACKEND": "tests.backends.failing.FailingBackend"}}}
    first = made()
    run_once.run_once("default")
    second = made("second")
    run_once.run_once("default")
    assert (made_by(first), made_by(second)) == (["new"], ["new"])


@pytest.mark.django_db
def test_what_did_not_start_in_time_is_withdrawn_before_anything_starts():
    schedule = made()
    run_once.run_once("default")
    Schedule.objects.update(expires=60)
    run_once.run_once("default")  # its time was years ago
    assert made_by(schedule) == ["cancelled"]


@pytest.mark.django_db(transaction=True)
def test_a_worker_a_tick_and_a_task_at_once_make_one_job():
    due = made()
    here = [Scheduler("default") for _ in range(4)]
    race(*[each.look for each in here], *[lambda: run_once.run_once("default")] * 4)
    assert made_by(due) == ["new"]
    assert ScheduleSlot.objects.count() == 1


@pytest.mark.django_db
def test_it_is_added_up_how_jobs_have_ended():
    at = database_now("default")
    Attempt.objects.create(job=make_job("done"), number=1, started_at=at, finished_at=at, outcome="done")
    run_once.run_once("default")
    assert set(Summary.objects.values_list("done", flat=True)) == {1}


@pytest.mark.django_db
def test_the_messages_about_what_has_ended_are_enqueued():
    job = make_job("done")
    job.notify("ann@example.com")
    run_once.run_once("default")
    assert job.messages.get().state == "queued"
    assert Job.objects.filter(pk=job.messages.get().sender_id).exists()
