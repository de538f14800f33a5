"""Kills a process at each crash point, one after the other, and looks whether anything was lost or done twice."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from qorworker.models import Job
from tests.chaos import results
from tests.chaos.database import new_database
from tests.chaos.points import Control
from tests.chaos.stage import Stage, told
from tests.chaos.trees import children_of
from tests.support import recorded_transitions, wait_until

PATIENCE, PROVOCATIONS = 4.0, 3  # seconds without a crash until something else is killed; how often, at most
LOOK_AFTER = 20  # crashes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--crashes", type=int, default=500, help="(default: %(default)s)")
    parser.add_argument("--points", default="", help="only points whose name contains this text")
    parser.add_argument("--seconds", type=float, default=1e9, help="end after this time, whatever was done")
    parser.add_argument("--before", type=json.loads, default={}, help="JSON: how often each point had its turn before")


def run(options: argparse.Namespace) -> int:
    return carry_out(options)


def carry_out(options: argparse.Namespace, broker: str = "") -> int:
    """Crash processes and tell what came of it; with a *broker* some jobs run on Celery. The exit status."""
    with new_database(), recorded_transitions() as transitions, tempfile.TemporaryDirectory() as folder:
        chance = random.Random(options.seed)
        with Stage(Path(folder), transitions, chance, broker=broker) as stage:
            trial = Trial(stage, options.points, options.before)
            trial.run(options.crashes, options.seconds)
            points = trial.turns_taken()
    told(stage.figures, stage.violations)
    print(f"{sum(trial.crashes.values())} crashes at {len(trial.crashes)} points of {len(points)}")
    for point in sorted(point for point, number in points.items() if not number):
        print("not reached:", point)
    results.store(options.json, figures=stage.figures.as_json(), violations=stage.violations, points=points)
    return int(bool(stage.violations))


class Trial:
    def __init__(self, stage: Stage, wanted: str, before: dict[str, int]) -> None:
        self.stage, self.chance, self.wanted, self.before = stage, stage.chance, wanted, before
        self.control = Control(stage.folder)
        self.crashes: Counter[str] = Counter()
        self.lately: list[str] = []
        self.serial, self.rounds = 0, 1

    @property
    def points(self) -> list[str]:
        return sorted(point for point in self.control.seen() if self.wanted in point)

    def run(self, crashes: int, seconds: float) -> None:
        begun = time.monotonic()
        self.stage.begin()
        while sum(self.crashes.values()) < crashes and time.monotonic() - begun < seconds:
            self.crash()
            if len(self.lately) >= LOOK_AFTER:
                self.look()
                self.stage.begin()
        self.look()

    def look(self) -> None:
        self.stage.settle_and_look(self.lately)
        self.lately.clear()
        print(f"{sum(self.crashes.values())} crashes at {len(self.crashes)} of {len(self.points)} points", flush=True)

    def crash(self) -> None:
        """Wait for a process to die at a point that had its turn less often than others."""
        if self.chance.random() < 0.6:
            self.let_work()
        self.serial += 1
        self.control.arm(self.serial, self.spared())
        begun, provoked = time.monotonic(), 0
        held: dict[int, dict[int, str]] = {}
        while (found := self.control.victim(self.serial)) is None:
            held |= {worker.pid: self.stage.tokens_of(worker) for worker in self.stage.running}
            if time.monotonic() - begun > PATIENCE * (provoked + 1):
                provoked += 1
                self.provoke()
            if provoked > PROVOCATIONS:  # what is left is rare: all get another turn
                self.rounds += 1
                break
            self.stage.replace_dead()
            time.sleep(0.02)
        self.control.disarm()
        if found is None:
            return
        victim, point = found
        died, tokens = time.monotonic(), self.still_held(held.get(victim, {}))
        self.crashes[point] += 1
        self.lately.append(point)
        self.stage.figures.faults += 1
        self.stage.replace_dead()
        self.stage.settled(tokens, died)

    def let_work(self) -> None:
        """Wait until all workers run jobs, so that more is lost than an idle process."""

        def busy() -> bool:
            self.stage.replace_dead()
            return all(self.stage.tokens_of(worker) for worker in self.stage.running)

        with suppress(AssertionError):  # too much has died for that: this crash comes as it may
            wait_until(busy, 8, every=0.05)

    def spared(self) -> list[str]:
        """The points that had their turns, and those that are not wanted."""
        seen = self.control.seen() | set(self.crashes)
        return [point for point in seen if self.turns(point) >= self.rounds or self.wanted not in point]

    def turns(self, point: str) -> int:
        return self.crashes[point] + self.before.get(point, 0)

    def still_held(self, tokens: dict[int, str]) -> dict[int, str]:
        return dict(Job.objects.held(tokens).values_list("pk", "attempt_token")) if tokens else {}

    # What makes rare points be reached.

    def provoke(self) -> None:
        worker = self.chance.choice([*self.stage.running, *self.stage.celery])
        with suppress(OSError):  # it has just died
            fork_servers = children_of(worker.pid)
            children = [pid for parent in fork_servers for pid in children_of(parent)]
            pid = self.chance.choice([worker.pid, worker.pid, *fork_servers, *children[:1]])
            os.kill(pid, signal.SIGKILL if pid != worker.pid else self.chance.choice((signal.SIGKILL, signal.SIGTERM)))

    def turns_taken(self) -> dict[str, int]:
        return {point: self.crashes[point] for point in self.points}
