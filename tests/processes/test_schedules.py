"""Schedules with real processes: many fire them, some are stopped or killed, and each time makes one job."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import pytest

from qorworker import At, Every, Schedule, job
from qorworker.models import Job, ScheduleSlot, database_now
from qorworker.models.clock import aware
from qorworker.worker.parent.supervisor import Supervisor, WorkerOptions
from tests.job_types import own_types  # noqa: F401
from tests.maintenance.support import due_together
from tests.support import ROOT, WITH_THE_TESTS, ended, environment, wait_until
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
SECOND = dt.timedelta(seconds=1)


def made(when, job_type=jobs.noop, **more):
    return Schedule.objects.create_for(job_type, when, **more)


def every_second(name="", **more):
    return made(Every(seconds=1), name=name, overlap="parallel", misfire="all", misfire_cap=100, **more)


def stop_all():
    for schedule in Schedule.objects.all():
        schedule.pause()


def assert_each_slot_made_one_job():
    """From its first time to its last each schedule has a row for every second, and each row has a job of its own."""
    for schedule in Schedule.objects.all():
        slots = list(schedule.slots.order_by("planned_at"))
        times = [slot.planned_at for slot in slots]
        assert [after - before for before, after in pairwise(times)] == [SECOND] * (len(times) - 1)
        assert aware(times[0]) == aware(schedule.anchor) + SECOND
        assert {slot.outcome for slot in slots} == {"fired"}
    made_by_slots = Counter(ScheduleSlot.objects.values_list("job_id", flat=True))
    assert set(made_by_slots.values()) == {1}
    assert set(made_by_slots) == set(Job.objects.values_list("pk", flat=True))


@pytest.fixture
def begin(transactional_db):
    processes = []

    def begin():
        process = subprocess.Popen(
            [*WITH_THE_TESTS, sys.executable, "-m", "tests.processes.only_schedules"], cwd=ROOT, env=environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait(10)
        process.stdout.close()


class TestTenSchedulers:
    NUMBER, SCHEDULES, SECONDS = 10, 12, 12

    def test_stopped_and_killed_at_any_moment_they_make_one_job_for_each_time(self, begin):
        schedulers = [begin() for _ in range(self.NUMBER)]
        for scheduler in schedulers:
            assert scheduler.stdout.readline() == b"ready\n"
        for number in range(self.SCHEDULES):
            every_second(f"number {number}")
        dice, stopped, until = random.Random(58), {}, time.monotonic() + self.SECONDS
        kills = 0
        while time.monotonic() < until:
            time.sleep(dice.uniform(0.02, 0.1))
            victim = dice.choice(schedulers)
            if dice.random() < 0.1:
                victim.kill()
                kills += 1
                schedulers[schedulers.index(victim)] = begin()
            else:
                os.kill(victim.pid, signal.SIGSTOP)
                stopped[victim] = time.monotonic() + dice.uniform(0.05, 2.0)
            for sleeper, awake in list(stopped.items()):
                if time.monotonic() > awake:
                    os.kill(sleeper.pid, signal.SIGCONT)
                    del stopped[sleeper]
        for sleeper in stopped:
            os.kill(sleeper.pid, signal.SIGCONT)
        now = database_now("default")
        wait_until(lambda: not Schedule.objects.filter(next_slot__lt=now).exists(), 120)
        stop_all()
        fired = ScheduleSlot.objects.count()
        print(f"{fired} times fired by {self.NUMBER} schedulers, {kills} of them killed")
        assert fired >= self.SCHEDULES * (self.SECONDS - 2)
        assert_each_slot_made_one_job()


class TestManyDueInOneInstant:
    NUMBER = 1_500

    def test_processes_that_are_killed_in_the_midst_lose_none_and_repeat_none(self, begin):
        schedulers = [begin() for _ in range(3)]
        for scheduler in schedulers:
            assert scheduler.stdout.readline() == b"ready\n"
        due_together(self.NUMBER, database_now("default").replace(microsecond=0) + 4 * SECOND)
        for share in (0.05, 0.3, 0.6):
            wait_until(lambda share=share: ScheduleSlot.objects.count() > share * self.NUMBER, 120, every=0.002)
            schedulers.pop(0).kill()
            schedulers.append(begin())
        wait_until(lambda: ScheduleSlot.objects.count() == self.NUMBER, 120)
        assert set(ScheduleSlot.objects.values_list("outcome", flat=True)) == {"fired"}
        assert ScheduleSlot.objects.values("schedule").distinct().count() == self.NUMBER
        jobs_of_slots = Counter(ScheduleSlot.objects.values_list("job_id", flat=True))
        assert set(jobs_of_slots) == set(Job.objects.values_list("pk", flat=True))
        assert jobs_of_slots.total() == len(jobs_of_slots) == self.NUMBER


class TestWorkers:
    def test_what_a_schedule_makes_is_run(self, start, ledger):
        start(processes=1)
        start(processes=1)
        schedule = made(Every(seconds=1), jobs.write, arguments={"ledger": str(ledger), "number": 5})
        ledger.wait(3)
        schedule.pause()
        wait_until(lambda: not Job.objects.waiting().exists() and not Job.objects.running().exists())
        runs = [int(job_id) for job_id, _ in ledger.lines()]
        assert sorted(runs) == sorted(schedule.slots.filter(outcome="fired").values_list("job_id", flat=True))
        late = [(job.started_at - job.run_after).total_seconds() for job in Job.objects.order_by("id")]
        print(f"started after {late} s")
        assert set(Job.objects.values_list("schedule_id", "status").distinct()) == {(schedule.pk, "done")}

    def test_a_worker_that_was_stopped_goes_on_by_the_misfire_policy(self, start):
        worker = start(processes=1)
        schedule = made(Every(seconds=1), overlap="parallel")
        wait_until(lambda: Job.objects.done().exists())
        worker.signal(signal.SIGSTOP)
        wait_until(
            lambda: Schedule.objects.filter(next_slot__lt=database_now("default") - 3 * SECOND).exists(), every=0.1
        )
        worker.signal(signal.SIGCONT)
        missed = wait_until(lambda: schedule.slots.filter(reason="missed").first())
        assert missed.missed >= 2
        stop_all()

    def test_the_process_of_a_worker_that_is_killed_loses_no_time(self, start):
        first, second = start(processes=1), start(processes=1)
        every_second()
        wait_until(lambda: Job.objects.done().count() >= 2)
        first.kill()
        before = Job.objects.count()
        wait_until(lambda: Job.objects.count() >= before + 2)
        assert second.process.poll() is None
        stop_all()
        assert_each_slot_made_one_job()

    def test_a_worker_that_ends_when_nothing_is_left_runs_what_is_due(self, start):
        made(At(dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))
        made(At(dt.datetime(2999, 1, 1, tzinfo=dt.UTC)), name="later")
        assert start("--batch", processes=1, ready=False).exit_status() == 0
        assert ended(Job.objects.get()).status == "done"

    def test_an_earlier_run_is_aborted_for_the_next(self, start, ledger):
        start(processes=1, ABORT_GRACE=1)
        made(Every(seconds=2), jobs.wait_for, arguments={"ledger": str(ledger)}, overlap="abort")
        ledger.wait(2)
        stop_all()
        # One that had not started when the next came was cancelled: a slow machine may begin with such.
        first, second = Job.objects.exclude(started_at=None).order_by("id")[:2]
        assert ended(first).status == "killed"
        assert second.started_at > first.finished_at


def test_a_worker_brings_in_what_the_code_declares(transactional_db, own_types):  # noqa: F811
    @job(name="declared", schedule=Every(minutes=15))
    def declared() -> None:
        """Does nothing."""

    Supervisor(WorkerOptions(processes=1, batch=True)).run()
    assert Schedule.objects.get().name == "declared"
