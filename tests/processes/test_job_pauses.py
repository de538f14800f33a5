"""Jobs that are paused while a real worker runs them: they stop between two items, and go on there."""

import os
import signal

import pytest
from django.db.models import Count

from qorworker.exceptions import InvalidTransition
from qorworker.models import Job
from tests.support import ended, wait_until, with_status
from tests.testapp import jobs
from tests.testapp.models import Shop

pytestmark = pytest.mark.process


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def numbers(ledger):
    return [int(line[0]) for line in ledger.lines()]


def walking(ledger, gate, **options):
    """A job that waits at its third number."""
    job = jobs.walk.using(**options).enqueue(ledger=str(ledger), count=6, gate=str(gate))
    ledger.wait(3)
    wait_until(lambda: Job.objects.filter(pk=job.pk, checkpoint__isnull=False).exists())
    job.refresh_from_db()
    return job


def paused(job):
    job = with_status(job, "scheduled")
    assert job.is_paused
    return job


def test_a_paused_job_stops_at_the_next_item_and_goes_on_behind_it(start, ledger, gate):
    start(processes=1)
    job = walking(ledger, gate)
    job.pause()
    job = paused(job)
    assert (job.attempt, job.attempt_token, job.attempts.get().outcome) == (0, None, "suspended")
    assert numbers(ledger) == [0, 1, 2]
    gate.touch()
    assert ended(jobs.noop.enqueue()).status == "done"  # the worker has room, and leaves it alone
    assert (paused(job).progress, numbers(ledger)) == (50, [0, 1, 2])
    job.resume()
    job = ended(job)
    assert (job.attempt, job.error, numbers(ledger)) == (1, "1 of 6 rows have errors.", [0, 1, 2, 3, 4, 5])


def test_the_same_process_then_runs_other_loops_to_their_end(start, ledger, gate, tmp_path):
    start(processes=1)
    job = walking(ledger, gate)
    job.pause()
    paused(job)
    gate.touch()
    other = ended(jobs.walk.enqueue(ledger=str(tmp_path / "other"), count=4, gate=str(gate)))
    assert (other.attempt, other.attempts.count()) == (1, 1)
    assert other.attempts.get().process_id == job.attempts.get().process_id


def test_with_a_transaction_for_some_items_nothing_is_done_twice_or_left_out(start, gate):
    Shop.objects.bulk_create(Shop(name="s") for _ in range(200))
    marked, done = Shop.objects.filter(name="sx"), 0
    start(processes=1)
    job = jobs.mark_slowly.enqueue(gate=str(gate))
    for _ in range(3):
        wait_until(lambda: marked.count() > done)  # noqa: B023
        job.pause()
        paused(job)
        done = marked.count()
        job.resume()
    gate.touch()
    assert ended(job).status == "done"
    assert list(Shop.objects.values_list("name").annotate(Count("pk"))) == [("sx", 200)]
    assert job.attempts.filter(outcome="suspended").count() == 3


def test_a_job_that_waits_does_not_start_until_it_is_resumed(start, ledger):
    job = jobs.in_order.enqueue(ledger=str(ledger), name="held")
    job.pause()
    start(processes=1)
    assert ended(jobs.in_order.enqueue(ledger=str(ledger), name="free")).status == "done"
    assert [line[0] for line in ledger.lines()] == ["free"]
    job.resume()
    assert ended(job).status == "done"


def test_a_job_without_a_loop_cannot_be_paused_in_its_last_attempt(start, ledger, gate):
    start(processes=1)
    job = jobs.until.enqueue(gate=str(gate), ledger=str(ledger))
    ledger.wait()
    with pytest.raises(InvalidTransition, match="has not come to a loop"):
        job.pause()
    gate.touch()
    assert ended(job).status == "done"


def test_a_job_that_ends_first_just_ends(start, ledger, gate):
    start(processes=1)
    job = jobs.until_again.enqueue(gate=str(gate), ledger=str(ledger))
    ledger.wait()
    job.pause()
    gate.touch()
    job = ended(job)
    assert (job.status, job.is_paused) == ("done", False)


def test_an_attempt_that_would_follow_a_failed_one_waits(start, ledger, gate):
    worker = start(processes=1)
    job = jobs.until_again.enqueue(gate=str(gate), ledger=str(ledger))
    ledger.wait()
    job.pause()
    os.kill(int(ledger.lines()[0][2]), signal.SIGKILL)
    job = paused(job)
    assert (job.attempt, job.attempts.get().outcome) == (1, "crashed")
    gate.touch()
    assert ended(jobs.noop.enqueue()).status == "done"
    assert paused(job).attempt == 1
    job.resume()
    assert (ended(job).status, job.attempt) == ("done", 2)
    assert worker.stop() == 0


def test_a_job_pauses_once_its_loop_begins(start, ledger, gate):
    start(processes=1)
    job = jobs.walk_late.using(max_attempts=2).enqueue(ledger=str(ledger), gate=str(gate))
    ledger.wait()
    job.pause()
    gate.touch()
    paused(job)
    gate.with_name(f"{gate.name}.end").touch()
    job.resume()
    assert ended(job).status == "done"


def test_a_request_that_is_withdrawn_in_time_stops_nothing(start, ledger, gate):
    start(processes=1)
    job = jobs.walk_late.using(max_attempts=2).enqueue(ledger=str(ledger), gate=str(gate))
    ledger.wait()
    job.pause()
    job.resume()
    gate.touch()
    gate.with_name(f"{gate.name}.end").touch()
    assert ended(job).status == "done"
    assert job.attempts.count() == 1


def test_a_worker_that_stops_leaves_it_paused(start, ledger, gate):
    worker = start(processes=1)
    job = walking(ledger, gate)
    job.pause()
    worker.signal(signal.SIGTERM)
    assert worker.exit_status() == 0
    paused(job)
    gate.touch()
    assert start("--batch", processes=1, ready=False).exit_status() == 0
    assert (paused(job).attempt, numbers(ledger)) == (0, [0, 1, 2])
    job.resume()
    start("--batch", processes=1, ready=False).exit_status()
    job.refresh_from_db()
    assert (job.is_finished, numbers(ledger)) == (True, [0, 1, 2, 3, 4, 5])


def test_a_worker_that_dies_before_it_hears_of_the_request_loses_neither_pause_nor_job(start, ledger, gate):
    worker = start(processes=1)
    job = walking(ledger, gate, max_attempts=3)
    worker.signal(signal.SIGSTOP)
    job.pause()
    worker.kill()
    gate.touch()
    start(processes=1)
    job = paused(job)
    assert (job.attempt, job.attempts.get().outcome) == (1, "lost")
    job.resume()
    job = ended(job)
    assert sorted(set(numbers(ledger))) == [0, 1, 2, 3, 4, 5]


def test_a_job_that_may_start_only_once_has_failed_if_its_worker_dies(start, ledger, gate):
    worker = start(processes=1)
    job = walking(ledger, gate)
    worker.signal(signal.SIGSTOP)
    job.pause()
    worker.kill()
    start(processes=1)
    job = ended(job)
    assert (job.status, job.is_paused) == ("exception", False)
    gate.touch()
    job.retry()
    assert ended(job).attempt == 2
    assert numbers(ledger)[-1] == 5


def test_an_abort_that_comes_before_the_pause_has_come_about_ends_it_for_a_retry(start, ledger, gate):
    worker = start(processes=1)
    job = walking(ledger, gate)
    worker.signal(signal.SIGSTOP)
    job.pause()
    job.abort()
    worker.signal(signal.SIGCONT)
    job = ended(job)
    assert (job.status, job.is_paused) == ("killed", False)
    gate.touch()
    job.retry()
    assert ended(job).attempt == 2
    assert numbers(ledger) == [0, 1, 2, 2, 3, 4, 5]


def test_its_place_among_limited_jobs_is_free_for_another(start, ledger, gate, tmp_path):
    start(processes=2)
    job = jobs.walk_alone.enqueue(ledger=str(ledger), gate=str(gate))
    ledger.wait(1)
    other = jobs.walk_alone.enqueue(ledger=str(tmp_path / "other"), gate=str(gate))
    wait_until(lambda: Job.objects.filter(pk=job.pk, checkpoint__isnull=False).exists())
    with_status(job, "running").pause()
    paused(job)
    gate.touch()
    assert ended(other).status == "done"
    job.resume()
    assert (ended(job).status, job.attempt) == ("done", 1)
