"""Job types whose vitals and stacks are looked at while they run."""

import asyncio
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from qorworker import JobContext, Secret, job
from tests.testapp.models import Shop


def watched(**options: Any) -> Any:
    """Declare a job type. Its name says so."""
    return lambda function: job(name=f"testapp.watched_{function.__name__}", **options)(function)


def tell(ledger: str, *words: object) -> None:
    with Path(ledger).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def wait_at(gate: str) -> None:
    while not Path(gate).exists():
        time.sleep(0.02)


@watched()
def queries_and_waits(context: JobContext, ledger: str, gate: str) -> None:
    """Makes 25 queries, holds some memory, has a thread and a child process, and waits at the gate."""
    for _ in range(25):
        Shop.objects.count()
    held = bytearray(os.urandom(1024)) * (60 * 1024)
    thread = threading.Thread(target=wait_at, args=(gate,), name="the helper")
    thread.start()
    sleeper = subprocess.Popen(["sleep", "600"])
    tell(ledger, "begin", context.job_id)
    wait_at(gate)
    sleeper.kill()
    sleeper.wait()
    thread.join()
    tell(ledger, "end", len(held))


@watched()
def has_a_secret(context: JobContext, ledger: str, gate: str, word: Secret[str]) -> None:
    tell(ledger, "begin")
    wait_at(gate if str(word) else "open sesame")


@watched()
def stuck_in_c(ledger: str) -> None:
    """Keeps the lock of the interpreter: no Python runs in its process any more."""
    tell(ledger, "begin")
    sum(range(10**15))


@watched()
async def awaits(ledger: str, gate: str) -> None:
    async def inner_task() -> None:
        await asyncio.sleep(600)

    helper = asyncio.create_task(inner_task(), name="the inner one")
    tell(ledger, "begin")
    while not Path(gate).exists():
        await asyncio.sleep(0.02)
    helper.cancel()


@watched(concurrency=10, max_attempts=2)
async def awaits_together(context: JobContext, ledger: str, gate: str) -> None:
    async def of_this_job() -> None:
        while not Path(gate).exists():
            await asyncio.sleep(0.02)

    tell(ledger, "begin", context.job_id, os.getpid())
    await of_this_job()


@watched(concurrency=10, max_attempts=2)
async def blocks_the_loop(context: JobContext, ledger: str, gate: str) -> None:
    tell(ledger, "begin", context.job_id, os.getpid())
    wait_at(gate)
