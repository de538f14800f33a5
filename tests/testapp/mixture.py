"""Job types of the trials. Each attempt notes its begin, its end, and whether an earlier one still runs."""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from qorworker import JobContext, job
from tests.testapp.models import Shop

LOOP, WALK = 30, 30  # items


def again(**options: Any) -> Any:
    """Declare a job type whose jobs may be run again at once, as often as it takes."""
    return lambda function: job(
        name=f"testapp.mixed_{function.__name__}", **{"max_attempts": 100, "backoff": lambda attempt: 0, **options}
    )(function)


@contextmanager
def noted(context: JobContext, folder: str) -> Iterator[None]:
    """Note the beginning and the end of an attempt in the file of its job."""
    path = Path(folder) / str(context.job_id)
    begun = time.clock_gettime(time.CLOCK_BOOTTIME)
    me = f"{os.getpid()} {context.attempt} {random.getrandbits(32)} {begun:.3f} {machine()}"
    for each in running(path.read_text().splitlines() if path.exists() else []):
        tell(path, f"overlap {each}")
    tell(path, f"begin {me}")
    try:
        yield
    finally:
        tell(path, f"end {me}")


def tell(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


def running(lines: list[str]) -> list[str]:
    """The attempts among these that have not ended and whose process runs: one that was stopped does nothing."""
    over = {line[4:] for line in lines if line.startswith("end ")}
    begun = [line[6:] for line in lines if line.startswith("begin ")]
    mine = [each for each in begun if each not in over and each.endswith(f" {machine()}")]
    return [each for each in mine if is_running(int(each.split()[0]), float(each.split()[3]))]


def machine() -> int:
    """The number of the PID namespace: what a process of another one does cannot be seen from here."""
    return os.stat("/proc/self/ns/pid").st_ino


def is_running(pid: int, since: float) -> bool:
    """Whether that process runs which had this number at this time since the boot, and not another one by now."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    fields = text[text.rindex(")") + 2 :].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return fields[0] not in "ZXT" and started <= since


@job(name="testapp.mixed_once")
def once(context: JobContext, folder: str, seconds: float) -> None:
    with noted(context, folder):
        time.sleep(seconds)


@again()
def plain(context: JobContext, folder: str, seconds: float) -> None:
    with noted(context, folder):
        time.sleep(seconds)


@again(max_attempts=2)
def fails(context: JobContext, folder: str) -> None:
    with noted(context, folder):
        if random.random() < 0.5:
            raise ValueError("by lot")


@again(atomic="chunk")
def walk(context: JobContext, folder: str) -> None:
    """Stores thirty rows, each exactly once."""
    with noted(context, folder):
        for number in context.iterate(range(WALK), chunk=3):
            Shop.objects.create(name=f"{context.job_id}-{number}")
            time.sleep(0.02)


@again()
def loop(context: JobContext, folder: str) -> None:
    with noted(context, folder):
        for number in context.iterate(range(LOOP)):
            context.add_log(f"item {number}")
            time.sleep(0.02)


@again(concurrency=20)
async def together(context: JobContext, folder: str, seconds: float) -> None:
    with noted(context, folder):
        await asyncio.sleep(seconds)


@again(concurrency=4)
async def short(context: JobContext, folder: str, seconds: float) -> None:
    with noted(context, folder):
        await asyncio.sleep(seconds)
        if seconds > 1:
            time.sleep(1)


@again()
def asks(context: JobContext, folder: str) -> bool:
    with noted(context, folder):
        return bool(context.ask("Go on?", default={"go": True}, expires=timedelta(seconds=20), go=bool).go)


@job(name="testapp.mixed_approved", approval="auth.change_user")
def approved(context: JobContext, folder: str) -> None:
    with noted(context, folder):
        time.sleep(0.01)


@again()
def ticks(context: JobContext, folder: str) -> None:
    """Runs by a schedule."""
    with noted(context, folder):
        time.sleep(0.01)


@again()
def at_end(context: JobContext, folder: str) -> None:
    """Runs when a batch has ended."""
    with noted(context, folder):
        time.sleep(0.05)
