"""Workers, fork servers and machines die or stand still: no job is lost or ends twice, and no process is left."""

import os
import signal
import subprocess
import time
from collections import Counter

import pytest

from qorworker.exceptions import InvalidTransition
from qorworker.models import Job, Worker
from qorworker.system import processes
from tests.support import alive, census, ended, log_of, wait_until, with_status
from tests.testapp import jobs

pytestmark = pytest.mark.process
QUICK = {"LEASE": 3, "OBSERVATION": 1}
needs_namespaces = pytest.mark.skipif(os.geteuid() != 0, reason="a machine of its own needs root")


def assert_one_end_each(transitions):
    assert set(transitions.ends().values()) == {1}


def starts(ledger):
    return Counter(int(line[0]) for line in ledger.lines())


def settled(job, begun, what):
    job = ended(job, 60)
    print(f"recovery_s {what}: {time.monotonic() - begun:.2f}")
    return job


def test_a_worker_killed_and_started_again_settles_at_once(start, ledger, transitions):
    first = start()
    single = jobs.wait_for.enqueue(ledger=str(ledger))
    again = jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait(2)
    wait_until(lambda: log_of(single) == ["waiting"])
    first.kill()
    wait_until(lambda: not first.census(), 10)
    second = start()
    begun = time.monotonic()
    single = settled(single, begun, "worker SIGKILLed and restarted")
    assert time.monotonic() - begun < 10
    assert single.status == "exception"
    assert "ended without finishing this job" in single.error
    assert single.attempts.get().outcome == "lost"
    assert log_of(single) == ["waiting"]
    again = ended(again)
    assert (again.status, again.attempt) == ("done", 2)
    assert [attempt.outcome for attempt in again.attempts.order_by("number")] == ["lost", "done"]
    assert starts(ledger) == {single.pk: 1, again.pk: 2}
    assert_one_end_each(transitions)
    assert Worker.objects.not_stopped().count() == 1
    assert second.stop() == 0
    assert second.census() == []


def test_a_neighbour_settles_a_killed_worker(start, ledger, transitions):
    first = start("--queues", "default")
    job = jobs.family.enqueue(ledger=str(ledger), ignore_term=True)
    ledger.wait()
    wait_until(lambda: len(first.running("sleep")) == 3)
    start("--queues", "mail")
    first.kill()
    begun = time.monotonic()
    job = settled(job, begun, "worker SIGKILLed, neighbour alive")
    assert (job.status, job.attempts.get().outcome) == ("exception", "lost")
    wait_until(lambda: not first.census(), 10)
    assert_one_end_each(transitions)


def test_nothing_is_left_of_a_killed_worker_although_nobody_sweeps(start, ledger):
    worker = start()
    jobs.family.enqueue(ledger=str(ledger), ignore_term=True)
    ledger.wait()
    wait_until(lambda: len(worker.running("sleep")) == 3)
    worker.kill()
    begun = time.monotonic()
    wait_until(lambda: not worker.census(), 10)
    print(f"orphans gone after the worker was SIGKILLed: {time.monotonic() - begun:.2f} s")


@needs_namespaces
@pytest.mark.parametrize(("whole_machine", "leases"), [(True, {}), (False, QUICK)], ids=["machine", "worker"])
def test_a_worker_lost_for_good_is_settled_from_another_machine(start, ledger, transitions, whole_machine, leases):
    """Once with the leases of everybody who sets nothing."""
    first = start(machine=True, **leases)
    single = jobs.family.enqueue(ledger=str(ledger))
    again = jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait(2)
    start(**leases)
    begun = time.monotonic()
    if whole_machine:
        [init] = [pid for pid in first.census() if _command(pid) == "sh" and _is_init(pid)]
        os.kill(init, signal.SIGKILL)
    else:
        first.kill()
    wait_until(lambda: not [pid for pid in first.census() if _command(pid) not in ("unshare", "sh")], 10)
    single = settled(single, begun, f"lost for good, whole machine: {whole_machine}, {leases or 'defaults'}")
    again = settled(again, begun, "its re-runnable job")
    assert time.monotonic() - begun < 40
    assert single.status == "exception"
    assert "stopped answering" in single.error
    assert (again.status, again.attempt) == ("done", 2)
    assert starts(ledger) == {single.pk: 1, again.pk: 2}
    assert_one_end_each(transitions)


def _command(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


def _is_init(pid):
    with open(f"/proc/{pid}/status") as file:
        return any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in file)


@needs_namespaces
def test_a_worker_that_stood_still_finds_its_jobs_taken(start, ledger, transitions, tmp_path):
    first = start(machine=True, **QUICK)
    single = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    again = jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait(2)
    first.signal(signal.SIGSTOP)
    begun = time.monotonic()
    start(**QUICK)
    single = settled(single, begun, "worker stands still")
    assert (single.status, single.attempts.get().outcome) == ("exception", "lost")
    again = settled(again, begun, "re-runnable job of a worker that stands still")
    assert (again.status, again.attempt) == ("done", 2)
    # The re-runnable one was ended by its own worker's fork server before it could run twice at a time.
    assert len(first.children()) == 1
    (tmp_path / "gate").touch()
    before = {job.pk: _stored(job) for job in (single, again)}
    first.signal(signal.SIGCONT)
    wait_until(lambda: "taken from this worker" in first.said or "was not written" in first.said)
    assert ended(jobs.noop.enqueue()).status == "done"
    assert {job.pk: _stored(job) for job in (single, again)} == before
    assert starts(ledger) == {single.pk: 1, again.pk: 2}
    assert_one_end_each(transitions)


def _stored(job):
    return Job.objects.filter(pk=job.pk).values().get(), list(job.attempts.values())


@needs_namespaces
def test_the_processes_of_a_taken_job_are_ended_when_its_worker_goes_on(start, ledger, transitions):
    first = start(machine=True, **QUICK)
    job = jobs.family.enqueue(ledger=str(ledger))
    ledger.wait()
    wait_until(lambda: len(first.running("sleep")) == 3)
    first.signal(signal.SIGSTOP)
    second = start(**QUICK)
    job = ended(job)
    assert (job.status, job.attempts.get().outcome) == ("exception", "lost")
    assert len(first.running("sleep")) == 3  # a single-attempt job is not started again, so it may go on
    first.signal(signal.SIGCONT)
    wait_until(lambda: not first.running("sleep"))
    assert second.running("sleep") == []
    assert_one_end_each(transitions)


def test_a_job_that_outlives_its_lease_is_lost_although_nobody_has_taken_it(start, ledger, transitions):
    worker = start(**QUICK)
    job = jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait()
    (_job, pid) = ledger.lines()[0]
    worker.signal(signal.SIGSTOP)
    wait_until(lambda: not alive(int(pid)))
    worker.signal(signal.SIGCONT)
    job = ended(job)
    assert (job.status, job.attempt) == ("done", 2)
    assert [attempt.outcome for attempt in job.attempts.order_by("number")] == ["lost", "done"]
    assert "it gave the job up" in job.attempts.get(number=1).error
    assert_one_end_each(transitions)


def test_a_job_marked_as_failed_while_its_worker_stands_still_ends_once(start, ledger, transitions):
    """No other worker is there; the processes are ended by their own when it goes on."""
    worker = start(**QUICK)
    single, again = jobs.family.enqueue(ledger=str(ledger)), jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait(2)
    wait_until(lambda: len(worker.running("sleep")) == 3)
    single.refresh_from_db()
    with pytest.raises(InvalidTransition):
        single.mark_failed()
    worker.signal(signal.SIGSTOP)
    wait_until(lambda: Job.objects.not_responding().count() == 2)
    for job in (single, again):
        job.refresh_from_db()
        job.mark_failed(reason="a test")
        assert (job.status, job.attempts.get().outcome) == ("exception", "lost")
    assert len(worker.running("sleep")) == 3
    before = {job.pk: _stored(job) for job in (single, again)}
    worker.signal(signal.SIGCONT)
    wait_until(lambda: not worker.running("sleep"), why=lambda: worker.said)
    assert ended(jobs.noop.enqueue()).status == "done"
    assert {job.pk: _stored(job) for job in (single, again)} == before
    assert starts(ledger) == {single.pk: 1, again.pk: 1}
    assert_one_end_each(transitions)


def test_a_killed_fork_server_is_replaced_and_its_jobs_are_settled(start, ledger, transitions):
    worker = start()
    single = jobs.family.enqueue(ledger=str(ledger))
    again = jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait(2)
    wait_until(lambda: len(worker.running("sleep")) == 3)
    before = worker.fork_server()
    os.kill(before, signal.SIGKILL)
    begun = time.monotonic()
    single = settled(single, begun, "fork server SIGKILLed")
    assert single.status == "exception"
    assert "the process that all jobs of this worker are started from has ended" in single.error
    again = ended(again)
    assert (again.status, again.attempt) == ("done", 2)
    assert worker.running("sleep") == []
    assert worker.process.poll() is None
    assert worker.fork_server() != before
    assert ended(jobs.noop.enqueue()).status == "done"
    assert_one_end_each(transitions)


def test_a_killed_child_takes_its_family_with_it(start, ledger):
    worker = start()
    job = jobs.family.enqueue(ledger=str(ledger), ignore_term=True)
    [[_, pid]] = ledger.wait()
    wait_until(lambda: len(worker.running("sleep")) == 3)
    os.kill(int(pid), signal.SIGKILL)
    assert ended(job).status == "exception"
    assert worker.running("sleep") == []


def test_a_process_with_the_number_of_a_dead_worker_is_left_alone(start, ledger, transitions):
    first = start()
    bystander = subprocess.Popen(["sleep", "600"], env={processes.COOKIE: "another"})
    try:
        job = jobs.wait_for.enqueue(ledger=str(ledger))
        ledger.wait()
        first.kill()
        Worker.objects.filter(process_id=first.pid).update(process_id=bystander.pid)
        second = start()
        assert "ended without finishing" in ended(job).error, second.said
        assert alive(bystander.pid)
        assert census(f"{processes.COOKIE}=another") == [bystander.pid]
    finally:
        bystander.kill()
        bystander.wait()


def test_an_abort_asked_for_while_the_worker_was_dead_is_kept(start, ledger):
    first = start()
    job = jobs.wait_again.enqueue(ledger=str(ledger))
    ledger.wait()
    first.kill()
    job.refresh_from_db()
    job.abort()
    start()
    job = ended(job)
    assert (job.status, job.attempt) == ("killed", 1)
    assert job.attempts.get().outcome == "aborted"
    assert len(ledger.lines()) == 1


def test_an_idle_child_that_dies_is_replaced(start):
    worker = start(processes=2)
    killed = wait_until(lambda: len(children := worker.children()) == 2 and children)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    # A job given to a child before its death is known would count as started.
    wait_until(lambda: len(set(worker.children()) - set(killed)) == 2)
    for _ in range(4):
        assert ended(jobs.noop.enqueue()).status == "done"


def test_the_worker_does_not_tell_what_jobs_printed_in_a_child_that_died_later(start):
    """Its page and its log have other readers than the logs of jobs."""
    first = jobs.story.enqueue()
    worker = start(processes=1)
    assert "from a subprocess" in log_of(ended(first))
    (child,) = worker.children()
    os.kill(child, signal.SIGSTOP)
    second = with_status(jobs.noop.enqueue(), "running")
    os.kill(child, signal.SIGKILL)
    assert ended(second).status == "done"
    assert "before it could do any work" in worker.said
    assert "from a subprocess" not in worker.said


def test_a_worker_whose_row_was_closed_registers_again(start, ledger, tmp_path):
    worker = start()
    job = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    ledger.wait()
    Worker.objects.stop(Worker.objects.get().pk)
    wait_until(lambda: Worker.objects.not_stopped().exists())
    (tmp_path / "gate").touch()
    assert with_status(job, "done").attempt == 1
    assert worker.stop() == 0
    assert not Worker.objects.not_stopped().exists()
