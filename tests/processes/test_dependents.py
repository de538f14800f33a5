"""Jobs that wait for others, in real workers."""

import pytest

from qorworker import chain
from qorworker.models import Dependency, Job
from tests.support import all_ended, ended, wait_until, with_status
from tests.testapp import jobs

pytestmark = pytest.mark.process


def test_a_chain_runs_in_order(start, ledger):
    made = chain(*[jobs.adds_up.bind(number=1, ledger=str(ledger)) for _ in range(30)]).enqueue()
    start("--batch", processes=2).exit_status()
    assert [int(line[0]) for line in ledger.lines()] == [job.pk for job in made]
    assert ended(made[-1]).result == 30


def test_a_chain_does_not_wait_for_the_next_poll(start, ledger):
    start(processes=1, POLL_INTERVAL=120)
    made = chain(*[jobs.adds_up.bind(number=1, ledger=str(ledger)) for _ in range(4)]).enqueue()
    assert ended(made[-1]).result == 4


def test_a_job_after_many_starts_once_after_the_last_of_them(start, ledger):
    parents = jobs.adds_up.enqueue_many([{"number": 1, "ledger": str(ledger)} for _ in range(200)])
    total = jobs.adds_up.using(after=parents).enqueue(ledger=str(ledger))
    workers = [start(processes=2), start(processes=2)]
    assert ended(total).result == 200
    for worker in workers:
        worker.stop()
    assert [int(line[0]) for line in ledger.lines()].count(total.pk) == 1
    assert int(ledger.lines()[-1][0]) == total.pk


def test_one_stored_while_its_parent_runs_starts_after_it(start, ledger, tmp_path):
    gate = tmp_path / "gate"
    start(processes=1)
    parent = jobs.until.enqueue(gate=str(gate), ledger=str(ledger))
    with_status(parent, "running")
    job = jobs.noop.using(after=parent).enqueue()
    gate.touch()
    assert ended(job).status == "done"


def test_an_abort_cancels_what_waits(start, ledger):
    start(processes=1)
    parent = jobs.wait_for.enqueue(ledger=str(ledger))
    job = jobs.noop.using(after=parent).enqueue()
    with_status(parent, "running")
    parent.abort()
    assert ended(job).status == "cancelled"


def test_a_failure_waits_for_the_last_attempt_of_its_job(start):
    parent = jobs.fail.using(max_attempts=2).enqueue()
    job = jobs.noop.using(after=parent, after_failure="run").enqueue()
    start(processes=1)
    with_status(parent, "scheduled")
    assert Job.objects.get(pk=job.pk).waits_for_jobs
    parent.run_now()
    assert ended(job).status == "done"
    assert ended(parent).status == "exception"


def test_a_worker_that_is_killed_behind_the_end_of_a_parent_holds_nothing_up(start, ledger):
    """Another worker, or the same one at its next start, resolves what it has not."""
    parent = jobs.noop.enqueue()
    start("--batch").exit_status()
    job = jobs.noop.enqueue()
    Dependency.objects.create(job=job, parent=parent)
    Job.objects.filter(pk=job.pk).hold()
    start(processes=1)
    assert ended(job).status == "done"
    all_ended()
    wait_until(lambda: not Dependency.objects.open().exists())
