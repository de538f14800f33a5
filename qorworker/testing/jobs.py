"""The jobs with which ``BackendContract`` tests a backend. They write what they do into files. All processes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils.translation import gettext_lazy

from qorworker import Cell, JobContext, Selection, job, job_of_command
from qorworker.exceptions import JobAborted
from qorworker.models import Job


def note(path: str, *words: object) -> None:
    """Append a line to a file; short appends of several processes do not mix."""
    with Path(path).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def _wait_for(path: str, context: JobContext | None = None) -> None:
    while not Path(path).exists():
        if context is not None:
            context.check_abort()
        time.sleep(0.01)


@job(name="contract.write")
def write(context: JobContext, path: str, text: str = "", number: int = 0) -> None:
    """Writes its arguments into a file."""
    note(path, context.job_id, context.attempt, number, text)


@job(name="contract.approved", approval="qorworker.run_job")
def approved(context: JobContext, path: str) -> None:
    """Writes its number into a file, once another user has approved it."""
    note(path, context.job_id)


@job(name="contract.together", concurrency=10, max_attempts=2)
async def together(context: JobContext, path: str, number: int = 0) -> int:
    """Writes its number into a file, beside others of its kind where the backend can do that."""
    await asyncio.sleep(0.01)
    note(path, context.job_id, context.attempt, number)
    context.add_log(f"number {number}")
    return number


@job(name="contract.story")
def story(context: JobContext) -> None:
    """Writes output in every way that does not need the process for itself."""
    context.add_log("by the context")
    logging.getLogger("somebody.else").warning("logged")
    context.logger.info("by its logger")
    context.add_log("broken", level=logging.ERROR)
    context.set_progress(3, 4)
    context.set_progress_text("three of four")
    context.set_results_columns("SKU", gettext_lazy("Row"))
    context.add_results_row("A-1", 5)
    context.add_results_row("A-2", Cell(6), key="A-2")


@job(name="contract.output")
def output() -> None:
    print("printed")
    print("to stderr", file=sys.stderr)


@job(name="contract.row_errors")
def row_errors(context: JobContext) -> None:
    context.add_results_row("A-1", "fine")
    context.add_results_row("A-2", Cell("-3", error="negative stock"))


@job(name="contract.walk", max_attempts=2, backoff=lambda attempt: 0)
def walk(context: JobContext, path: str) -> None:
    """Goes over numbers, and fails once at the third one."""
    context.set_results_columns("Number")
    for number in context.iterate(range(5), text="number {index} of {total}"):
        note(path, number)
        if number == 2 and context.attempt == 1:
            raise ValueError(number)
        context.add_results_row(number)
        context.set_progress_text(f"number {number + 1} of 5")


@job(name="contract.walk_in_transactions", max_attempts=2, backoff=lambda attempt: 0, atomic="chunk")
def walk_in_transactions(context: JobContext, path: str) -> None:
    """Goes over numbers by twos, and fails once at the fourth one."""
    for number in context.iterate(range(5), chunk=2):
        note(path, number)
        if number == 3 and context.attempt == 1:
            raise ValueError(number)


@job(name="contract.walk_in_a_coroutine", max_attempts=2, backoff=lambda attempt: 0)
async def walk_in_a_coroutine(context: JobContext, path: str) -> None:
    """Does what ``walk`` does."""
    async for number in context.aiterate(range(5)):
        note(path, number)
        if number == 2 and context.attempt == 1:
            raise ValueError(number)


@job(name="contract.walk_slowly")
def walk_slowly(context: JobContext, path: str, gate: str) -> None:
    """Goes over two numbers, and waits before the second one for a file to appear."""

    def throttle() -> float:
        return 0.1 if Path(path).read_text() and not Path(gate).exists() else 0

    for number in context.iterate(range(2), throttle=throttle):
        note(path, number)


@job(name="contract.ask")
def ask(context: JobContext, path: str, time: dt.timedelta) -> int:
    """Asks for a number, and returns it."""
    note(path, "asks")
    number: int = context.ask("Which number?", number=int, default={"number": 1}, expires=time).number
    note(path, "goes on")
    return number


@job(name="contract.give")
def give(number: int) -> int:
    """Returns its number."""
    return number


@job(name="contract.add_up")
def add_up(context: JobContext, number: int) -> int:
    """Adds a number to those that the jobs before it have returned."""
    return number + sum(int(parent.result) for parent in context.parents)


@job(name="contract.one_at_a_time", max_concurrency=1)
def one_at_a_time(path: str) -> None:
    """Says that it begins, and after a moment that it ends."""
    note(path, "begins")
    time.sleep(0.2)
    note(path, "ends")


@job(name="contract.list_rows")
def list_rows(rows: Selection[Job]) -> list[int]:
    """Returns the keys of the rows that were chosen."""
    return [row.pk for row in rows.queryset()]


@job(name="contract.wait_for_call")
def wait_for_call(context: JobContext) -> Any:
    """Waits for a call from outside, and returns what came."""
    return context.callback().wait()


@job(name="contract.add_files")
def add_files(context: JobContext) -> None:
    context.add_results_row(context.add_file("list.csv", "a;b\n"))


show_migrations = job_of_command("showmigrations", name="contract.show_migrations")


@job(name="contract.fail")
def fail(context: JobContext, message: str) -> None:
    context.set_progress(40)
    with transaction.atomic():
        context.add_log("said inside a transaction that is rolled back")
        raise ValueError(message)


@job(name="contract.leave")
def leave() -> None:
    sys.exit(3)


@job(name="contract.fail_until", max_attempts=3, backoff=lambda attempt: 0)
def fail_until(context: JobContext, path: str, good: int) -> None:
    """Fails until attempt number *good*."""
    note(path, context.attempt)
    if context.attempt < good:
        raise ValueError(f"attempt {context.attempt}")


@job(name="contract.wait")
def wait(context: JobContext, path: str, gate: str) -> None:
    """Waits for a file to appear, and checks for an abort meanwhile."""
    context.set_progress(40)
    context.set_progress_text("waiting")
    context.add_log("waiting")
    note(path, "begun", os.getpid())
    try:
        _wait_for(gate, context)
    finally:
        note(path, "over")


@job(name="contract.return_when_asked")
def return_when_asked(context: JobContext, path: str, gate: str) -> None:
    """Waits for a file to appear, and returns normally if its abort is requested before."""
    note(path, "begun", os.getpid())
    with contextlib.suppress(JobAborted):
        _wait_for(gate, context)


@job(name="contract.wait_again", max_attempts=3, backoff=lambda attempt: 0)
def wait_again(path: str, gate: str) -> None:
    """Waits for a file to appear; may be run again."""
    note(path, "begun", os.getpid())
    _wait_for(gate)


@job(name="contract.killed_once", max_attempts=2, backoff=lambda attempt: 0)
def killed_once(context: JobContext, path: str) -> None:
    """Kills its own process in its first attempt."""
    note(path, context.attempt)
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@job(name="contract.deaf")
def deaf(path: str, gate: str) -> None:
    """Waits for a file to appear, and for a process that it has started, and checks for nothing else."""
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    note(path, "begun", os.getpid(), other.pid)
    _wait_for(gate)
    other.kill()


@job(name="contract.stubborn")
def stubborn(path: str, gate: str) -> None:
    """Waits for a file to appear, and ignores every request to end."""
    note(path, "begun", os.getpid())
    while not Path(gate).exists():
        try:
            time.sleep(0.01)
        except BaseException:
            continue


@job(name="contract.too_long", timeout=1)
def too_long(gate: str) -> None:
    _wait_for(gate)


@job(name="contract.atomic", atomic=True)
def at_once(context: JobContext, path: str) -> None:
    context.add_log("in its own transaction")
    note(path, "run")
