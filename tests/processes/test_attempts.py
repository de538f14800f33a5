"""Attempts after the first, attempts in processes of their own, attempts whose writes and end belong together."""

import os
import signal

import pytest
from django.contrib.auth import get_user_model

from qorworker.models import Job
from tests.settings import ENGINE
from tests.support import ended, wait_until, with_status
from tests.testapp import jobs

pytestmark = pytest.mark.process


def test_a_process_of_its_own_for_each_attempt(worker, ledger):
    many = [jobs.isolated.enqueue(ledger=str(ledger)) for _ in range(4)]
    many += [jobs.isolated_again.enqueue(ledger=str(ledger)) for _ in range(4)]
    shared = [jobs.wait_for.enqueue(ledger=str(ledger), seconds=0.0) for _ in range(4)]
    assert {ended(job).status for job in many + shared} == {"done"}
    pids = {int(job_id): pid for job_id, pid in ledger.lines()}
    own = [pids[job.pk] for job in many]
    assert len(set(own)) == 8
    assert not set(own) & {pids[job.pk] for job in shared}


class TestRetries:
    def test_a_job_that_fails_twice_is_done_at_the_third(self, worker, ledger):
        job = jobs.fail_twice.enqueue(ledger=str(ledger))
        job = ended(job)
        assert (job.status, job.attempt, job.error) == ("done", 3, "")
        attempts = job.attempts.order_by("number")
        assert [(attempt.number, attempt.outcome, attempt.error) for attempt in attempts] == [
            (1, "failed", "ValueError: attempt 1"),
            (2, "failed", "ValueError: attempt 2"),
            (3, "done", ""),
        ]

    def test_the_back_off_is_waited_for_and_then_no_attempt_is_left(self, worker, ledger):
        job = jobs.fails_slowly.enqueue(ledger=str(ledger))
        waiting = with_status(job, "scheduled")
        assert (waiting.error, waiting.will_retry) == ("ValueError: again", True)
        job = ended(job)
        assert (job.status, job.attempt) == ("exception", 2)
        first, second = job.attempts.order_by("number")
        assert (second.started_at - first.finished_at).total_seconds() >= 0.95
        assert float(ledger.lines()[1][1]) - float(ledger.lines()[0][1]) >= 0.95

    def test_a_crash_is_an_attempt_of_a_job_that_may_run_again(self, worker, ledger):
        job = jobs.crashes_once.enqueue(ledger=str(ledger))
        job = ended(job)
        assert (job.status, job.attempt, job.crashes) == ("done", 2, 0)
        assert [attempt.outcome for attempt in job.attempts.order_by("number")] == ["crashed", "done"]
        assert [line.text for line in job.log.order_by("number")] == ["attempt 1", "attempt 2"]

    def test_arguments_that_do_not_fit_are_not_tried_again(self, worker, ledger):
        now = jobs.noop.enqueue().enqueued_at
        job = Job.objects.create(
            name=jobs.fail_twice.name, run_after=now, enqueued_at=now, max_attempts=3, arguments={"wrong": 1}
        )
        job = ended(job)
        assert (job.status, job.attempt, job.attempts.get().outcome) == ("exception", 1, "refused")


class TestAtomic:
    def users(self):
        return list(get_user_model().objects.values_list("username", flat=True))

    def test_writes_and_end_are_committed_together(self, worker):
        good = jobs.atomic.enqueue(name="kept")
        bad = jobs.atomic.enqueue(name="rolled back", succeed=False)
        assert (ended(good).status, ended(bad).status) == ("done", "exception")
        assert self.users() == ["kept"]
        good.refresh_from_db()
        assert good.finished_at is not None
        assert wait_until(good.attempts.first).outcome == "done"  # of which the worker hears after the commit

    def test_a_handler_without_its_job_leaves_no_writes(self, worker):
        job = jobs.atomic_loses_itself.enqueue(name="rolled back")
        job = ended(job)
        assert (job.status, job.attempts.get().outcome) == ("exception", "lost")
        assert "rolled back" in job.error
        assert self.users() == []

    def test_a_killed_attempt_leaves_no_writes(self, worker, ledger, tmp_path):
        job = jobs.atomic_until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger), name="killed")
        [[_, pid]] = ledger.wait()
        os.kill(int(pid), signal.SIGKILL)
        assert ended(job).status == "exception"
        assert self.users() == []

    # In SQLite nobody else can write while such a job runs, so nobody can take or abort it.
    if ENGINE != "sqlite":

        def test_an_attempt_that_lost_its_job_leaves_no_writes(self, worker, ledger, tmp_path):
            job = jobs.atomic_until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger), name="late")
            ledger.wait()
            assert Job.objects.filter(pk=job.pk).update(attempt_token="f" * 32)
            (tmp_path / "gate").touch()
            wait_until(lambda: "taken" in worker.said)
            assert ended(jobs.noop.enqueue()).status == "done"
            assert self.users() == []
            assert Job.objects.filter(pk=job.pk, attempt_token="f" * 32).delete()[0]

        def test_an_aborted_attempt_leaves_no_writes(self, worker, ledger, tmp_path):
            job = jobs.atomic_until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger), name="aborted")
            ledger.wait()
            job.abort()
            assert ended(job).status == "killed"
            assert self.users() == []
