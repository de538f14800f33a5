"""A worker stands still at the worst moment: its job has locked its own row, and is about to commit."""

import os
import signal

import pytest

from tests.support import ended, wait_until
from tests.testapp import jobs
from tests.testapp.models import Shop

pytestmark = pytest.mark.process
QUICK = {"LEASE": 3, "OBSERVATION": 1}


def frozen_while_it_commits(start, ledger, job_type):
    """A worker that stands still, its job, and its processes."""
    worker = start(processes=1, **QUICK)
    job = job_type.enqueue(ledger=str(ledger))
    ledger.wait()
    stopped = worker.census()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    return worker, job, stopped


@pytest.mark.only_on("postgresql", "mysql")
@pytest.mark.parametrize(
    ("job_type", "rows"),
    [(jobs.stand_still_at_a_checkpoint, 6), (jobs.stand_still_at_the_end, 1), (jobs.stand_still_as_it_asks, 0)],
    ids=["chunk", "all", "question"],
)
def test_its_job_is_taken_over_and_nothing_is_done_twice(start, ledger, transitions, job_type, rows):
    frozen, job, stopped = frozen_while_it_commits(start, ledger, job_type)
    start(processes=1, **QUICK)
    assert ended(jobs.noop.enqueue()).status == "done"  # others go on at once
    assert ended(job, 60).status == "done"
    assert list(job.attempts.order_by("number").values_list("outcome", flat=True)) == ["lost", "done"]
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: "was taken from this worker" in frozen.said, why=lambda: frozen.said)
    assert sorted(Shop.objects.values_list("name", flat=True)) == [f"of {number}" for number in range(rows)]
    assert transitions.of(job).count("done") == 1


@pytest.mark.only_on("sqlite")
def test_whoever_writes_to_a_file_waits_until_it_is_killed(start, ledger, transitions):
    other = start(processes=1, **QUICK)
    other.signal(signal.SIGSTOP)  # so that the job comes to the one that stands still
    frozen, job, stopped = frozen_while_it_commits(start, ledger, jobs.stand_still_at_a_checkpoint)
    other.signal(signal.SIGCONT)
    wait_until(lambda: "database is locked" in other.said, 60, lambda: other.said)
    job.refresh_from_db()  # who reads does not wait
    assert job.status == "running"
    frozen.destroy()
    assert ended(job, 60).status == "done"
    assert sorted(Shop.objects.values_list("name", flat=True)) == [f"of {number}" for number in range(6)]
    assert transitions.of(job).count("done") == 1
