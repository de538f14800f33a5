"""Random trees of processes, each aborted through a real worker: none of them may be left, and the page must say so."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qorworker.models import Job
from tests.chaos import results
from tests.chaos.database import new_database
from tests.support import Ledger, RunningWorker, alive, ended, running_worker
from tests.testapp import jobs
from tests.trees import Gardener, Tree

CLEAN = "Aborted. All its processes have ended."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=1000, help="trees to abort (default: %(default)s)")
    parser.add_argument("--together", type=int, default=2, help="trees at a time (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    chance = random.Random(options.seed)
    faults, most, begun = [], 0, time.monotonic()
    with new_database(), tempfile.TemporaryDirectory() as folder, planted(folder, options.together) as worker:
        for number in range(0, options.rounds, options.together):
            count = min(options.together, options.rounds - number)
            trees = [Gardener(chance).tree(Path(folder)) for _ in range(count)]
            grown, wrong = abort(trees, Ledger(Path(folder) / f"ledger-{number}"), chance)
            most = max(most, grown)
            for line in [*wrong, *strangers(worker)]:
                faults.append(line)
                print(f"VIOLATION round {number}: {line}", flush=True)
            if number % 100 < options.together:
                print(f"{number} of {options.rounds}: {len(faults)} violations", flush=True)
    results.store(options.json, figures={"faults": options.rounds, "jobs": options.rounds}, violations=faults)
    told = f"{options.rounds} trees of at most {most} processes: {len(faults)} violations"
    print(f"{told} in {time.monotonic() - begun:.0f} s")
    return int(bool(faults))


@contextmanager
def planted(folder: str, slots: int) -> Iterator[RunningWorker]:
    with running_worker(folder=Path(folder), processes=slots, ABORT_GRACE=0.2) as worker:
        yield worker


def abort(trees: list[Tree], ledger: Ledger, chance: random.Random) -> tuple[int, list[str]]:
    """Let the trees grow for a moment and abort them; how many processes there were, and what is wrong."""
    found: list[Job] = [jobs.plant.enqueue(program=tree.program, ledger=str(ledger)) for tree in trees]
    ledger.wait(len(trees))
    time.sleep(chance.uniform(0, 0.3))
    grown = max(len(tree.census()) for tree in trees)
    for job in found:
        job.refresh_from_db()
        job.abort()
    wrong = []
    for job, tree in zip(found, trees, strict=True):
        ended(job)
        if left := tree.census():
            wrong.append(f"{len(left)} processes are left of {tree.program}")
        survivors = job.attempts.get().survivors
        if (job.status, job.error, survivors) != ("killed", CLEAN, 0):
            wrong.append(f"{job.status}, {job.error!r}, {survivors} survivors: {tree.program}")
    return grown, wrong


def strangers(worker: RunningWorker) -> list[str]:
    """What the fork server has for children beside those of the worker, and zombies of the parent."""
    fork_server = worker.fork_server()
    idle = set(worker.children())
    odd = [pid for pid in children_of(fork_server) if pid not in idle and alive(pid)]
    zombies = [pid for pid in children_of(worker.pid) if not alive(pid)]
    return [f"{len(odd)} strange children"] * bool(odd) + [f"{len(zombies)} zombies"] * bool(zombies)


def children_of(pid: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
