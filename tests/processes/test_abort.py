"""Abort, cancel, reschedule and run now while a worker is at it."""

import os
import signal
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from django.utils import timezone

from qorworker.exceptions import InvalidTransition
from qorworker.models import AuditEntry, Job, database_now
from tests.support import alive, ended, log_of, wait_until, with_status
from tests.testapp import jobs

pytestmark = pytest.mark.process
GONE = "All its processes have ended."


def aborted(job, timeout=30):
    """Abort the job; how it ended, and after how many seconds."""
    begun = time.monotonic()
    job.abort(reason="test")
    job = ended(job, timeout)
    return job, time.monotonic() - begun


def test_an_aborted_job_is_killed_and_says_that_its_processes_have_ended(worker, ledger):
    job = jobs.wait_for.enqueue(ledger=str(ledger))
    [[_, pid]] = ledger.wait()
    job, seconds = aborted(job)
    print(f"abort of a sleeping job: {seconds:.2f} s")
    assert (job.status, job.error) == ("killed", f"Aborted. {GONE}")
    assert not alive(int(pid))
    [attempt] = job.attempts.all()
    assert (attempt.outcome, attempt.survivors) == ("aborted", 0)
    assert log_of(job) == ["waiting"]


@pytest.mark.parametrize("ignore_term", [False, True])
def test_children_other_sessions_and_daemons_of_an_aborted_job_are_gone(worker, ledger, ignore_term):
    job = jobs.family.enqueue(ledger=str(ledger), ignore_term=ignore_term)
    [[_, pid]] = ledger.wait()
    wait_until(lambda: len(worker.running("sleep")) == 3)
    job, seconds = aborted(job)
    print(f"abort of a family, ignore_term={ignore_term}: {seconds:.2f} s")
    assert (job.status, job.error) == ("killed", f"Aborted. {GONE}")
    assert worker.running("sleep") == []
    assert not alive(int(pid))
    assert job.attempts.get().survivors == 0


def test_a_daemon_that_forked_twice_is_gone(worker, ledger):
    job = jobs.daemon.enqueue(ledger=str(ledger))
    ledger.wait()
    wait_until(lambda: worker.running("sleep"))
    job, _ = aborted(job)
    assert (job.status, job.error) == ("killed", f"Aborted. {GONE}")
    assert worker.running("sleep") == []


def test_a_coroutine_is_aborted_also_while_its_event_loop_runs_something_else(worker, ledger):
    job = jobs.among_callbacks.enqueue(ledger=str(ledger))
    ledger.wait()
    job, _ = aborted(job)
    assert (job.status, job.error) == ("killed", f"Aborted. {GONE}")
    assert [line[-1] for line in ledger.lines()] == ["begun", "cleaned"]


@pytest.mark.parametrize("job_type", [jobs.stubborn, jobs.swallows])
def test_who_ignores_the_request_is_killed_after_the_grace(worker, ledger, job_type):
    job = job_type.enqueue(ledger=str(ledger))
    pid = int(ledger.wait()[0][-1])
    job, seconds = aborted(job)
    assert job.status == "killed"
    assert seconds >= 1.5  # the grace of the shared worker is two seconds
    assert not alive(pid)


def test_a_job_may_tidy_up(worker, ledger):
    job = jobs.cleanup.enqueue(ledger=str(ledger))
    ledger.wait()
    assert aborted(job)[0].status == "killed"
    assert [words for [words] in ledger.lines()] == ["begin", "tidy"]


def test_a_job_that_returns_when_it_is_asked_to_end_is_aborted(worker, ledger):
    job = jobs.returns_when_asked.enqueue(ledger=str(ledger))
    ledger.wait()
    job, seconds = aborted(job)
    assert (job.status, job.error) == ("killed", f"Aborted. Its function then returned. {GONE}")
    assert job.attempts.get().outcome == "aborted"
    print(f"abort of a job that returns: {seconds:.2f} s")


def test_a_job_that_returns_when_its_time_is_over_is_tried_again(worker, ledger):
    job = ended(jobs.returns_when_late.enqueue(ledger=str(ledger)))
    assert (job.status, job.attempt) == ("done", 2)
    first = job.attempts.get(number=1)
    assert (first.outcome, first.error.endswith("Its function then returned.")) == ("timeout", True)


def test_a_stopped_job_can_be_aborted(worker, ledger):
    job = jobs.wait_for.enqueue(ledger=str(ledger))
    [[_, pid]] = ledger.wait()
    os.kill(int(pid), signal.SIGSTOP)
    assert aborted(job)[0].status == "killed"
    assert not alive(int(pid))


def test_asking_twice_changes_nothing(worker, ledger):
    job = jobs.wait_for.enqueue(ledger=str(ledger))
    ledger.wait()
    for _ in range(3):
        with suppress(InvalidTransition):
            job.abort()
    assert ended(job).status == "killed"
    assert job.attempts.count() == 1


def test_the_job_beside_an_aborted_one_goes_on(worker, ledger, tmp_path):
    other = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    job = jobs.wait_for.enqueue(ledger=str(ledger))
    ledger.wait(2)
    assert aborted(job)[0].status == "killed"
    (tmp_path / "gate").touch()
    assert ended(other).status == "done"


def test_an_aborted_job_is_retried_on_request(worker, ledger):
    job = jobs.wait_for.enqueue(ledger=str(ledger), seconds=1.0)
    ledger.wait()
    assert aborted(job)[0].status == "killed"
    job.retry()
    job = ended(job)
    assert (job.status, job.attempt, job.abort_requested_at) == ("done", 2, None)
    assert [attempt.outcome for attempt in job.attempts.order_by("number")] == ["aborted", "done"]


def test_an_aborted_job_is_not_tried_again_by_itself(worker, ledger):
    job = jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait()
    job, _ = aborted(job)
    assert (job.status, job.attempt) == ("killed", 1)


def test_abort_and_finish_at_the_same_time_give_one_end(worker, ledger, tmp_path):
    outcomes = set()
    for number in range(25):
        gate = tmp_path / f"gate{number}"
        job = jobs.until.enqueue(gate=str(gate), ledger=str(ledger))
        ledger.wait(number + 1)
        if number % 2:
            gate.touch()
        with suppress(InvalidTransition):
            job.abort()
        gate.touch()
        job = ended(job)
        outcomes.add(job.status)
        wait_until(lambda job=job: job.attempts.exists())
        [attempt] = job.attempts.all()
        assert (job.status, attempt.outcome) in {("done", "done"), ("killed", "aborted")}
    print(f"abort against finish: {outcomes}")
    assert len(ledger.lines()) == 25


def test_progress_never_undoes_an_abort(worker, tmp_path):
    for number in range(10):
        job = jobs.progress_until.enqueue(gate=str(tmp_path / "gate"))
        wait_until(lambda job=job: Job.objects.filter(pk=job.pk, progress__gt=0).exists())
        job, _ = aborted(job)
        assert (job.status, number) == ("killed", number)
        assert job.abort_requested_at is not None


def test_a_job_that_waits_cannot_be_aborted_but_cancelled(worker, ledger):
    blockers = [jobs.wait_for.enqueue(ledger=str(ledger)) for _ in range(2)]
    ledger.wait(2)
    waiting = jobs.in_order.enqueue(ledger=str(ledger), name="never")
    with pytest.raises(InvalidTransition):
        waiting.abort()
    waiting.cancel(reason="not needed")
    for job in blockers:
        aborted(job)
    assert ended(jobs.noop.enqueue()).status == "done"
    waiting.refresh_from_db()
    assert (waiting.status, waiting.attempt, len(ledger.lines())) == ("cancelled", 0, 2)


def test_a_claimed_job_that_waits_behind_another_is_aborted_before_it_starts(worker, ledger):
    for _ in range(4):
        ended(jobs.noop_again.enqueue())
    jobs.noop_again.enqueue_many([{"number": number} for number in range(400)])
    wait_until(lambda: not Job.objects.waiting().exists() and not Job.objects.running().exists(), 60)
    blocked = [jobs.wait_again.enqueue(ledger=str(ledger)) for _ in range(2)]
    ledger.wait(2)
    for job in blocked:
        assert aborted(job)[0].status == "killed"
    assert len(ledger.lines()) == 2


def test_cancel_against_claim_gives_one_winner(worker, ledger):
    cancelled = 0
    for number in range(30):
        job = jobs.in_order.enqueue(ledger=str(ledger), name=str(number))
        if number % 3:
            time.sleep(0.002 * (number % 5))
        try:
            job.cancel()
            cancelled += 1
            assert job.status == "cancelled"
        except InvalidTransition:
            assert ended(job).status == "done"
    assert ended(jobs.noop.enqueue()).status == "done"
    print(f"cancel against claim: {cancelled} of 30 cancelled")
    assert len(ledger.lines()) == 30 - cancelled


def test_reschedule_and_run_now_while_a_worker_is_idle(worker, ledger):
    job = jobs.in_order.using(run_after=timedelta(hours=1)).enqueue(ledger=str(ledger), name="moved")
    assert job.status == "scheduled"
    job.reschedule(timezone.now() + timedelta(hours=2))
    assert ended(jobs.noop.enqueue()).status == "done"
    assert with_status(job, "scheduled").attempt == 0
    job.run_now()
    assert ended(job).status == "done"
    past = jobs.in_order.using(run_after=timedelta(hours=1)).enqueue(ledger=str(ledger), name="past")
    past.reschedule(timezone.now() - timedelta(hours=1))
    assert ended(past).status == "done"
    assert [name for [name] in ledger.lines()] == ["moved", "past"]


def test_a_scheduled_job_starts_in_time_and_never_early(worker, ledger):
    when = database_now("default") + timedelta(seconds=1.5)
    job = jobs.in_order.using(run_after=when).enqueue(ledger=str(ledger), name="later")
    job = ended(job)
    late = (job.started_at - when).total_seconds()
    print(f"scheduled job started {late:.3f} s after its time")
    assert late >= 0
    assert late < 5


def test_running_now_and_cancelling_what_runs_is_too_late(worker, ledger, tmp_path):
    job = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    ledger.wait()
    for verb in (job.cancel, job.run_now, job.retry, lambda: job.reschedule(timezone.now())):
        with pytest.raises(InvalidTransition):
            verb()
    (tmp_path / "gate").touch()
    assert ended(job).status == "done"
    assert AuditEntry.objects.filter(outcome="too late").count() == 4


def test_a_deleted_running_job_loses_its_processes(worker, ledger):
    job = jobs.family.enqueue(ledger=str(ledger))
    [[_, pid]] = ledger.wait()
    Job.objects.filter(pk=job.pk).delete()
    wait_until(lambda: not alive(int(pid)) and not worker.running("sleep"))
    assert ended(jobs.noop.enqueue()).status == "done"
    assert not Job.objects.filter(pk=job.pk).exists()
