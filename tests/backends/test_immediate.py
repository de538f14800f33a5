"""The immediate backend keeps the contract, in the process that enqueues."""

import datetime as dt
from contextlib import nullcontext

import pytest
from django.db import InterfaceError, OperationalError, connection, connections, transaction
from django.test import TestCase, override_settings

from qorworker import chain
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.in_process import AttemptMonitor
from qorworker.attempts.writer import Writer
from qorworker.exceptions import UnsupportedByBackend
from qorworker.execution.loops import Loops
from qorworker.models import Job, JobQuerySet
from qorworker.models.sql import Claimed
from qorworker.testing import jobs
from qorworker.testing.backends import BackendContract
from tests.support import ended, wait_until
from tests.testapp import jobs as app_jobs

QUEUES = {
    "default": {"BACKEND": "qorworker.backends.local.LocalBackend"},
    "now": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"},
}


class TestImmediateBackend(BackendContract):
    queue_name = "now"

    @pytest.fixture
    def running(self, settings):
        settings.QORWORKER = {"QUEUES": QUEUES}

    def test_the_caller_has_the_job_as_it_ended(self):
        job = self.here(jobs.story).enqueue()
        assert (job.status, job.progress) == ("done", 100)

    def test_retry_returns_when_the_attempt_has_ended(self, path):
        job = self.here(jobs.fail_until).enqueue(path=path, good=4)
        assert job.status == "exception"
        job.retry()
        assert job.status == "done"

    def test_a_chain_runs_to_its_end_however_long_it_is(self):
        made = chain(*[self.here(app_jobs.adds_up).bind(number=1) for _ in range(80)]).enqueue()
        assert Job.objects.get(pk=made[-1].pk).result == 80

    def test_a_handler_has_the_job_that_it_enqueues_as_it_ended_although_others_wait(self, monkeypatch):
        inner, waits = self.here(jobs.story), self.here(jobs.story)
        seen = []
        monkeypatch.setattr(app_jobs.noop, "function", lambda: seen.append(inner.enqueue().status))
        with transaction.atomic():
            outer = self.here(app_jobs.noop).enqueue()
            last = waits.using(after=outer).enqueue()
        assert seen == ["done"]
        assert Job.objects.get(pk=last.pk).status == "done"

    def test_a_job_that_is_enqueued_while_the_one_before_it_runs_follows(self, monkeypatch):
        made = []

        def handler(context):
            made.append(self.here(jobs.story).using(after=context.job_id).enqueue())

        monkeypatch.setattr(app_jobs.story, "function", handler)
        assert self.here(app_jobs.story).enqueue().status == "done"
        assert Job.objects.get(pk=made[0].pk).status == "done"

    def test_a_pause_that_is_withdrawn_as_the_loop_stops_leaves_nothing_in_the_queue(self, monkeypatch):
        seen, suspend = [], Loops.suspend

        def handler(context):
            for number in context.iterate(range(3)):
                seen.append(number)
                if number == 1:
                    Job.objects.get(pk=context.job_id).pause()
                    wait_until(context._loops.suspend_requested)

        def suspend_late(loops):
            Job.objects.get(pk=loops.context.job_id).resume()
            suspend(loops)

        monkeypatch.setattr(app_jobs.story, "function", handler)
        monkeypatch.setattr(Loops, "suspend", suspend_late)
        job = self.here(app_jobs.story).using(max_attempts=2).enqueue()
        assert (job.status, job.error, seen) == ("done", "", [0, 1, 2])

    def test_ctrl_c_fails_the_job_and_reaches_the_caller(self, monkeypatch):
        def interrupted(context):
            raise KeyboardInterrupt

        monkeypatch.setattr(jobs.story, "function", interrupted)
        with pytest.raises(KeyboardInterrupt):
            self.here(jobs.story).enqueue()
        assert Job.objects.get().status == "exception"

    def test_a_handler_that_fails_leaves_the_connection_usable(self):
        with transaction.atomic():
            job = self.here(jobs.fail).enqueue(message="no")
            assert Job.objects.count() == 1
        assert (job.status, Job.objects.count()) == ("exception", 1)

    def test_what_the_handler_returns_is_kept_without_secrets(self):
        job = self.here(app_jobs.gives_back).enqueue(password="open sesame", number=7)
        assert job.result == {"number": 7, "password": "••••••"}
        assert self.here(jobs.story).enqueue().result is None

    def test_the_job_of_a_later_time_is_refused_in_words(self):
        with pytest.raises(UnsupportedByBackend, match="“now” cannot keep a job for a later time"):
            self.here(jobs.story, run_after=dt.timedelta(days=1)).enqueue()
        assert not Job.objects.exists()


@override_settings(QORWORKER={"QUEUES": QUEUES})
class InsideATestCase(TestCase):
    def test_jobs_run_where_commits_are_captured(self):
        with self.captureOnCommitCallbacks(execute=True):
            job = jobs.story.using(queue_name="now").enqueue()
            assert job.status == "new"
        assert job.status == "done"
        assert job.log.count() == 4


@pytest.mark.process
def test_a_job_that_its_caller_left_behind_is_run_by_a_worker(start, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    left, fresh = (Job(name=jobs.story.name, queue_name="now", arguments={}) for _ in range(2))
    Job.objects.enqueue_rows([left, fresh])  # as if their process had died before it ran them
    Job.objects.filter(pk=left.pk).update(run_after=left.run_after - dt.timedelta(minutes=2))
    start(QUEUES=QUEUES)
    assert ended(left).status == "done"
    fresh.refresh_from_db()
    assert fresh.status == "new"


@pytest.mark.process
def test_a_job_that_waits_for_one_of_a_worker_does_not_run_in_the_parent_process(start, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    first = app_jobs.noop.enqueue()
    job = jobs.story.using(queue_name="now", after=first).enqueue()
    Job.objects.filter(pk=job.pk).update(run_after=job.run_after - dt.timedelta(minutes=2))
    worker = start(QUEUES=QUEUES)
    assert ended(job).status == "done"
    attempt = job.attempts.get()
    assert attempt.worker_id is not None
    assert attempt.process_id != worker.pid


def monitor_with(watch):
    claimed = Claimed(
        id=1, priority=0, name=jobs.story.name, queue_name="now", arguments="{}", attempt=1, max_attempts=1, crashes=0,
        log_lines=0, log_bytes=0, log_dropped=0, results_rows=0, results_errors=0, token="f" * 32,
    )  # fmt: skip
    attempt = RunningAttempt(claimed, "default")
    return AttemptMonitor(attempt, Writer("default", None, "a test"), watch)


@pytest.mark.django_db
@pytest.mark.parametrize("error", [InterfaceError, OperationalError, connection.Database.OperationalError])
def test_a_lost_connection_does_not_end_the_thread_that_keeps_the_lease(monkeypatch, error):
    def fail(monitor):
        raise error("server has gone away")

    seen = []
    monitor = monitor_with(seen.append)
    monkeypatch.setattr(AttemptMonitor, "_check_requests", fail)
    monkeypatch.setattr(connections["default"], "close", lambda: None)  # it belongs to the test
    monitor._step()
    assert seen == [monitor]


@pytest.mark.django_db
@pytest.mark.parametrize(("renewed", "is_overdue"), [(0, True), (1, False)])
def test_a_lease_that_could_not_be_renewed_is_overdue(monkeypatch, renewed, is_overdue):
    monitor = monitor_with(lambda monitor: None)
    monitor.renewed_at -= 3600
    monkeypatch.setattr(JobQuerySet, "renew", lambda jobs, tokens, lease: renewed)
    monkeypatch.setattr(AttemptMonitor, "_check_requests", lambda monitor: None)
    monitor._step()
    assert monitor.is_overdue == is_overdue


def test_whatever_fails_in_a_round_does_not_end_the_thread_that_keeps_the_lease(monkeypatch, caplog):
    def watch(monitor):
        rounds.append(monitor)
        if len(rounds) == 2:
            monitor.stopped.set()
        raise ZeroDivisionError

    rounds = []
    monitor = monitor_with(watch)
    monkeypatch.setattr("qorworker.attempts.in_process.WRITE_INTERVAL", 0.0)
    monkeypatch.setattr(AttemptMonitor, "_check_requests", lambda monitor: None)
    monkeypatch.setattr(connections["default"], "close", lambda: None)  # it belongs to the test
    monitor._loop()
    assert len(rounds) == 2
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("error", [OperationalError, connection.Database.OperationalError])
def test_an_end_is_written_again_after_any_error_of_the_database(monkeypatch, error):
    def flush(running):
        tries.append(running)
        if len(tries) == 1:
            raise error("server has gone away")

    tries = []
    monitor = monitor_with(lambda monitor: None)
    monkeypatch.setattr("qorworker.attempts.in_process.WRITE_PAUSES", (0.0,))
    monkeypatch.setattr(connections["default"], "close", lambda: None)  # it belongs to the tests
    monkeypatch.setattr(monitor.writer, "flush", flush)
    monitor._write_end()
    assert len(tries) == 2


@pytest.mark.parametrize(("patience", "expected"), [(0.0, 2), (60.0, 5)])
def test_the_end_of_a_job_on_a_worker_is_written_after_a_restart_of_the_database(monkeypatch, patience, expected):
    def flush(running):
        tries.append(clock[0])
        clock[0] += 10.0
        if clock[0] < 50.0:
            raise OperationalError("connection refused")

    clock, tries = [0.0], []
    monitor = monitor_with(lambda monitor: None)
    monkeypatch.setattr("qorworker.attempts.in_process.WRITE_PAUSES", (0.0,))
    monkeypatch.setattr("qorworker.attempts.in_process.LAST_PAUSE", 0.0)
    monkeypatch.setattr("qorworker.attempts.in_process.monotonic", lambda: clock[0])
    monkeypatch.setattr(connections["default"], "close", lambda: None)  # it belongs to the tests
    monkeypatch.setattr(monitor.writer, "flush", flush)
    with nullcontext() if patience else pytest.raises(OperationalError):
        monitor._write_end(patience)
    assert len(tries) == expected


class TestAnEndWhoseRowIsLocked:
    @pytest.fixture
    def tries(self, monkeypatch):
        monkeypatch.setattr("qorworker.attempts.in_process.WRITE_PAUSES", (0.0,))
        monkeypatch.setattr("qorworker.attempts.in_process.LAST_PAUSE", 0.0)
        return []

    def write(self, monkeypatch, tries, locked):
        """Write an end as long as ``locked(monitor)`` says that it is not written."""

        def flush(running):
            tries.append(running)
            monitor.writer.deferred = ["an end"] if locked(monitor) else []

        monitor = monitor_with(lambda monitor: None)
        monkeypatch.setattr(monitor.writer, "flush", flush)
        monitor._write_end()
        return monitor

    def test_is_written_once_the_lock_is_gone(self, monkeypatch, tries):
        monitor = self.write(monkeypatch, tries, lambda monitor: len(tries) < 10)
        assert (monitor.writer.deferred, len(tries)) == ([], 10)

    def test_is_given_up_when_its_lease_is_over(self, monkeypatch, tries, caplog):
        def locked(monitor):
            if len(tries) == 10:
                monitor.renewed_at -= 3600
            return True

        self.write(monkeypatch, tries, locked)
        assert len(tries) == 10
        assert "could not be written: its row is locked" in caplog.text
