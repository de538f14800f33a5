"""What becomes of jobs that share a child when their worker stops, dies, or stands still."""

import signal
from collections import Counter

import pytest

from qorworker.models import Job
from tests.support import alive, all_ended, ended, wait_until, with_status
from tests.testapp import jobs, sharing

pytestmark = pytest.mark.process


def begun(ledger, count):
    wait_until(lambda: sum(line[0] == "begin" for line in ledger.lines()) >= count, why=lambda: ledger.lines())
    return {int(line[1]): int(line[2]) for line in ledger.lines() if line[0] == "begin"}


def together(count, ledger, gate):
    return sharing.together.enqueue_many([{"ledger": str(ledger), "gate": str(gate)}] * count)


def attempts_of(job):
    return [each.outcome for each in job.attempts.order_by("number", "pk")]


def test_the_first_signal_lets_them_end_and_takes_no_more(start, ledger, tmp_path):
    worker, gate = start(processes=1), tmp_path / "gate"
    made = together(70, ledger, gate)
    begun(ledger, 50)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Stopping" in worker.said)
    gate.touch()
    assert worker.exit_status() == 0
    assert (Job.objects.done().count(), Job.objects.queued().count()) == (50, 20)
    assert not Job.objects.filter(pk__in=[job.pk for job in made]).exclude(status="done").exclude(attempt=0).exists()


def test_after_the_grace_each_is_cancelled_and_goes_back_uncounted(start, ledger, tmp_path):
    worker = start("--grace", "0", processes=1)
    made = together(5, ledger, tmp_path / "gate")
    begun(ledger, 5)
    worker.signal(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert sum(line[0] == "cancelled" for line in ledger.lines()) == 5
    for job in made:
        job = with_status(job, "new")
        assert (job.attempt, attempts_of(job)) == (0, ["interrupted"])


def test_one_that_will_not_stop_is_killed_and_the_others_go_back(start, ledger, tmp_path):
    worker = start("--grace", "0", processes=1)
    (job,) = sharing.endless.enqueue_many([{"ledger": str(ledger)}])
    pid = begun(ledger, 1)[job.pk]
    worker.signal(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert not alive(pid)
    assert attempts_of(with_status(job, "new")) == ["interrupted"]


def test_max_jobs_is_exact(start, ledger):
    sharing.quick.enqueue_many({"ledger": str(ledger)} for _ in range(40))
    assert start("--max-jobs", "17", ready=False).exit_status() == 0
    assert len(ledger.lines()) == 17
    assert (Job.objects.done().count(), Job.objects.queued().count()) == (17, 23)


def test_batch_runs_all_and_ends(start, ledger):
    sharing.quick.enqueue_many({"ledger": str(ledger)} for _ in range(120))
    jobs.write_again.enqueue_many([{"ledger": str(ledger), "number": number} for number in range(20)])
    assert start("--batch", ready=False).exit_status() == 0
    assert Job.objects.done().count() == 140


def test_children_are_replaced_after_many_jobs_while_others_run(start, ledger, tmp_path):
    start(processes=2, CHILD_JOBS=20)
    (long,) = together(1, ledger, tmp_path / "gate")
    begun(ledger, 1)
    made = sharing.together.enqueue_many([{"ledger": str(ledger)}] * 60)
    wait_until(lambda: Job.objects.done().count() == 60)
    pids = Counter(begun(ledger, 61).values())
    assert len(pids) >= 3
    assert max(pids.values()) <= 20
    (tmp_path / "gate").touch()
    assert (ended(long).status, attempts_of(long)) == ("done", ["done"])
    assert {attempt for job in made for attempt in attempts_of(job)} == {"done"}


def test_a_killed_worker_loses_none_and_each_runs_once_more(start, ledger, tmp_path, transitions):
    first, gate = start(processes=1), tmp_path / "gate"
    made = together(5, ledger, gate)
    begun(ledger, 5)
    first.kill()
    wait_until(lambda: not first.census(), 10)
    gate.touch()
    start(processes=1)
    for job in made:
        job = ended(job, 60)
        assert (job.status, attempts_of(job)) == ("done", ["lost", "done"])
    assert set(transitions.ends().values()) == {1}


def test_those_of_a_worker_that_stood_still_past_their_leases_are_lost_once(start, ledger, tmp_path, transitions):
    worker, gate = start(processes=1, LEASE=3, OBSERVATION=3), tmp_path / "gate"
    made = together(5, ledger, gate)
    pid = begun(ledger, 5)[made[0].pk]
    worker.signal(signal.SIGSTOP)
    wait_until(lambda: not alive(pid))
    gate.touch()
    worker.signal(signal.SIGCONT)
    for job in made:
        job = ended(job)
        assert (job.status, attempts_of(job)) == ("done", ["lost", "done"])
    assert set(transitions.ends().values()) == {1}


def test_other_jobs_get_their_turn_beside_them(start, ledger, tmp_path):
    """In the order of the queue: the first child that has ended what it runs takes the next one."""
    start(processes=2)
    gate, later = tmp_path / "gate", tmp_path / "later"
    first = together(60, ledger, gate)
    begun(ledger, 60)
    plain = jobs.write.enqueue(ledger=str(ledger), number=7)
    behind = together(60, ledger, later)
    wait_until(lambda: Job.objects.queued().count() == 61)
    gate.touch()
    assert ended(plain).status == "done"
    assert {ended(job).status for job in first} == {"done"}
    later.touch()
    all_ended()
    assert {ended(job).status for job in behind} == {"done"}


def test_jobs_that_were_enqueued_before_their_type_was_shared_run_alone(start, ledger, tmp_path):
    gate = tmp_path / "gate"
    made = together(3, ledger, gate)
    Job.objects.filter(pk=made[0].pk).update(max_attempts=1)
    start(processes=2)
    pids = begun(ledger, 3)
    assert pids[made[0].pk] != pids[made[1].pk] == pids[made[2].pk]
    gate.touch()
    assert {ended(job).status for job in made} == {"done"}


def test_long_jobs_in_processes_that_are_to_be_replaced_do_not_hold_up_the_rest(start, ledger, tmp_path):
    start(processes=1, CHILD_JOBS=2)
    made = together(12, ledger, tmp_path / "gate")
    begun(ledger, 12)
    (tmp_path / "gate").touch()
    assert {ended(job).status for job in made} == {"done"}


def test_a_time_limit_does_not_count_what_a_job_waits_behind_others(start):
    start(processes=1)
    sharing.limited.enqueue_many({"seconds": 0.0} for _ in range(20))
    all_ended()
    for job in sharing.limited.enqueue_many({"seconds": 1.8} for _ in range(4)):
        assert attempts_of(ended(job)) == ["done"]


def test_one_that_takes_the_place_of_another_and_ends_the_process_has_begun(start, ledger, tmp_path):
    start(processes=1)
    made = [sharing.in_places.enqueue(ledger=str(ledger)) for _ in range(4)]  # a type has to prove that it is short
    all_ended()
    ways = [str(tmp_path / "gate"), "", "exit"]
    made = sharing.in_places.enqueue_many([{"ledger": str(ledger), "way": way} for way in ways])
    wait_until(lambda: attempts_of(made[2]) == ["crashed"] * 2)
    (tmp_path / "gate").touch()  # before its last chance each runs alone
    assert [ended(job).status for job in made] == ["done", "done", "exception"]
    attempts = [tuple(line) for line in ledger.lines()]
    assert len(attempts) == len(set(attempts))  # none has begun under the same number twice
    assert made[1].attempt == 1


@pytest.mark.parametrize("signals", ["heard", "blocked", "ignored"])
def test_those_that_wait_behind_one_that_is_stuck_in_c_run_elsewhere(start, ledger, tmp_path, signals):
    start(processes=1)
    quick, gate = {"ledger": str(ledger)}, tmp_path / "gate"
    for _ in range(4):
        ended(sharing.sometimes_stuck.enqueue(**quick))
    stuck = {**quick, "gate": str(gate), "signals": signals}
    slow, *behind = sharing.sometimes_stuck.enqueue_many([stuck, *[quick] * 30])
    wait_until(lambda: Job.objects.done().count() >= 4 + 29)  # but for the one that began beside it
    assert with_status(slow, "running").attempt == 1
    gate.touch()
    assert {ended(job).status for job in (slow, *behind)} == {"done"}
    ran = [int(job_id) for (job_id,) in ledger.lines()]
    assert len(ran) == len(set(ran)) == 4 + 31
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}


def test_those_that_a_process_stuck_in_c_has_not_read_run_elsewhere(start, ledger, tmp_path):
    start(processes=1)
    quick, gate = {"ledger": str(ledger)}, tmp_path / "gate"
    slow = sharing.sometimes_stuck.enqueue(**quick, gate=str(gate))
    ledger.wait(1)
    others = sharing.sometimes_stuck.enqueue_many([quick] * 10)
    assert {ended(job).status for job in others} == {"done"}
    assert with_status(slow, "running").attempt == 1
    gate.touch()
    assert ended(slow).status == "done"
    ran = [int(job_id) for (job_id,) in ledger.lines()]
    assert len(ran) == len(set(ran)) == 11
    assert set(Job.objects.values_list("attempt", flat=True)) == {1}
