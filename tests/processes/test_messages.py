"""Messages from real workers: whatever is killed, each event arrives, and always with the same id."""

from __future__ import annotations

import threading

import pytest

from qorworker.definitions.registry import registry
from qorworker.models import Approval, Job, Message, MessageMark, Worker, database_now
from qorworker.models.job_messages import SENDER
from tests.messages.receiver import receiving
from tests.models.rows import make_job
from tests.support import ended, wait_until
from tests.testapp import jobs

pytestmark = pytest.mark.process
QUICK = {"LEASE": 3, "OBSERVATION": 1}


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


def worker_with_rule(start, receiver, on=("failed",), rule=None, **more):
    """A worker with a rule for failures, or other events, as soon as it has begun to look for them."""
    webhook = {"url": receiver.url, "secret": "hunter2", "private_addresses": True}
    rule = {"name": "failures", "on": list(on), "webhook": webhook, **(rule or {})}
    worker = start(processes=2, MESSAGES=[rule], **QUICK, **more)
    wait_until(MessageMark.objects.exists)
    return worker


def kill(worker):
    worker.kill()
    wait_until(lambda: not worker.census())


def arrived(receiver, count):
    """What has arrived, as soon as *count* jobs were reported, and nothing waits to be sent."""

    def all_are_there():
        Job.objects.filter(name=SENDER, status="scheduled").run_now()  # without the back-off
        is_over = not Message.objects.exclude(state="sent").exists()
        return is_over and len({payload["job"]["id"] for payload in receiver.payloads}) == count

    wait_until(all_are_there, 120, lambda: (list(Message.objects.values()), receiver.payloads))
    return receiver.payloads


def test_a_failure_arrives(start, receiver):
    worker = worker_with_rule(start, receiver)
    job = ended(jobs.fail.enqueue())
    ended(jobs.write.enqueue(ledger="/dev/null"))
    [payload] = arrived(receiver, 1)
    assert payload["job"]["id"] == job.pk
    assert payload["job"]["error"] == "ValueError: no such luck"
    assert worker.stop() == 0


def test_a_worker_that_is_killed_before_it_sends_loses_nothing(start, receiver):
    worker = worker_with_rule(start, receiver)
    registry.get(SENDER).pause(reason="a test")
    failed = {ended(jobs.fail.enqueue()).pk for _ in range(3)}
    wait_until(lambda: Message.objects.count() == 3)
    kill(worker)
    assert not receiver.got
    registry.get(SENDER).resume()
    worker_with_rule(start, receiver)
    payloads = arrived(receiver, 3)
    assert {payload["job"]["id"] for payload in payloads} == failed
    assert len({payload["id"] for payload in payloads}) == 3


def test_one_that_is_killed_while_it_sends_sends_it_again_with_the_same_id(start, receiver):
    gate = threading.Event()

    def answer(number):
        if number == 1:
            gate.wait(60)
        return 200, {}, "ok"

    receiver.answer = answer
    worker = worker_with_rule(start, receiver)
    ended(jobs.fail.enqueue())
    wait_until(lambda: receiver.got)
    kill(worker)
    gate.set()
    worker_with_rule(start, receiver)
    wait_until(lambda: arrived(receiver, 1)[1:], 60)
    assert {payload["id"] for payload in receiver.payloads} == {Message.objects.get().uid}


def test_workers_that_are_killed_again_and_again_report_each_job_once(start, receiver):
    worker = worker_with_rule(start, receiver)
    failing = set()
    for _ in range(3):
        before = Message.objects.count()
        failing |= {jobs.fail.enqueue().pk for _ in range(10)}
        wait_until(lambda: Message.objects.count() > before, 60)  # noqa: B023 - called at once
        kill(worker)
        worker = worker_with_rule(start, receiver)
    worker_with_rule(start, receiver)  # two at the same time
    payloads = arrived(receiver, len(failing))
    assert {payload["job"]["id"] for payload in payloads} == failing
    assert Message.objects.count() == len(failing)
    assert len({payload["id"] for payload in payloads}) == len(failing)


def test_a_worker_that_is_killed_is_reported_once_though_the_one_that_reports_it_is_killed_too(start, receiver):
    worker, gone = worker_with_rule(start, receiver, ["worker_gone"]), []
    for _ in range(2):
        gone.append(Worker.objects.get(stopped_at=None).name)
        other = worker_with_rule(start, receiver, ["worker_gone"])
        kill(worker)
        wait_until(lambda: Message.objects.count() >= len(gone), 120)
        worker = other

    def all_are_there():
        Job.objects.filter(name=SENDER, status="scheduled").run_now()
        return {payload["details"]["worker"] for payload in receiver.payloads} == set(gone)

    wait_until(all_are_there, 120, lambda: (list(Message.objects.values()), receiver.payloads))
    assert worker.stop() == 0
    assert Message.objects.count() == len({payload["id"] for payload in receiver.payloads}) == 2


def test_what_waits_for_approval_is_reported_once_whoever_is_killed(start, receiver):
    worker = worker_with_rule(start, receiver, ["approval_wanted"])
    waiting = set()
    for _ in range(3):
        for _ in range(5):
            job = make_job("scheduled", waits_for_approval=True)
            Approval.objects.create(job=job, permission="shop.publish", asked_at=database_now("default"))
            waiting.add(job.pk)
        wait_until(lambda: Message.objects.count() > len(waiting) - 5, 120)
        kill(worker)
        worker = worker_with_rule(start, receiver, ["approval_wanted"])
    payloads = arrived(receiver, len(waiting))
    assert {payload["job"]["id"] for payload in payloads} == waiting
    assert Message.objects.count() == len(waiting) == len({payload["id"] for payload in payloads})
