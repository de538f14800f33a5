"""How a worker ends: by a signal, or because its work is done."""

import os
import signal
import time

import pytest

from qorworker.models import Job, Worker
from tests.support import alive, ended, wait_until, with_status
from tests.testapp import jobs

pytestmark = pytest.mark.process


def assert_gone(worker, status=0):
    assert worker.exit_status() == status, worker.said
    assert worker.census() == []
    assert not Worker.objects.not_stopped().exists()
    assert not Job.objects.running().exists()


def test_the_first_signal_lets_running_jobs_end_and_takes_no_more(start, ledger, tmp_path):
    worker = start(processes=1)
    running = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    ledger.wait()
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Stopping" in worker.said)
    waiting = jobs.in_order.enqueue(ledger=str(ledger), name="never")
    (tmp_path / "gate").touch()
    assert_gone(worker)
    assert ended(running).status == "done"
    assert with_status(waiting, "new").attempt == 0
    assert len(ledger.lines()) == 1


def test_what_was_taken_and_did_not_start_is_handed_back_uncounted(start, ledger, tmp_path):
    """Short re-runnable jobs are taken ahead; then one of them takes long."""
    worker = start(processes=1)
    for _ in range(5):
        ended(jobs.sometimes_slow.enqueue(ledger=str(ledger), gate=""))
    gate = tmp_path / "gate"
    jobs.sometimes_slow.enqueue_many(
        [{"ledger": str(ledger), "gate": str(gate) if number == 0 else ""} for number in range(30)]
    )
    ledger.wait(6)
    slow = wait_until(lambda: Job.objects.running().filter(arguments__gate=str(gate)).first())
    taken = wait_until(lambda: Job.objects.running().count())
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Stopping" in worker.said)
    gate.touch()
    assert_gone(worker)
    assert ended(slow).status == "done"
    queued = Job.objects.queued()
    print(f"{taken} were taken, {queued.count()} handed back")
    assert not queued.exclude(attempt=0, attempt_token=None, started_at=None, last_attempted_at=None).exists()
    start("--batch").exit_status()
    assert Job.objects.done().count() == 35
    assert not Job.objects.exclude(attempt=1).exists()
    assert len(ledger.lines()) == 35
    assert len({line[0] for line in ledger.lines()}) == 35


def test_after_the_grace_jobs_are_interrupted_and_go_back_if_they_may(start, ledger):
    worker = start("--grace", "1")
    single = jobs.family.enqueue(ledger=str(ledger))
    again = jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait(2)
    worker.signal(signal.SIGTERM)
    assert_gone(worker)
    single, again = ended(single), with_status(again, "new")
    assert (single.status, single.error) == ("exception", "Interrupted because the worker was stopped.")
    assert single.attempts.get().outcome == "interrupted"
    assert (again.attempt, again.attempt_token) == (0, None)
    assert again.attempts.get().outcome == "interrupted"


def test_jobs_that_return_when_they_are_asked_to_end_were_interrupted_too(start, ledger):
    worker = start("--grace", "0")
    single = jobs.returns_when_asked.enqueue(ledger=str(ledger))
    again = jobs.returns_when_asked_again.enqueue(ledger=str(ledger))
    ledger.wait(2)
    worker.signal(signal.SIGTERM)
    assert_gone(worker)
    single, again = ended(single), with_status(again, "new")
    error = "Interrupted because the worker was stopped. Its function then returned."
    assert (single.status, single.error) == ("exception", error)
    assert (again.attempt, again.attempts.get().outcome) == (0, "interrupted")


def test_grace_0_interrupts_at_once(start, ledger):
    worker = start("--grace", "0")
    job = jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait()
    worker.signal(signal.SIGTERM)
    assert_gone(worker)
    assert with_status(job, "new").attempt == 0


def test_an_interrupted_job_that_will_not_stop_is_killed(start, ledger):
    worker = start("--grace", "0")
    job = jobs.stubborn.enqueue(ledger=str(ledger))
    [[_, pid]] = ledger.wait()
    worker.signal(signal.SIGTERM)
    assert_gone(worker)
    assert ended(job).status == "exception"
    assert not alive(int(pid))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_forces(start, ledger, number):
    worker = start("--grace", "600")
    job = jobs.family.enqueue(ledger=str(ledger), ignore_term=True)
    ledger.wait()
    worker.signal(number)
    wait_until(lambda: "Stopping" in worker.said)
    begun = time.monotonic()
    worker.signal(number)
    assert_gone(worker)
    print(f"forced end: {time.monotonic() - begun:.2f} s")
    assert ended(job).status == "exception"
    assert job.error == "Interrupted because the worker was stopped."


def test_ctrl_c_of_the_whole_terminal_is_an_orderly_end(start, ledger, tmp_path):
    worker = start()
    job = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    ledger.wait()
    os.killpg(worker.process.pid, signal.SIGINT)
    wait_until(lambda: "Stopping" in worker.said)
    (tmp_path / "gate").touch()
    assert_gone(worker)
    assert ended(job).status == "done"


def test_a_signal_before_it_is_ready_ends_it_too(start):
    worker = start(ready=False)
    wait_until(worker.parent)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.exit_status() in (0, -signal.SIGTERM)
    assert worker.census() == []


def test_batch_runs_what_is_due_and_ends(start, ledger):
    for name in "abc":
        jobs.in_order.enqueue(ledger=str(ledger), name=name)
    flaky = jobs.fail_twice.enqueue(ledger=str(ledger))
    worker = start("--batch", processes=1, ready=False)
    assert_gone(worker)
    assert ended(flaky).status == "done"
    assert [line[0] for line in ledger.lines()[:3]] == ["a", "b", "c"]
    empty = start("--batch", ready=False)
    assert_gone(empty)


def test_max_jobs_is_exact(start, ledger):
    jobs.write_again.enqueue_many([{"ledger": str(ledger), "number": number} for number in range(20)])
    worker = start("--max-jobs", "7", ready=False)
    assert_gone(worker)
    assert len(ledger.lines()) == 7
    assert (Job.objects.done().count(), Job.objects.queued().count()) == (7, 13)


def test_max_jobs_counts_no_job_that_was_handed_back(start, ledger, tmp_path):
    """Short jobs are taken ahead; then one of them takes long, and those behind it are taken once more."""
    worker = start("--max-jobs", "20", processes=2)
    quick, gate = {"ledger": str(ledger)}, tmp_path / "gate"
    for _ in range(5):
        ended(jobs.sometimes_slow.enqueue(**quick))
    jobs.sometimes_slow.enqueue_many([*[quick] * 3, {**quick, "gate": str(gate)}, *[quick] * 30])
    wait_until(lambda: Job.objects.done().count() == 19)
    gate.touch()
    assert_gone(worker)
    assert (Job.objects.done().count(), Job.objects.queued().count()) == (20, 19)


def test_two_workers_share_the_machine_and_end_on_their_own(start, ledger):
    first, second = start(), start()
    assert first.stop() == 0
    assert ended(jobs.noop.enqueue()).status == "done"
    assert Worker.objects.not_stopped().get().process_id == second.pid
    assert second.stop() == 0
