"""Counts what a job costs on one database, and compares that with the budget.

Every figure is the difference between a large run and a small one, so that starting up costs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from django.db import connection

from benchmarks import counting
from benchmarks.measure import empty, preload
from tests.proxy import FaultProxy

BUDGET = Path(__file__).with_name("budget.json")
# A worker's batches are never quite alike, and before Python 3.12 a comprehension is a call.
TOLERANCE = 1.25 if sys.version_info >= (3, 12) else 1.6
SLACK = 0.1  # on top of it, for figures near zero
# A parent that waits for the processor finds other numbers of single-attempt jobs ended in each of its rounds.
BY_THE_CLOCK, CLOCK_TOLERANCE = "drain, single-attempt: ", 2.0
TRIES = 4  # a busy machine adds to what a worker does by the clock, and never takes from it
SMALL, LARGE = 500, 2500
DUE = 200  # schedules that fire together
PORTS = {"postgresql": "QORWORKER_POSTGRESQL_PORT", "mysql": "QORWORKER_MARIADB_PORT"}


def main(database: str, write: bool) -> int:
    """Print each figure beside its budget. Return 1 if one is over it; with *write* make the figures the budget."""
    figures = measured()
    budgets = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    if write:
        budgets[database] = figures
        BUDGET.write_text(json.dumps(budgets, indent=1, sort_keys=True) + "\n")
    budget = budgets.get(database, {})
    for _ in range(TRIES - 1):
        if not over(budget, figures):
            break
        figures = {name: min(value, figures[name]) for name, value in measured().items()}
    too_much = over(budget, figures)
    for name, value in figures.items():
        sign = "OVER BUDGET" if name in too_much else ""
        print(f"{name:<55} {value:10.2f} {budget.get(name, 0.0):10.2f} {sign}".rstrip())
    return int(bool(too_much))


def over(budget: dict[str, float], figures: dict[str, float]) -> list[str]:
    return [name for name, value in figures.items() if value > budget.get(name, 0.0) * _tolerance(name) + SLACK]


def _tolerance(name: str) -> float:
    by_the_clock = name.startswith(BY_THE_CLOCK) and not name.endswith("child calls")
    return max(TOLERANCE, CLOCK_TOLERANCE) if by_the_clock else TOLERANCE


def measured() -> dict[str, float]:
    from benchmarks.benchjobs import jobs

    figures: dict[str, float] = {}
    kinds = (("re-runnable", jobs.again, 1), ("single-attempt", jobs.once, 5), ("a process each", jobs.isolated, 25))
    for what, job_type, share in kinds:
        small, large = SMALL // share, LARGE // share
        counts = [drained(job_type, count) for count in (small, large)]
        for name in counts[1]:
            # New processes take their time, in which the parent does other things. A fork server only forks.
            if name != "child calls" and (name == "fork server calls") != (job_type is jobs.isolated):
                continue
            figures[f"drain, {what}: {name}"] = (counts[1][name] - counts[0][name]) / (large - small)
    for what, size, times in (("one", 1, 200), ("many", 1000, 3)):
        for name, value in enqueued(jobs.again, size, times).items():
            figures[f"enqueue {what}: {name}"] = value / (size * times)
    for name, value in fired(jobs.again, DUE).items():
        figures[f"fire many: {name}"] = value / DUE
    return {name: round(value, 3) for name, value in figures.items()}


def drained(job_type: Any, count: int) -> Counter[str]:
    """What all processes of a worker do for these jobs, and what goes through its connections."""
    empty()
    preload(job_type, count)
    with TemporaryDirectory() as folder:
        environment = {**os.environ, counting.FOLDER: folder}
        command = [sys.executable, "-m", "django", "runworker", "-v", "0", "--batch", "--processes", "2"]
        if connection.vendor == "sqlite":
            subprocess.run(command, check=True, env=environment)
            return counting.total(Path(folder))
        with FaultProxy(int(connection.settings_dict["PORT"])) as proxy:
            environment[PORTS[connection.vendor]] = str(proxy.port)
            subprocess.run(command, check=True, env=environment)
            figures = counting.total(Path(folder))
            del figures["statements"]
            figures["requests"], figures["bytes"] = proxy.requests, proxy.transferred
            return figures


def enqueued(job_type: Any, size: int, times: int) -> Counter[str]:
    """What enqueuing costs this process."""

    def enqueue() -> None:
        for number in range(times):
            if size == 1:
                job_type.enqueue(number=number)
            else:
                job_type.enqueue_many([{"number": each} for each in range(size)])

    empty()
    job_type.enqueue_many([{"number": number} for number in range(size)])
    return counted(enqueue)


def fired(job_type: Any, count: int) -> Counter[str]:
    """What so many schedules that are due in one instant cost this process, however busy its machine is."""
    from qorworker.maintenance import scheduler as module
    from qorworker.models import database_now
    from tests.maintenance.support import due_together

    empty()
    due_together(count, database_now("default").replace(microsecond=0), job_type)
    scheduler = module.Scheduler("default")
    scheduler.prepare()
    with patch.multiple(module, SHARE=60.0, CHECKING=60.0):
        return counted(scheduler.fire_all)


def counted(work: Callable[[], Any]) -> Counter[str]:
    """What *work* costs this process."""
    counter, statements = counting.ProcessCounter(), 0

    def count(execute: Any, *call: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(*call)

    with connection.execute_wrapper(count):
        counter.start()
        try:
            work()
        finally:
            counter.stop()
    return Counter({"calls": counter.calls, "statements": statements})


if __name__ == "__main__":
    import django
    from django.core.management import call_command

    from benchmarks.measure import fresh_database

    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts", description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    fresh_database()
    django.setup()
    call_command("migrate", verbosity=0)
    sys.exit(main(options.database, options.write))
