"""Each check of what workers do finds a fault, with workers that have it. They are played here: none is started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qorworker.management.selftest import behaviour
from qorworker.management.selftest import trial as module
from qorworker.management.selftest.behaviour import CHECKS, MANY
from qorworker.management.selftest.trial import Note, Trial
from qorworker.management.selftest.verdicts import State, findings
from qorworker.models import Attempt, Worker, database_now
from qorworker.status import Outcome
from qorworker.system import processes
from qorworker.system.processes import monotonic

pytestmark = [pytest.mark.django_db, pytest.mark.once]


class Played(Trial):
    """A trial whose workers are played: each job has ended once it is enqueued, as *ends* says."""

    def __init__(self):
        super().__init__("default", ["false"], {}, timeout=60)
        self.told: list[Note] = []
        self.late = 0.0
        self.is_done = True

    def start_workers(self, number, limit):
        self.rows = [
            Worker.objects.start(name=f"own:{each}", host="here", process_id=each, slots=2, queues=[self.queue])
            for each in range(number)
        ]

    def enqueue(self, number=1, *, task="note", max_attempts=1):
        jobs = super().enqueue(number, task=task, max_attempts=max_attempts)
        for place, job in enumerate(jobs if self.is_done else ()):
            self.end(job, self.rows[place % len(self.rows)])
        return jobs

    def end(self, job, worker, status="done"):
        now = database_now("default")
        own = {"attempt_token": "0" * 32, "lease_expires_at": now} if status == "running" else {}
        self.jobs().filter(pk=job.pk).update(status=status, worker=worker, attempt=1, **own)
        Attempt.objects.create(job=job, number=1, started_at=now, finished_at=now, outcome=Outcome.DONE)
        self.told.append(Note(job.pk, 1, monotonic() + self.late))

    def notes(self):
        return self.told


@pytest.fixture
def played(tmp_path, monkeypatch):
    monkeypatch.setattr(behaviour, "IDLE", 0.0)
    monkeypatch.setattr(behaviour, "STARTING", 0.1)
    monkeypatch.setattr(behaviour, "LIMIT", 0.1)
    monkeypatch.setattr(behaviour, "_is_notified", lambda trial: None)
    trial = Played()
    trial.folder = tmp_path
    return trial


def verdict_of(name, trial):
    [check] = [check for check in CHECKS if check.name == name]
    [finding] = findings([check], trial)
    if finding.verdict.state == State.FAILED:
        assert finding.verdict.remedy
    return finding.verdict


def test_an_idle_worker_that_starts_at_once_is_fit(played):
    assert verdict_of("wake-ups", played).state == State.OK


def test_one_that_starts_late_is_not(played):
    played.late = 3.0
    verdict = verdict_of("wake-ups", played)
    assert verdict.state == State.FAILED
    assert verdict.text == "An idle worker started a job only 3.0 seconds after it was enqueued."


def test_a_notification_that_does_not_arrive_is_a_failure(played, monkeypatch):
    monkeypatch.setattr(behaviour, "_is_notified", lambda trial: False)
    verdict = verdict_of("wake-ups", played)
    assert (verdict.state, verdict.text) == (State.FAILED, "A notification of the database did not arrive.")


def test_jobs_that_do_not_end_are_a_failure_with_the_limit(played):
    played.is_done = False
    verdict = verdict_of("wake-ups", played)
    assert (verdict.state, verdict.text) == (State.FAILED, "4 jobs had not ended within 0 seconds.")


def test_jobs_that_are_started_once_each_by_both_are_fit(played):
    verdict = verdict_of("claims", played)
    assert (verdict.state, verdict.text) == (State.OK, f"2 workers started {MANY} jobs, each of them once.")


def test_a_job_that_was_started_twice_is_a_failure(played, monkeypatch):
    before = Played.enqueue

    def enqueue(self, number=1, **options):
        jobs = before(self, number, **options)
        self.told.append(Note(jobs[0].pk, 1, monotonic()))
        return jobs

    monkeypatch.setattr(Played, "enqueue", enqueue)
    verdict = verdict_of("claims", played)
    assert (verdict.state, verdict.text) == (State.FAILED, f"Of {MANY} jobs 1 were started more than once.")
    assert "must never happen" in verdict.remedy


def test_a_worker_that_took_all_jobs_has_proved_nothing(played, monkeypatch):
    monkeypatch.setattr(Played, "end", lambda self, job, worker, end=Played.end: end(self, job, self.rows[0]))
    assert verdict_of("claims", played).state == State.WARNING


@pytest.fixture
def program():
    """A process that has nothing to do with the tests."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def held(played, monkeypatch, program, status):
    """Have a job run in that process, of which somebody then says that it has this status."""
    played.is_done = False
    played.start_workers(2, 0)
    [job] = played.enqueue()
    played.end(job, played.rows[0], status)
    job.refresh_from_db()
    monkeypatch.setattr(behaviour, "_held", lambda trial: (job, {program.pid: processes.started(program.pid)}))
    monkeypatch.setattr(played, "start_workers", lambda number, limit: None)
    monkeypatch.setattr(type(job), "abort", lambda self, **options: None)
    return job


def test_an_abort_that_leaves_no_process_is_fit(played, monkeypatch, program):
    held(played, monkeypatch, program, "killed")
    program.kill()
    program.wait()
    verdict = verdict_of("abort", played)
    assert (verdict.state, verdict.figures["processes"]) == (State.OK, 1)


def test_an_abort_that_leaves_a_process_is_a_failure(played, monkeypatch, program):
    held(played, monkeypatch, program, "killed")
    verdict = verdict_of("abort", played)
    assert (verdict.state, verdict.text) == (State.FAILED, "Of 1 processes of an aborted job 1 still run.")


def test_an_abort_that_nobody_heeds_is_a_failure(played, monkeypatch, program):
    held(played, monkeypatch, program, "running")
    monkeypatch.setattr(played, "seconds_left", lambda: 0.1)
    verdict = verdict_of("abort", played)
    assert verdict.state == State.FAILED
    assert verdict.text.startswith("An abort was not carried out within ")


class Victim:
    """A worker that can be killed."""

    def __init__(self, pid):
        self.process = type("Process", (), {"pid": pid})
        self.is_killed = False

    def kill(self):
        self.is_killed = True

    def check(self):
        """It never ends by itself."""


def test_a_job_that_is_not_taken_over_is_a_failure(played, monkeypatch, program):
    held(played, monkeypatch, program, "running")
    victim = Victim(played.rows[0].process_id)
    played.workers = [victim]
    monkeypatch.setattr(played, "seconds_left", lambda: 0.1)
    verdict = verdict_of("recovery", played)
    assert victim.is_killed
    assert verdict.state == State.FAILED
    assert verdict.text.startswith("The job of a killed worker was not started again within ")


def test_a_job_that_is_taken_over_while_its_processes_go_on_is_a_failure(played, monkeypatch, program):
    job = held(played, monkeypatch, program, "done")
    played.told.append(Note(job.pk, 2, monotonic()))
    played.workers = [Victim(played.rows[0].process_id)]
    assert verdict_of("recovery", played).text.startswith("The processes of a killed worker had not all ended")


def test_a_worker_that_cannot_start_says_why(monkeypatch, tmp_path):
    trial = Trial("default", [sys.executable, "-c", "import sys; sys.exit('no such luck')"], dict(os.environ), 60)
    trial.folder = tmp_path
    verdict = verdict_of("claims", trial)
    assert verdict.state == State.FAILED
    assert verdict.text == "A worker of the test ended by itself. Its last lines: no such luck"


def test_what_a_killed_test_has_left_is_deleted_and_one_that_runs_is_spared(monkeypatch, tmp_path):
    old, young = Trial("default", [], {}, 60), Trial("default", [], {}, 60)
    old.folder = young.folder = tmp_path
    old.enqueue(2)
    Worker.objects.start(name="old", host="here", process_id=1, slots=1, queues=[old.queue])
    monkeypatch.setattr(module, "LEFT_BEHIND", -module.LEFT_BEHIND)
    module.clear_left_behind("default")
    assert not old.jobs().exists()
    assert not Worker.objects.exists()
    monkeypatch.undo()
    young.enqueue()
    module.clear_left_behind("default")
    assert young.jobs().count() == 1
