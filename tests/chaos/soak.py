"""Runs very many jobs in one worker: what it has gained, what it has left, and how quickly the next job begins."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from qorworker.models import Job
from tests.chaos.database import new_database
from tests.chaos.trees import children_of
from tests.support import RunningWorker, alive, ended, running_worker, wait_until
from tests.testapp import jobs

AHEAD, TOGETHER = 2_000, 1_000  # jobs that wait at least, and are enqueued at a time
SINGLE = 100  # jobs that are enqueued one by one
GROWTH = 5.0  # MB
SLOWER = 2.0  # times


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=100_000, help="(default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    faults, begun = [], time.monotonic()
    with (
        new_database(),
        tempfile.TemporaryDirectory() as folder,
        running_worker("--verbosity", "0", folder=Path(folder)) as worker,
    ):
        warm_up = options.jobs // 10
        feed(warm_up, 0)
        quick, before = waits(), measure(worker)
        feed(options.jobs - warm_up, warm_up + SINGLE)
        after, later = measure(worker), waits()
        zombies = [pid for pid in family(worker) if not alive(pid) and os.path.exists(f"/proc/{pid}")]
        done = Job.objects.done().count()
    grown = {name: after[name][0] - before[name][0] for name in before}
    descriptors = {name: after[name][1] - before[name][1] for name in before}
    faults += [f"{name} has grown by {mb:.1f} MB" for name, mb in grown.items() if mb > GROWTH]
    faults += [f"{name} has {number} more descriptors" for name, number in descriptors.items() if number > 0]
    faults += [f"{len(zombies)} zombies"] * bool(zombies)
    faults += [f"{options.jobs + 2 * SINGLE - done} jobs are not done"] * (done != options.jobs + 2 * SINGLE)
    # A few milliseconds are those of other processes on the machine.
    faults += [f"jobs begin after {later:.0f} ms, before after {quick:.0f}"] * (later > SLOWER * quick + 5)
    for fault in faults:
        print(f"VIOLATION {fault}")
    sizes = ", ".join(f"{name} {mb:+.1f} MB {descriptors[name]:+d} descriptors" for name, mb in grown.items())
    rate = options.jobs / (time.monotonic() - begun)
    print(
        f"{done} jobs, {rate:.0f} a second: {sizes}, {len(zombies)} zombies;"
        f" a single job is done after {quick:.0f} ms, at the end {later:.0f} (median)"
    )
    return int(bool(faults))


def feed(count: int, before: int) -> None:
    """Have so many jobs done, behind those of before."""
    for first in range(0, count, TOGETHER):
        jobs.noop.enqueue_many([{} for _ in range(min(TOGETHER, count - first))])
        wait_until(lambda: Job.objects.waiting().count() < AHEAD, 600, every=0.2)
    wait_until(lambda: Job.objects.done().count() >= before + count, 600, every=0.2)


def waits() -> float:
    """The median of the milliseconds from enqueueing a job to its end, while nothing else runs."""
    found = []
    for _ in range(SINGLE):
        begun = time.monotonic()
        ended(jobs.noop.enqueue())
        found.append(1000 * (time.monotonic() - begun))
    return sorted(found)[len(found) // 2]


def family(worker: RunningWorker) -> list[int]:
    return [worker.pid, *children_of(worker.pid), *children_of(worker.fork_server())]


def measure(worker: RunningWorker) -> dict[str, tuple[float, int]]:
    """Megabytes that are its own, and open descriptors, of the two processes that live as long as the worker."""
    return {
        name: (private(pid), len(os.listdir(f"/proc/{pid}/fd")))
        for name, pid in (("parent", worker.pid), ("fork server", worker.fork_server()))
    }


def private(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
