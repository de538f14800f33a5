"""Which job is next: queues, priorities, recycled children."""

from datetime import timedelta

import pytest

from qorworker.models import Job
from tests.support import ended, wait_until
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.once]


def names(ledger):
    return [name for [name] in ledger.lines()]


def test_higher_priorities_first_then_the_oldest(start, ledger):
    for name, priority in [("a", 0), ("b", 100), ("c", -100), ("d", 5), ("e", 5), ("f", 100), ("g", 0)]:
        jobs.in_order.using(priority=priority).enqueue(ledger=str(ledger), name=name)
    assert start("--batch", processes=1, ready=False).exit_status() == 0
    assert names(ledger) == ["b", "f", "d", "e", "a", "g", "c"]


def test_a_worker_serves_its_queues_only(start, ledger):
    for queue in ("default", "mail", "reports", "other"):
        jobs.in_order.using(queue_name=queue).enqueue(ledger=str(ledger), name=queue)
    assert start("--batch", "--queues", "mail,reports", processes=1, ready=False).exit_status() == 0
    assert names(ledger) == ["mail", "reports"]
    assert start("--batch", "--exclude-queues", "other", processes=1, ready=False).exit_status() == 0
    assert names(ledger) == ["mail", "reports", "default"]
    assert start("--batch", processes=1, ready=False).exit_status() == 0
    assert names(ledger) == ["mail", "reports", "default", "other"]


def test_priority_goes_before_the_queue(start, ledger):
    jobs.in_order.using(queue_name="default").enqueue(ledger=str(ledger), name="first of default")
    jobs.in_order.using(queue_name="reports", priority=1).enqueue(ledger=str(ledger), name="urgent")
    assert start("--batch", processes=1, ready=False).exit_status() == 0
    assert [line[0] for line in ledger.lines()] == ["urgent", "first"]


def test_children_are_replaced_after_their_share(start, ledger):
    many = [jobs.wait_for.enqueue(ledger=str(ledger), seconds=0.0) for _ in range(6)]
    assert start("--batch", processes=1, ready=False, CHILD_JOBS=2).exit_status() == 0
    assert {Job.objects.get(pk=job.pk).status for job in many} == {"done"}
    pids = [pid for _, pid in ledger.lines()]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]


def test_a_child_that_has_grown_is_replaced_when_idle_and_one_that_has_not_is_kept(start, ledger):
    worker = start(processes=1, CHILD_MEMORY=1024 * 1024)
    [before] = wait_until(worker.children)
    assert ended(jobs.grow.enqueue(megabytes=100)).status == "done"
    [after] = wait_until(lambda: [pid for pid in worker.children() if pid != before], 20)
    beat = worker.row().heartbeat_at
    wait_until(lambda: worker.row().heartbeat_at > beat + timedelta(seconds=6), 20)  # longer than between two looks
    assert worker.children() == [after]
    assert ended(jobs.noop.enqueue()).status == "done"
