import logging

import pytest
from django.db import transaction
from django.utils import timezone

from qorworker import signals
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import Writer
from qorworker.models import Job
from qorworker.models.sql import claimed_with
from qorworker.worker.parent.supervisor import Supervisor, WorkerOptions
from tests.models.rows import make_job
from tests.testapp import jobs

NAMES = ("job_enqueued", "job_started", "job_progressed", "job_finished", "worker_started", "worker_stopped")


@pytest.fixture
def heard():
    """Each signal that was sent, with what it told."""
    told = []

    def listener(name):
        def hear(sender, **words):
            told.append((name, {key: value for key, value in words.items() if key != "signal"}))

        return hear

    listeners = {name: listener(name) for name in NAMES}
    for name, hear in listeners.items():
        getattr(signals, name).connect(hear)
    yield told
    for name, hear in listeners.items():
        getattr(signals, name).disconnect(hear)


@pytest.mark.django_db(transaction=True)
def test_enqueued_is_told_when_it_is_committed(heard):
    with transaction.atomic():
        job = jobs.noop.enqueue()
        assert heard == []
    assert heard == [("job_enqueued", {"job": job})]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_told(heard):
    with transaction.atomic():
        jobs.noop.enqueue()
        transaction.set_rollback(True)
    assert heard == []


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_fails_does_not_fail_the_caller(heard):
    def broken(**words):
        raise RuntimeError("not my day")

    signals.job_enqueued.connect(broken)
    try:
        jobs.noop.enqueue()
    finally:
        signals.job_enqueued.disconnect(broken)
    assert Job.objects.count() == 1
    assert len(heard) == 1


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_job_has_finished_once_that_is_committed(heard):
    job = jobs.noop.enqueue()
    with transaction.atomic():
        job.cancel()
        assert [name for name, _ in heard] == ["job_enqueued"]
    [(name, told)] = heard[1:]
    assert (name, told["job_id"], told["status"], told["outcome"]) == ("job_finished", job.pk, "cancelled", "")


@pytest.mark.django_db(transaction=True)
def test_a_job_that_was_marked_as_failed_has_finished_once_that_is_committed(heard):
    job = make_job("running")
    with transaction.atomic():
        job.mark_failed()
        assert heard == []
    [(name, told)] = heard
    assert (name, told["job_id"], told["attempt"]) == ("job_finished", job.pk, 1)
    assert (told["status"], told["outcome"], told["error"]) == ("exception", "lost", job.error)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("aborted", [True, False])
def test_a_job_that_was_aborted_before_its_handler_was_called_has_finished(heard, aborted):
    job = make_job("running", abort_requested_at=timezone.now() if aborted else None)
    [claimed] = claimed_with("default", [job.attempt_token])
    writer = Writer("default", None, "host:1")
    writer.hand_back(RunningAttempt(claimed, "default"))
    writer.flush(())
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("killed" if aborted else "new", 0)
    ends = [(name, *map(words.get, ("job_id", "attempt", "status", "outcome"))) for name, words in heard]
    assert ends == ([("job_finished", job.pk, 0, "killed", "")] if aborted else [])


@pytest.mark.process
@pytest.mark.django_db(transaction=True)
def test_the_life_of_jobs_is_told_in_the_parent(heard):
    done, failed = jobs.story.enqueue(), jobs.fail.enqueue()
    Supervisor(WorkerOptions(processes=1, batch=True)).run()
    told = [
        (name, words.get("job_id"), words.get("status"))
        for name, words in heard
        if name not in ("job_enqueued", "job_progressed")
    ]
    assert (told[0], told[-1]) == (("worker_started", None, None), ("worker_stopped", None, None))
    for job, status in ((done, "done"), (failed, "exception")):
        mine = [words for words in told if words[1] == job.pk]
        assert mine == [("job_started", job.pk, None), ("job_finished", job.pk, status)]
    assert len(told) == 6
    [started] = [words for name, words in heard if name == "job_started" and words["job_id"] == done.pk]
    assert (started["name"], started["attempt"]) == ("testapp.story", 1)
    ends = [words for name, words in heard if name == "job_finished"]
    assert [(words["outcome"], words["attempt"], words["error"]) for words in ends] == [
        ("done", 1, ""),
        ("failed", 1, "ValueError: no such luck"),
    ]
    assert all(0 <= words["duration"] < 60 for words in ends)


@pytest.mark.parametrize(
    ("status", "level", "text"),
    [
        ("done", logging.INFO, "Job 7 (app.job) is done."),
        ("killed", logging.INFO, "Job 7 (app.job) is killed."),
        ("exception", logging.WARNING, "Job 7 (app.job) failed: no such luck"),
    ],
)
def test_ends_are_logged(caplog, status, level, text):
    with caplog.at_level(logging.INFO, "qorworker"):
        signals.log_finished(7, "app.job", status, "no such luck")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(level, text)]
