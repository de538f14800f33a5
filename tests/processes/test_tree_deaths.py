"""Whatever a job has started is gone when its worker stops or dies, or the fork server does."""

import os
import random
import signal

import pytest

from qorworker.models import Job
from tests.chaos.trees import abort, strangers
from tests.support import Ledger, wait_until
from tests.testapp import jobs
from tests.trees import Gardener, Tree

pytestmark = [pytest.mark.process, pytest.mark.once]


def grown(tree: Tree) -> None:
    """Wait until everything was started that stays."""
    wait_until(lambda: len(tree.census()) >= 17)


def test_random_trees_are_gone_after_an_abort(start, tmp_path):
    worker = start(ABORT_GRACE=0.2)
    chance = random.Random(20)
    for number in range(10):
        trees = [Gardener(chance).tree(tmp_path) for _ in range(2)]
        assert abort(trees, Ledger(tmp_path / f"ledger-{number}"), chance)[1] == []
        assert strangers(worker) == []


@pytest.mark.parametrize("signals", [1, 2])
def test_a_tree_is_gone_when_its_worker_has_stopped(start, ledger, tree, signals):
    worker = start("--grace", "0.5" if signals == 1 else "60")
    job = jobs.plant.enqueue(program=tree.program, ledger=str(ledger))
    grown(tree)
    worker.signal(signal.SIGTERM)
    if signals == 2:
        wait_until(lambda: "Stopping" in worker.said)  # two signals that wait to be delivered are one
        worker.signal(signal.SIGTERM)
    assert worker.exit_status() == 0
    assert tree.census() == []
    assert Job.objects.get(pk=job.pk).attempts.get().outcome == "interrupted"


def test_a_tree_is_gone_when_its_job_was_taken_away(start, ledger, tree):
    """The lease is over, and the parent stands still: the fork server ends a job that another worker may take."""
    worker = start(LEASE=3, OBSERVATION=1)
    jobs.plant_again.enqueue(program=tree.program, ledger=str(ledger))
    grown(tree)
    worker.signal(signal.SIGSTOP)
    wait_until(lambda: not tree.census())
    worker.signal(signal.SIGCONT)


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("others", [0, 1])
def test_a_tree_goes_with_a_killed_worker(start, ledger, tree, others, stopped):
    """Its fork server ends it, even if that stood still and another worker looks after it meanwhile."""
    worker = start()
    jobs.plant.enqueue(program=tree.program, ledger=str(ledger))
    grown(tree)
    for _ in range(others):
        start()
    if stopped:
        os.kill(worker.fork_server(), signal.SIGSTOP)
    worker.kill()
    if stopped and not others:
        start()
    wait_until(lambda: not tree.census())
