"""Pauses and requests as a real worker keeps them: nothing new starts, what runs goes on, and it ends by itself."""

import pytest

from qorworker import pause_queue, resume_queue
from qorworker.models import Worker
from tests.support import ended, wait_until, with_status
from tests.testapp import jobs

pytestmark = pytest.mark.process


def test_a_paused_queue_and_a_paused_type_start_nothing_until_they_are_resumed(start, ledger, tmp_path):
    start(processes=2)
    running = jobs.until.using(queue_name="mail").enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    ledger.wait()
    pause_queue("mail", reason="the server is full")
    jobs.noop.pause()
    held = [jobs.in_order.using(queue_name="mail").enqueue(ledger=str(ledger), name="held"), jobs.noop.enqueue()]
    assert ended(jobs.in_order.enqueue(ledger=str(ledger), name="free")).status == "done"
    (tmp_path / "gate").touch()
    assert ended(running).status == "done"
    assert ended(jobs.in_order.enqueue(ledger=str(ledger), name="free")).status == "done"
    assert [with_status(job, "new").attempt for job in held] == [0, 0]
    resume_queue("mail")
    assert ended(held[0]).status == "done"
    jobs.noop.resume()
    assert ended(held[1]).status == "done"


def test_a_worker_ends_when_all_that_waits_is_paused(start, ledger):
    pause_queue("mail")
    job = jobs.in_order.using(queue_name="mail").enqueue(ledger=str(ledger), name="held")
    assert start("--batch", processes=1, ready=False).exit_status() == 0
    assert with_status(job, "new").attempt == 0


def test_a_worker_pauses_and_drains_when_it_is_asked_to(start, ledger, tmp_path):
    worker = start(processes=2, ready=True)
    row = Worker.objects.get(stopped_at=None)
    running = jobs.until.enqueue(gate=str(tmp_path / "gate"), ledger=str(ledger))
    ledger.wait()
    row.pause()
    wait_until(lambda: Worker.objects.get(pk=row.pk).heeded == "pause")
    held = jobs.in_order.enqueue(ledger=str(ledger), name="held")
    row.drain()
    wait_until(lambda: Worker.objects.get(pk=row.pk).heeded == "drain")
    assert with_status(running, "running").attempt == 1
    (tmp_path / "gate").touch()
    assert worker.exit_status() == 0, worker.said
    assert ended(running).status == "done"
    assert with_status(held, "new").attempt == 0
    assert Worker.objects.get(pk=row.pk).stopped_at is not None
