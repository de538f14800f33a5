"""Messages from real workers: whatever is killed, each event arrives, and always with the same id."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from qorworker import Every, Schedule, pause_queue
from qorworker.definitions.registry import registry
from qorworker.models import Approval, Job, Message, MessageMark, Question, ScheduleSlot, Worker, database_now
from qorworker.models.job_messages import SENDER
from qorworker.schedules.landing import Slot
from tests.messages.receiver import receiving
from tests.models.rows import ended as ended_job
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


# What no row says


WATCHED = ["queue_older_than", "longer_than_usual", "schedule_missed", "approval_wanted", "question_asked"]
ALL_RULE = {"on": [*WATCHED, "worker_gone"], "older_than": 60}


def ago(seconds):
    return database_now("default") - dt.timedelta(seconds=seconds)


def one_of_each(schedule):
    """Let there be something new to report of each kind but for workers and queues; return of what."""
    far = {"last_attempted_at": ago(90), "lease_expires_at": ago(-9_999), "worker_id": None}
    long, waiting = make_job("running", **far), make_job("scheduled", waits_for_approval=True)
    asking = make_job("scheduled", waits_for_answer=True, run_after=ago(-9_999))
    Approval.objects.create(job=waiting, permission="shop.publish", asked_at=ago(0))
    Question.objects.create(job=asking, key="a", kind="person", attempt=1, asked_at=ago(0))
    moment = ago(ScheduleSlot.objects.count() * 60).replace(tzinfo=dt.UTC)
    slot = Slot(moment, moment.isoformat()[:19])
    assert ScheduleSlot.objects.note(schedule, slot, outcome="skipped", reason="missed")
    return {
        ("longer_than_usual", long.pk), ("approval_wanted", waiting.pk), ("question_asked", asking.pk),
        ("schedule_missed", moment.isoformat()),
    }  # fmt: skip


def reported(payload):
    """The event of a message, and what it is about."""
    if payload["job"] is not None:
        return payload["event"], payload["job"]["id"]
    details = payload["details"]
    return payload["event"], next(details[name] for name in ("worker", "planned_at", "queue") if name in details)


def test_what_no_row_says_is_reported_once_whoever_is_killed(start, receiver):
    schedule = Schedule.objects.create_for(jobs.noop, Every(days=1), name="daily")
    for _ in range(3):
        ended_job(ran=1.0)
    pause_queue("other")
    make_job("new", run_after=ago(90), queue_name="other")
    expected = {("queue_older_than", "other")}
    worker = worker_with_rule(start, receiver, rule=ALL_RULE)
    wait_until(lambda: MessageMark.objects.filter(slot__isnull=False).exists())
    for number in range(1, 3):
        wait_until(lambda: Worker.objects.count() == number)  # noqa: B023 - called at once
        expected |= {*one_of_each(schedule), ("worker_gone", Worker.objects.latest("pk").name)}
        before = Message.objects.filter(event="schedule_missed").count()
        wait_until(lambda: Message.objects.filter(event="schedule_missed").count() > before)  # noqa: B023 - called at once
        kill(worker)
        worker = worker_with_rule(start, receiver, rule=ALL_RULE)

    def all_are_there():
        Job.objects.filter(name=SENDER, status="scheduled").run_now()
        return expected <= set(map(reported, receiver.payloads))

    wait_until(all_are_there, 90, lambda: (expected - set(map(reported, receiver.payloads)), receiver.payloads))
    assert worker.stop() == 0
    by_id = {payload["id"]: reported(payload) for payload in receiver.payloads}
    assert sorted(by_id.values(), key=str) == sorted(expected, key=str)
    assert Message.objects.count() == len(by_id)
