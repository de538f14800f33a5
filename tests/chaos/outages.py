"""What the trials of outages have in common: workers that are busy, a fault, and the time until work goes on."""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from django.db import connection

from qorworker.models import Job
from tests.chaos import results
from tests.chaos.database import new_database
from tests.proxy import FaultProxy
from tests.servers import Server, private_server
from tests.settings import ENGINE
from tests.support import Ledger, Transitions, all_ended, recorded_transitions, running_worker, wait_until
from tests.testapp import jobs

WORKERS, BACKLOG = 2, 400
OPTIONS = {"LEASE": 9, "OBSERVATION": 1.0, "POLL_INTERVAL": 0.2}
Fault = Callable[[FaultProxy, Server, random.Random], None]


def add_outage_arguments(parser: argparse.ArgumentParser, *, limit: float) -> None:
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--limit", type=float, default=limit, help="seconds until work must go on after each fault")


def try_out(fault: Fault, options: argparse.Namespace) -> int:
    """Let *fault* happen again and again, with a check of the promises after it. Return the exit status."""
    if ENGINE == "sqlite":
        print("SQLite has no server; choose another with QORWORKER_TEST_DATABASE.")
        return 2
    with ExitStack() as stack:
        server = stack.enter_context(private_server(ENGINE))
        use(server)
        stack.enter_context(new_database())
        transitions = stack.enter_context(recorded_transitions())
        proxy = stack.enter_context(FaultProxy(server.port))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ledger = Ledger(folder / "ledger")
        workers = [
            stack.enter_context(running_worker("--verbosity", "0", folder=folder, port=proxy.port, **OPTIONS))
            for _ in range(WORKERS)
        ]
        chance, waits = random.Random(options.seed), []
        for number in range(1, options.rounds + 1):
            keep_busy(ledger)
            ledger.wait(len(ledger.lines()) + 1, 120)
            fault(proxy, server, chance)
            waits.append(seconds_until_work(ledger))
            proxy.drop_lost()  # a server takes a hundred connections, and lost ones count
            if number % 10 == 0:
                print(f"{number} rounds, longest wait {max(waits):.1f} s", flush=True)
        all_ended(300)
        wrong = violations(ledger, transitions, waits, options.limit)
        found = {"faults": options.rounds, "jobs": Job.objects.count()}
        ended = [worker for worker in workers if worker.process.poll() is not None]
        wrong += [f"a worker ended\n{worker.said}" for worker in ended]
    waits.sort()
    median, longest = waits[len(waits) // 2], waits[-1]
    recovery = {"p50": median, "p99": waits[int(0.99 * len(waits))], "max": longest}
    results.store(options.json, figures={**found, "recovery": recovery}, violations=wrong)
    for violation in wrong:
        print(f"VIOLATION {violation}")
    told = f"seconds until work went on: median {median:.2f}, longest {longest:.2f}, limit {options.limit:g}"
    print(f"{options.rounds} rounds, {found['jobs']} jobs; {told}: {len(wrong)} violations")
    return int(bool(wrong))


def use(server: Server) -> None:
    """From now on this process and its workers use this server."""
    name = ENGINE.upper()
    user = "postgres" if ENGINE == "postgresql" else "root"
    os.environ.update({f"QORWORKER_{name}_USER": user, f"QORWORKER_{name}_PASSWORD": ""})
    connection.close()
    connection.settings_dict.update(HOST="127.0.0.1", PORT=str(server.port), USER=user, PASSWORD="")


def keep_busy(ledger: Ledger) -> None:
    missing = (BACKLOG - Job.objects.waiting().count()) // 2
    for job_type in (jobs.write_slowly, jobs.write_slowly_again):
        job_type.enqueue_many([{"ledger": str(ledger), "number": number} for number in range(max(0, missing))])


def seconds_until_work(ledger: Ledger) -> float:
    """Until a job starts that was not running when the fault was over."""
    begun = time.monotonic()
    connection.close()
    keep_busy(ledger)
    known = set(Job.objects.running().values_list("pk", flat=True))
    before = len(ledger.lines())

    def goes_on() -> bool:
        return any(int(line[0]) not in known for line in ledger.lines()[before:])

    wait_until(goes_on, 120, every=0.05)
    return time.monotonic() - begun


def violations(ledger: Ledger, transitions: Transitions, waits: list[float], limit: float) -> list[str]:
    wrong = [f"work went on after {wait:.1f} s only" for wait in waits if wait > limit]
    ends = transitions.ends()
    wrong += [f"job {pk} ended {ends[pk]} times" for pk in Job.objects.values_list("pk", flat=True) if ends[pk] != 1]
    starts = Counter(int(line[0]) for line in ledger.lines())
    single = Job.objects.filter(max_attempts=1).values_list("pk", flat=True)
    return wrong + [f"job {pk} started {starts[pk]} times" for pk in single if starts[pk] > 1]
