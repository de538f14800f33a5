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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.db import connection

from benchmarks import counting
from benchmarks.measure import empty, preload
from tests.proxy import FaultProxy

BUDGET = Path(__file__).with_name("budget.json")
# A worker's batches are never quite alike, and before Python 3.12 a comprehension is a call.
TOLERANCE = 1.25 if sys.version_info >= (3, 12) else 1.6
SLACK = 0.1  # on top of it, for figures near zero
SMALL, LARGE = 500, 2500
PORTS = {"postgresql": "QORWORKER_POSTGRESQL_PORT", "mysql": "QORWORKER_MARIADB_PORT"}


def main(database: str, write: bool) -> int:
    """Print each figure beside its budget. Return 1 if one is over it; with *write* make the figures the budget."""
    figures = measured()
    budgets = json.loads(BUDGET.read_text()) if BUDGET.exists() else {}
    if write:
        budgets[database] = figures
        BUDGET.write_text(json.dumps(budgets, indent=1, sort_keys=True) + "\n")
    budget = budgets.get(database, {})
    if over(budget, figures):  # a busy machine adds to what a worker does by the clock, and never takes from it
        figures = {name: min(value, figures[name]) for name, value in measured().items()}
    too_much = over(budget, figures)
    for name, value in figures.items():
        sign = "OVER BUDGET" if name in too_much else ""
        print(f"{name:<55} {value:10.2f} {budget.get(name, 0.0):10.2f} {sign}".rstrip())
    return int(bool(too_much))


def over(budget: dict[str, float], figures: dict[str, float]) -> list[str]:
    return [name for name, value in figures.items() if value > budget.get(name, 0.0) * TOLERANCE + SLACK]


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
    empty()
    job_type.enqueue_many([{"number": number} for number in range(size)])
    counter, statements = counting.ProcessCounter(), 0

    def count(execute: Any, *call: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(*call)

    with connection.execute_wrapper(count):
        counter.start()
        try:
            for number in range(times):
                if size == 1:
                    job_type.enqueue(number=number)
                else:
                    job_type.enqueue_many([{"number": each} for each in range(size)])
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
