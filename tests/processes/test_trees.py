"""Whatever a job has started is gone when its attempt has ended, in whichever way that was."""

import subprocess

import pytest

from qorworker.system import termination
from tests.chaos.trees import strangers
from tests.support import alive, ended, wait_until
from tests.testapp import jobs
from tests.trees import Tree, chain

pytestmark = [pytest.mark.process, pytest.mark.once]
GONE = "All its processes have ended."


@pytest.mark.parametrize("length", [3, 8, 20])
def test_a_chain_of_sessions_is_gone_after_an_abort(worker, ledger, tmp_path, length):
    tree = Tree(tmp_path)
    tree.program = tree.write(f"setsid bash {chain(tree, length)}\n")
    for _ in range(5):
        job = jobs.plant.enqueue(program=tree.program, ledger=str(ledger))
        wait_until(lambda: len(tree.census()) >= length)
        job.refresh_from_db()
        job.abort()
        job = ended(job)
        assert tree.census() == []
        assert (job.status, job.error) == ("killed", f"Aborted. {GONE}")


@pytest.mark.parametrize(
    ("job_type", "status", "error"),
    [
        (jobs.plant_for_a_moment, "exception", "Stopped after the limit of 0.5 s."),
        (jobs.plant_in_little_memory, "exception", "Stopped because it needed more memory than its limit of 400 MB."),
    ],
    ids=["time", "memory"],
)
def test_a_tree_is_gone_after_a_limit(worker, ledger, tree, job_type, status, error):
    job = ended(job_type.enqueue(program=tree.program, ledger=str(ledger)))
    assert tree.census() == []
    assert (job.status, job.error) == (status, error)
    assert job.attempts.get().survivors == 0


def test_a_tree_is_gone_after_a_crash(worker, ledger, tree):
    job = ended(jobs.plant.enqueue(program=tree.program, ledger=str(ledger), then="crash"))
    assert tree.census() == []
    assert job.status == "exception"


def test_a_tree_goes_after_a_handler_that_returned(worker, ledger, tree):
    assert ended(jobs.plant.enqueue(program=tree.program, ledger=str(ledger), then="return")).status == "done"
    wait_until(lambda: not tree.census())
    wait_until(lambda: strangers(worker) == [])


def test_the_tree_of_the_job_beside_it_stays(worker, ledger, tmp_path):
    trees = [Tree(tmp_path) for _ in range(2)]
    for each in trees:
        each.program = each.write(f"setsid bash {chain(each, 3)} &\n( setsid {each.nap} & )\nexit\n")
    first, second = (jobs.plant.enqueue(program=each.program, ledger=str(ledger)) for each in trees)
    wait_until(lambda: [len(each.census()) for each in trees] == [4, 4])
    first.refresh_from_db()
    first.abort()
    ended(first)
    assert [len(each.census()) for each in trees] == [0, 4]
    second.refresh_from_db()
    assert second.status == "running"


def test_what_the_caller_does_not_point_at_is_not_buried():
    process = subprocess.Popen(["sleep", "600"])
    try:
        assert termination.kill_and_reap(list) == ()
        assert alive(process.pid)
        assert termination.kill_and_reap_all(lambda: [process.pid] if alive(process.pid) else []) == 0
        assert not alive(process.pid)
    finally:
        process.kill()
        process.wait()
