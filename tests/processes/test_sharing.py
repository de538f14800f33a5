"""Jobs that share a child: many at the same time in one event loop, each with its own log, end and abort."""

import os
import signal
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model

from qorworker.models import Job, Worker
from tests.support import alive, all_ended, ended, log_of, wait_until, with_status
from tests.testapp import sharing
from tests.testapp.models import Shop

pytestmark = pytest.mark.process


@pytest.fixture
def gate(tmp_path) -> Path:
    return tmp_path / "gate"


def begun(ledger, count):
    """Job id to process id of the attempts that have begun, once there are *count* of them."""

    def lines():
        found = [line for line in ledger.lines() if line[0] == "begin"]
        return found if len(found) >= count else []

    return {int(line[1]): int(line[2]) for line in wait_until(lines, why=lambda: ledger.lines())}


def enqueue(count, job_type=sharing.together, **arguments):
    return [job_type.enqueue(**{name: str(value) for name, value in arguments.items()}) for _ in range(count)]


def test_as_many_run_at_the_same_time_as_the_type_says_and_fill_one_child_first(worker, ledger, gate):
    jobs = enqueue(60, ledger=ledger, gate=gate)
    pids = list(begun(ledger, 60).values())
    assert sorted(map(pids.count, set(pids))) == [10, 50]
    assert Job.objects.running().count() == 60
    wait_until(lambda: set(Job.objects.running().values_list("process_id", flat=True)) == set(pids))
    assert {job.worker_id for job in Job.objects.running()} == {Worker.objects.not_stopped().get().pk}
    gate.touch()
    all_ended()
    assert {ended(job).status for job in jobs} == {"done"}
    assert [job.result for job in jobs] == [f"job {job.pk}" for job in jobs]
    assert {job.attempts.get().outcome for job in jobs} == {"done"}


def test_the_output_of_fifty_jobs_is_never_mixed_up(worker):
    jobs = [sharing.chatter.enqueue() for _ in range(50)]
    all_ended()
    for job in jobs:
        job.refresh_from_db()
        assert (job.status, job.error, job.result) == ("done", "", job.pk)
        expected = [
            line
            for step in range(5)
            for line in (
                f"printed {job.pk} {step}",
                f"logged {job.pk} {step}",
                f"thread {job.pk} {step}",
                f"added {job.pk} {step}",
            )
        ]
        assert log_of(job) == [*expected, f"rest {job.pk}"]
        assert [[cell["value"] for cell in row.cells] for row in job.results.order_by("number")] == [
            [job.pk, step] for step in range(5)
        ]
        assert job.progress == 100


def test_an_abort_cancels_one_job_and_leaves_the_others_alone(worker, ledger, gate):
    first, second = enqueue(2, ledger=ledger, gate=gate)
    pids = begun(ledger, 2)
    first.abort()
    first = ended(first)
    assert (first.status, first.error) == ("killed", "Aborted.")
    assert ["cancelled", str(first.pk)] in ledger.lines()
    second.refresh_from_db()
    assert second.status == "running"
    assert alive(pids[second.pk])
    gate.touch()
    assert (ended(second).status, second.attempts.count()) == ("done", 1)


def test_a_job_that_swallows_its_cancellation_and_returns_is_aborted(worker, ledger):
    (job,) = enqueue(1, sharing.forgiving, ledger=ledger)
    begun(ledger, 1)
    job.abort()
    job = ended(job)
    assert (job.status, job.error) == ("killed", "Aborted. Its function then returned.")
    assert log_of(job) == ["swallowed"]


def test_a_job_that_never_ends_is_killed_after_the_grace_and_its_neighbours_run_again(worker, ledger, gate):
    (bad,) = enqueue(1, sharing.endless, ledger=ledger)
    pid = begun(ledger, 1)[bad.pk]
    (bad2,) = enqueue(1, sharing.endless, ledger=ledger)
    assert begun(ledger, 2)[bad2.pk] == pid
    bad.abort()
    bad = ended(bad)
    assert (bad.status, bad.attempts.get().outcome) == ("killed", "aborted")
    assert not alive(pid)
    begun(ledger, 3)
    bad2.refresh_from_db()
    assert (bad2.status, bad2.attempt) == ("running", 1)
    assert [each.outcome for each in bad2.attempts.all()] == ["interrupted"]


@pytest.mark.parametrize("way", ["kill", "exit", "segfault"])
def test_when_a_job_ends_its_process_each_that_ran_in_it_is_tried_again(worker, ledger, gate, way, tmp_path):
    (other,) = enqueue(1, sharing.deadly, ledger=ledger, way="kill", gate=tmp_path / "never")
    pid = begun(ledger, 1)[other.pk]
    (bad,) = enqueue(1, sharing.deadly, ledger=ledger, way=way, gate=gate)
    assert begun(ledger, 2)[bad.pk] == pid
    gate.touch()
    bad = ended(bad)
    assert bad.status == "exception"
    assert [each.outcome for each in bad.attempts.order_by("number")] == ["crashed"] * 3
    other = with_status(other, "running")
    assert {each.outcome for each in other.attempts.all()} == {"crashed"}
    # Before its last chance it ran alone, so it survived the end of the other one.
    assert other.crashes <= 2
    other.abort()
    assert ended(other).status == "killed"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("exit", "The handler called sys.exit('that was it')."),
        ("interrupt", "KeyboardInterrupt"),
        ("cancel", "CancelledError"),
        ("memory", "The job ran out of memory."),
        ("other", "Weird: out of the ordinary"),
    ],
)
def test_whatever_a_job_raises_is_its_own_failure(worker, ledger, gate, kind, error):
    (other,) = enqueue(1, ledger=ledger, gate=gate)
    begun(ledger, 1)
    job = ended(sharing.raises.enqueue(kind=kind))
    assert (job.status, job.error) == ("exception", error)
    in_task = ended(sharing.raises.enqueue(kind=kind, in_task=True))
    assert in_task.status == "done"
    other.refresh_from_db()
    assert other.status == "running"
    gate.touch()
    assert (ended(other).status, other.attempt) == ("done", 1)


def test_tasks_that_a_job_leaves_end_with_it(worker, ledger):
    job = ended(sharing.leaves_tasks.enqueue(ledger=str(ledger)))
    assert (job.status, job.result) == ("done", "returned")
    assert ledger.lines() == [["ended", str(job.pk)]]


def test_a_time_limit_cancels_one_job(worker, ledger, gate):
    (other,) = enqueue(1, ledger=ledger, gate=gate)
    job = sharing.slow.using(max_attempts=2).enqueue(ledger=str(ledger))
    job = with_status(job, "exception")
    assert job.error == "Stopped after the limit of 1 s."
    assert [each.outcome for each in job.attempts.all()] == ["timeout"] * 2
    gate.touch()
    assert (ended(other).status, other.attempt) == ("done", 1)


def test_a_job_that_blocks_the_loop_is_reported(worker, ledger, gate):
    first = enqueue(1, sharing.blocks, ledger=ledger)[0]
    begun(ledger, 1)
    second = enqueue(1, sharing.blocks, ledger=ledger)[0]
    texts = log_of(ended(second)) + log_of(ended(first))
    assert any("stood still for" in text for text in texts), texts


def test_the_database_is_used_as_in_any_coroutine(worker):
    shop = Shop.objects.create(name="Riga")
    jobs = [sharing.counts_shops.enqueue(shop=shop) for _ in range(20)]
    assert {ended(job).result for job in jobs} == {"Riga of 1"}


def test_what_is_printed_past_python_goes_to_the_log_of_the_worker(worker, ledger, gate):
    (first,) = enqueue(1, ledger=ledger, gate=gate)
    begun(ledger, 1)
    (second,) = enqueue(1, sharing.together, ledger=ledger, gate=gate)
    begun(ledger, 2)
    gate.touch()
    assert (log_of(ended(first)), log_of(ended(second))) == ([], [])


def test_a_fork_that_returns_into_the_loop_ends_there(worker, ledger, gate):
    (other,) = enqueue(1, ledger=ledger, gate=gate)
    job = ended(sharing.forks.enqueue(ledger=str(ledger)))
    assert (job.status, job.result) == ("done", "returned")
    gate.touch()
    assert ended(other).status == "done"
    assert sorted(line[0] for line in ledger.lines()) == ["after", "begin", "fork", "parent"]


def test_a_process_is_made_as_it_was_when_none_of_them_runs(worker):
    first = ended(sharing.changes_process.enqueue())
    results = [ended(sharing.reads_process.enqueue()).result for _ in range(4)]
    assert first.status == "done"
    assert {tuple(result[:2]) for result in results} == {("", os.getcwd())}


def test_a_pause_and_a_resume_of_a_loop(worker, ledger, gate):
    Shop.objects.bulk_create(Shop(name=f"Shop {number}") for number in range(5))
    (other,) = enqueue(1, ledger=ledger, gate=gate)
    job = sharing.walks.enqueue(ledger=str(ledger), gate=str(gate))
    wait_until(lambda: sum(line[0] == "shop" for line in ledger.lines()) == 3)
    job.pause()
    job = with_status(job, "scheduled")
    assert [each.outcome for each in job.attempts.all()] == ["suspended"]
    other.refresh_from_db()
    assert other.status == "running"
    gate.touch()
    job.resume()
    assert ended(job).status == "done"


def test_a_throttle_is_refused(worker):
    job = sharing.throttles.using(max_attempts=2).enqueue()
    job = with_status(job, "scheduled", "exception")
    assert "cannot throttle a loop" in job.error


def test_term_from_outside_ends_all_jobs_of_the_process(worker, ledger, gate):
    jobs = enqueue(2, ledger=ledger, gate=gate)
    pid = begun(ledger, 2)[jobs[0].pk]
    os.kill(pid, signal.SIGTERM)
    for job in jobs:
        assert ended(job).status == "killed"
        assert "not by this worker" in job.error


def test_short_jobs_wait_in_the_child_and_each_runs_once(worker, ledger):
    jobs = sharing.quick.enqueue_many({"ledger": str(ledger)} for _ in range(1500))
    all_ended()
    assert Job.objects.filter(pk__in=[job.pk for job in jobs], status="done", attempt=1).count() == 1500
    assert sorted(int(line[0]) for line in ledger.lines()) == sorted(job.pk for job in jobs)


def test_those_that_wait_behind_others_run_elsewhere_if_these_take_longer_than_they_did(worker, ledger, gate):
    sharing.quick.enqueue_many({"ledger": str(ledger)} for _ in range(300))
    all_ended()
    stuck = sharing.quick.enqueue_many({"ledger": str(ledger), "gate": str(gate)} for _ in range(70))
    wait_until(lambda: len(ledger.lines()) == 370, why=lambda: len(ledger.lines()))
    gate.touch()
    all_ended()
    assert {ended(job).status for job in stuck} == {"done"}


def test_no_end_is_taken_for_that_of_another_job_in_a_process_that_is_asked_to_end(worker, ledger):
    sharing.quick.enqueue_many({"ledger": os.devnull} for _ in range(10))
    all_ended()
    made = sharing.terms.enqueue_many({"ledger": str(ledger), "number": number} for number in range(200))
    all_ended()
    begun_ids = {int(line[0]) for line in ledger.lines()}
    for job in made:
        job.refresh_from_db()
        assert job.status in ("done", "killed")
        assert job.pk in begun_ids
        assert job.status == "killed" or job.result == job.pk


@pytest.mark.parametrize(("first", "last"), [(3, 256), (900, 1000)], ids=["of the loop", "of the worker"])
def test_a_job_that_closes_the_descriptors_of_its_process_crashes_and_not_for_ever(worker, ledger, first, last):
    job = sharing.closes.enqueue(ledger=str(ledger), first=first, last=last)
    job = ended(job, 60)
    assert job.status == "exception"
    assert [each.outcome for each in job.attempts.order_by("number")] == ["crashed"] * 3


def test_a_job_whose_function_holds_the_thread_of_the_orm_has_not_ended(worker, ledger):
    job, other = enqueue(2, sharing.holds_thread, ledger=ledger)
    pid = begun(ledger, 2)[job.pk]
    job.abort()
    job = ended(job)
    assert (job.status, job.attempts.get().outcome) == ("killed", "aborted")
    assert not alive(pid)
    begun(ledger, 3)
    assert [each.outcome for each in other.attempts.all()] == ["interrupted"]
    other.abort()
    assert ended(other).status == "killed"


def test_jobs_that_need_an_approval_and_have_it_share_a_child_with_those_that_need_none(worker):
    boss = get_user_model().objects.create_superuser("boss")
    made = sharing.approved.enqueue_many([{"text": text} for text in ("a", "b", "", "")])
    assert [job.awaits_approval for job in made] == [True, True, False, False]
    for job in made[:2]:
        job.approve(by=boss)
    all_ended()
    assert [(ended(job).status, job.error) for job in made] == [("done", "")] * 4
