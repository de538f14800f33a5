"""Jobs in loops that another attempt goes on with, in real workers."""

import signal

import pytest

from qorworker.models import Job, Worker
from tests.support import ended, wait_until, with_status
from tests.testapp import jobs
from tests.testapp.models import Shop

pytestmark = pytest.mark.process


def numbers(ledger):
    return [int(line[0]) for line in ledger.lines()]


def rows(job):
    return [[cell["value"] for cell in row.cells] for row in job.results.order_by("number")]


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


def walking(ledger, gate, **arguments):
    """A job that waits at its third number."""
    job = jobs.walk.enqueue(ledger=str(ledger), count=6, gate=str(gate), **arguments)
    ledger.wait(3)
    wait_until(lambda: Job.objects.filter(pk=job.pk, checkpoint__isnull=False).exists())
    return job


def stopped_by_signal(worker):
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Stopping" in worker.said)


def drained_on_its_page(worker):
    row = worker.row()
    row.drain()
    wait_until(lambda: Worker.objects.get(pk=row.pk).heeded == "drain")


@pytest.mark.parametrize("stop", [stopped_by_signal, drained_on_its_page])
def test_a_worker_that_stops_ends_a_loop_between_two_items_and_the_next_one_goes_on(start, ledger, gate, stop):
    worker = start(processes=1)
    job = walking(ledger, gate)
    stop(worker)
    assert worker.exit_status() == 0
    job = with_status(job, "new")
    assert (job.attempt, job.attempt_token, job.attempts.get().outcome) == (0, None, "suspended")
    assert numbers(ledger) == [0, 1, 2]
    gate.touch()
    start("--batch").exit_status()
    job.refresh_from_db()
    assert numbers(ledger) == [0, 1, 2, 3, 4, 5]
    assert (job.attempt, job.progress, job.error) == (1, 100, "1 of 6 rows have errors.")
    assert [row[0] for row in rows(job)] == [0, 1, 2, 3, 4, 5]
    assert (job.results_before, job.results_errors) == (0, 1)


def test_a_loop_that_begins_while_the_worker_stops_ends_too_even_if_the_handler_catches_that(start, ledger, gate):
    worker = start(processes=1)
    job = jobs.walk_late.enqueue(ledger=str(ledger), gate=str(gate))
    ledger.wait()
    stopped_by_signal(worker)
    gate.touch()
    assert worker.exit_status() == 0
    assert with_status(job, "new").attempt == 0
    words = [line[0] for line in ledger.lines()]
    assert words[-1] == "caught"
    assert "2" not in words
    gate.with_name(f"{gate.name}.end").touch()
    start("--batch").exit_status()
    assert ended(job).status == "done"
    assert [line[0] for line in ledger.lines()][-1] == "2"


@pytest.fixture
def in_a_coroutine(ledger, gate):
    """Begins a job in a coroutine that waits at its third shop, and returns it."""
    Shop.objects.bulk_create(Shop(name=name) for name in "abcd")

    def begin():
        job = jobs.walk_in_a_coroutine.enqueue(ledger=str(ledger), gate=str(gate))
        ledger.wait(3)
        wait_until(lambda: Job.objects.filter(pk=job.pk, checkpoint__isnull=False).exists())
        return job

    return begin


def test_a_worker_that_stops_ends_a_loop_in_a_coroutine_and_the_next_one_goes_on(start, ledger, gate, in_a_coroutine):
    worker = start(processes=1)
    job = in_a_coroutine()
    worker.signal(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert with_status(job, "new").attempts.get().outcome == "suspended"
    gate.touch()
    start("--batch").exit_status()
    assert ended(job).status == "done"
    assert numbers(ledger) == [0, 1, 2, 3]


def test_an_abort_of_a_loop_in_a_coroutine_keeps_its_place(start, ledger, gate, in_a_coroutine):
    start(processes=1)
    job = in_a_coroutine()
    job.refresh_from_db()
    job.abort()
    assert ended(job).status == "killed"
    gate.touch()
    job.retry()
    assert ended(job).status == "done"
    assert numbers(ledger) == [0, 1, 2, 2, 3]


def throttled(ledger, gate):
    """A job that waits before its third number, for a long time."""
    job = jobs.walk_throttled.enqueue(ledger=str(ledger), count=4, gate=str(gate))
    wait_until(lambda: Job.objects.filter(pk=job.pk, progress_text__startswith="Throttled: it waits 10 min").exists())
    assert numbers(ledger) == [0, 1]
    return job


def test_a_worker_that_stops_ends_the_wait_of_a_throttle_and_the_next_one_goes_on(start, ledger, gate):
    worker = start(processes=1)
    job = throttled(ledger, gate)
    worker.signal(signal.SIGTERM)
    assert worker.exit_status() == 0
    job = with_status(job, "new")
    assert (job.attempt, job.attempts.get().outcome) == (0, "suspended")
    gate.touch()
    start("--batch").exit_status()
    assert ended(job).status == "done"
    assert numbers(ledger) == [0, 1, 2, 3]


def test_an_abort_ends_the_wait_of_a_throttle(start, ledger, gate):
    start(processes=1)
    job = throttled(ledger, gate)
    job.refresh_from_db()
    job.abort()
    assert ended(job).status == "killed"
    assert numbers(ledger) == [0, 1]


def test_a_crash_and_a_retry_leave_no_item_out(start, ledger, gate):
    worker = start(processes=1)
    gate.touch()
    job = ended(jobs.walk.enqueue(ledger=str(ledger), count=6, gate=str(gate), dies_at=4))
    assert job.status == "exception"
    assert job.checkpoint is not None
    job.retry()
    job = ended(job)
    assert worker.stop() == 0
    assert job.attempt == 2
    assert sorted(set(numbers(ledger))) == [0, 1, 2, 3, 4, 5]
    assert numbers(ledger)[-1] == 5


def test_an_abort_keeps_the_place_for_a_retry(start, ledger, gate):
    start(processes=1)
    job = walking(ledger, gate)
    job.refresh_from_db()
    job.abort()
    assert ended(job).status == "killed"
    gate.touch()
    job.retry()
    ended(job)
    assert numbers(ledger) == [0, 1, 2, 2, 3, 4, 5]


def test_a_lost_worker_leaves_the_place_of_its_last_checkpoint(start, ledger, gate):
    worker = start(processes=1)
    job = walking(ledger, gate)
    worker.kill()
    gate.touch()
    start(processes=1)
    job = ended(job)
    assert job.status == "exception"
    job.retry()
    ended(job)
    assert sorted(set(numbers(ledger))) == [0, 1, 2, 3, 4, 5]


def test_a_retry_of_a_job_that_returned_with_errors_in_rows_begins_at_the_beginning(start, ledger, gate):
    gate.touch()
    start(processes=1)
    job = ended(jobs.walk.enqueue(ledger=str(ledger), count=3, gate=str(gate)))
    assert (job.status, job.error, job.checkpoint) == ("exception", "1 of 3 rows have errors.", None)
    job.retry()
    job = ended(job)
    assert numbers(ledger) == [0, 1, 2, 0, 1, 2]
    assert (job.results_before, job.results_errors, job.error) == (3, 1, "1 of 3 rows have errors.")


@pytest.mark.parametrize("dies_every", [3, 5, 7])
def test_with_a_transaction_for_some_items_each_is_done_once_whenever_the_process_dies(start, ledger, dies_every):
    Shop.objects.bulk_create(Shop(name="s") for _ in range(20))
    start(processes=1)
    job = ended(jobs.count_once.enqueue(ledger=str(ledger), dies_every=dies_every))
    assert job.status == "done"  # each crash is the first one in its place
    assert set(Shop.objects.values_list("name", flat=True)) == {"sx"}
    assert len(numbers(ledger)) > 20  # some were done again, after they had been rolled back
    assert job.progress == 100


def test_a_new_run_begins_at_the_beginning(start, ledger, gate):
    gate.touch()
    start(processes=1)
    job = ended(jobs.walk.enqueue(ledger=str(ledger), count=3, gate=str(gate)))
    again = ended(job.rerun())
    assert again.status == "exception"
    assert numbers(ledger) == [0, 1, 2, 0, 1, 2]


def test_transactions_one_after_the_other_leave_the_worker_and_others_time_to_write(start):
    start(processes=1)
    job = jobs.count_without_end.enqueue()
    wait_until(lambda: Job.objects.get(pk=job.pk).progress is not None)
    job.refresh_from_db()
    job.abort()
    assert ended(job).status == "killed"
