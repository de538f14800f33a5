"""Ten processes fire the same schedules, and are frozen and killed: each time makes one job, and none is left out."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from itertools import pairwise

from qorworker import Every, Schedule
from qorworker.models import Job, ScheduleSlot, database_now
from qorworker.models.clock import aware
from tests.chaos.database import new_database
from tests.support import ROOT, WITH_THE_TESTS, environment, wait_until
from tests.testapp import jobs

SCHEDULERS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schedules", type=int, default=10, help="one slot a second each (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=500, help="of all schedules together (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    chance, begun = random.Random(options.seed), time.monotonic()
    with new_database(), ExitStack() as stack:
        fleet = Fleet(chance, stack)
        for number in range(options.schedules):
            rules = {"overlap": "parallel", "misfire": "all", "misfire_cap": 100}
            Schedule.objects.create_for(jobs.noop, Every(seconds=1), name=f"number {number}", **rules)
        while ScheduleSlot.objects.count() < options.slots:
            fleet.harm()
        fleet.wake_all()
        now = database_now("default")
        wait_until(lambda: not Schedule.objects.filter(next_slot__lt=now).exists(), 120)
        for schedule in Schedule.objects.all():
            schedule.pause()
        faults = list(wrong())
        fired = ScheduleSlot.objects.count()
    for fault in faults[:50]:
        print(f"VIOLATION {fault}")
    told = f"{fired} slots fired by {SCHEDULERS} schedulers, {fleet.kills} killed and {fleet.freezes} frozen"
    print(f"{told}: {len(faults)} faults in {time.monotonic() - begun:.0f} s")
    return int(bool(faults))


class Fleet:
    def __init__(self, chance: random.Random, stack: ExitStack) -> None:
        self.chance, self.stack = chance, stack
        self.kills = self.freezes = 0
        self.asleep: dict[subprocess.Popen[bytes], float] = {}
        self.all = [self.begin() for _ in range(SCHEDULERS)]
        for process in self.all:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"

    def begin(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*WITH_THE_TESTS, sys.executable, "-m", "tests.processes.only_schedules"], cwd=ROOT, env=environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process

    def harm(self) -> None:
        time.sleep(self.chance.uniform(0.02, 0.15))
        victim = self.chance.choice(self.all)
        if self.chance.random() < 0.1:
            victim.kill()
            self.asleep.pop(victim, None)
            self.all[self.all.index(victim)] = self.begin()
            self.kills += 1
        elif victim not in self.asleep:
            os.kill(victim.pid, signal.SIGSTOP)
            self.asleep[victim] = time.monotonic() + self.chance.uniform(0.05, 2.0)
            self.freezes += 1
        for sleeper, until in list(self.asleep.items()):
            if time.monotonic() > until:
                os.kill(sleeper.pid, signal.SIGCONT)
                del self.asleep[sleeper]

    def wake_all(self) -> None:
        for sleeper in self.asleep:
            os.kill(sleeper.pid, signal.SIGCONT)


def wrong() -> list[str]:
    """Where a second has no slot or two, a slot no job of its own, or a job no slot."""
    found = []
    for schedule in Schedule.objects.all():
        times = list(schedule.slots.order_by("planned_at").values_list("planned_at", flat=True))
        steps = Counter(after - before for before, after in pairwise(times))
        if set(steps) != {timedelta(seconds=1)} or aware(times[0]) != aware(schedule.anchor) + timedelta(seconds=1):
            found.append(f"{schedule.name}: {steps}, from {times[0]}")
    made = Counter(ScheduleSlot.objects.values_list("job_id", flat=True))
    found += [f"job {job} belongs to {number} slots" for job, number in made.items() if number > 1 or job is None]
    found += [f"job {job} belongs to no slot" for job in Job.objects.exclude(pk__in=made).values_list("pk", flat=True)]
    return found
