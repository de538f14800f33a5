"""Batches in real workers: what waits for their end runs once, whoever is killed meanwhile."""

import os
import random
import signal
import time

import pytest

from qorworker import Batch
from qorworker.models import Job
from tests.support import ended, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process


def enqueue(ledger, number, job_type=jobs.write_again):
    calls = (job_type.bind(ledger=str(ledger)) for _place in range(number))
    ends = {name: jobs.write.bind(ledger=str(ledger), number=-1) for name in ("then", "otherwise")}
    return Batch.objects.enqueue("Batch", calls, **ends)


def callback(batch, name="then"):
    return Job.objects.get(pk=getattr(batch, f"{name}_id"))


def runs(ledger, job):
    return [int(line[0]) for line in ledger.lines()].count(job.pk)


def test_then_runs_at_once_and_once_behind_the_jobs_of_two_workers(start, ledger):
    batch = enqueue(ledger, 300)
    for _worker in range(2):
        start(processes=2, POLL_INTERVAL=120)
    then = ended(callback(batch))
    assert then.status == "done"
    assert runs(ledger, then) == 1
    assert int(ledger.lines()[-1][0]) == then.pk
    batch.refresh_from_db()
    assert (batch.outcome, batch.counts()) == ("done", {"done": 300})
    assert callback(batch, "otherwise").status == "cancelled"


def test_a_worker_that_is_killed_behind_the_last_end_holds_nothing_up(start, ledger):
    """Another worker, or the same one at its next start, settles what it has not."""
    batch = enqueue(ledger, 2)
    batch.jobs.update(status="done", finished_at=batch.created_at)
    start(processes=1)
    assert ended(callback(batch)).status == "done"


def test_an_abort_ends_all_of_it(start, ledger):
    batch = enqueue(ledger, 5, jobs.wait_for)
    start(processes=1)
    wait_until(lambda: ledger.lines())
    wait_until(lambda: batch.jobs.running().exists())
    assert batch.abort(reason="Enough.") == 5
    assert ended(callback(batch, "otherwise")).status == "done"
    batch.refresh_from_db()
    assert batch.counts() == {"killed": 1, "cancelled": 4}
    assert callback(batch).status == "cancelled"


def test_workers_that_are_killed_let_each_callback_run_once(start, ledger):
    seed = int.from_bytes(os.urandom(4))
    chance = random.Random(seed)
    batches = [enqueue(ledger, chance.randrange(1, 25), jobs.write_slowly_again) for _ in range(12)]
    workers = [start(processes=2, LEASE=4, OBSERVATION=1) for _ in range(2)]
    for _kill in range(5):
        time.sleep(chance.uniform(0.1, 0.8))
        os.kill(workers.pop(chance.randrange(2)).pid, signal.SIGKILL)
        workers.append(start(processes=2, LEASE=4, OBSERVATION=1))
    for batch in batches:
        wait_until(lambda: Batch.objects.get(pk=batch.pk).is_finished, timeout=90)  # noqa: B023
    wait_until(lambda: not Job.objects.filter(status__in=["new", "running"]).exists(), timeout=90)
    for batch in batches:
        batch.refresh_from_db()
        assert sum(batch.counts().values()) == batch.total, seed
        # A callback has one attempt: it is started once, and has failed if its worker was killed just then.
        fired = "then" if batch.outcome == "done" else "otherwise"
        other = "otherwise" if fired == "then" else "then"
        assert callback(batch, fired).attempt == 1, seed
        assert callback(batch, other).attempt == 0, seed
        assert runs(ledger, callback(batch, fired)) <= 1, seed
