"""Limits with real workers: they hold while workers are killed and stand still, and waiting for them costs nothing."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest

from qorworker.models import Attempt, Job, database_now, held_by
from tests.support import all_ended, ended, wait_until
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]
SECONDS = float(os.environ.get("QORWORKER_TEST_SECONDS", "5"))  # of killing; 120 for the long version
QUICK = {"LEASE": 3, "OBSERVATION": 1}


def strike(workers, start, chance, holder):
    """Something bad happens to the process with the job, or to the worker that has it."""
    place = next((at for at, each in enumerate(workers) if holder in each.census()), chance.randrange(len(workers)))
    worker, what = workers[place], chance.choice(["kill", "child", "stop", "all"])
    if what in ("kill", "all"):
        worker.kill() if what == "kill" else worker.destroy()
        workers[place] = start(processes=2, ready=False, **QUICK)
    elif what == "child":
        with suppress(OSError):
            os.kill(holder, signal.SIGKILL)
    elif worker not in [each for _, each in stopped]:
        worker.signal(signal.SIGSTOP)
        stopped.append((time.monotonic() + chance.choice([0.5, 7]), worker))


stopped = []


def let_go(now):
    for item in [item for item in stopped if item[0] <= now]:
        stopped.remove(item)
        with suppress(OSError):
            item[1].signal(signal.SIGCONT)


def test_never_two_at_once_although_workers_are_killed_and_stopped(start, ledger):
    chance = random.Random(os.environ.get("QORWORKER_TEST_SEED"))
    workers = [start(processes=2, **QUICK) for _ in range(4)]
    jobs.alone.enqueue_many([{"ledger": str(ledger), "number": number} for number in range(int(SECONDS * 20))])
    wait_until(lambda: len(ledger.lines()) > 3)
    until, strikes = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        # Between the strikes it must get on, so each of them hits a system that works.
        seen = len(ledger.lines())
        wait_until(lambda: let_go(time.monotonic()) or len(ledger.lines()) > seen, 60)  # noqa: B023
        for each in [item for item in workers if not item.pid]:
            each.wait_ready()
        strike(workers, start, chance, int(ledger.lines()[-1][1]))
        strikes += 1
    let_go(float("inf"))
    done = Job.objects.done().count()
    wait_until(lambda: Job.objects.done().count() > done + 5, 60)  # it has recovered
    words = [line[0] for line in ledger.lines()]
    outcomes = dict(Counter(Attempt.objects.values_list("outcome", flat=True)))
    print(f"{strikes} strikes, {words.count('one')} starts, {words.count('two')} of them beside another; {outcomes}")
    assert words.count("two") == 0
    assert Job.objects.running().filter(name=jobs.alone.name).count() <= 1


def test_a_full_key_holds_up_only_its_own_and_its_end_lets_the_next_one_start(start, ledger, tmp_path):
    gate = tmp_path / "gate"
    start(processes=3)
    first = jobs.alone_for_each.enqueue(ledger=str(ledger), shop="berlin", gate=str(gate))
    ledger.wait(1)
    second = jobs.alone_for_each.enqueue(ledger=str(ledger), shop="berlin")
    other = jobs.alone_for_each.enqueue(ledger=str(ledger), shop="paris")
    unlimited = jobs.write.enqueue(ledger=str(ledger))
    assert [ended(job).status for job in (other, unlimited)] == ["done", "done"]
    second.refresh_from_db()
    assert second.status == "new"
    assert [job.pk for job in held_by(second).running] == [first.pk]
    gate.touch()
    assert [ended(job).status for job in (first, second)] == ["done", "done"]


def test_a_rate_is_kept_and_used_up(start, ledger):
    start(processes=2)
    start(processes=2)
    jobs.three_in_a_second.enqueue_many([{"ledger": str(ledger)}] * 10)
    all_ended()
    starts = sorted(Job.objects.values_list("started_at", flat=True))
    spans = [(later - first).total_seconds() for first, later in zip(starts, starts[3:], strict=False)]
    assert min(spans) >= 1


def test_a_batch_gives_keys_to_jobs_from_before_the_limit_and_ends_although_a_limit_holds_one(start, ledger):
    made = jobs.alone_for_each.enqueue_many([{"ledger": str(ledger), "shop": "berlin"}] * 3)
    Job.objects.update(limit_key="")
    running, held = jobs.alone.enqueue_many([{"ledger": str(ledger)}] * 2)
    lease = {"lease_expires_at": database_now("default") + timedelta(days=1)}
    Job.objects.filter(pk=running.pk).update(status="running", attempt_token="f" * 32, **lease)
    worker = start("--batch", processes=2, ready=False)
    assert worker.exit_status() == 0
    held.refresh_from_db()
    assert held.status == "new"
    assert set(Job.objects.done().values_list("attempt", "limit_key")) == {(1, made[0].limit_key)}
    assert Job.objects.done().count() == 3
