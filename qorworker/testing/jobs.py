"""The jobs with which ``BackendContract`` tests a backend. They write what they do into files. All processes."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from django.db import transaction

from qorworker import Cell, JobContext, job
from qorworker.exceptions import JobAborted


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


@job(name="contract.story")
def story(context: JobContext) -> None:
    """Writes output in every way that does not need the process for itself."""
    context.add_log("by the context")
    logging.getLogger("somebody.else").warning("logged")
    context.logger.info("by its logger")
    context.add_log("broken", level=logging.ERROR)
    context.set_progress(3, 4)
    context.set_progress_text("three of four")
    context.add_results_row("A-1", 5)
    context.add_results_row("A-2", Cell(6))


@job(name="contract.output")
def output() -> None:
    print("printed")
    print("to stderr", file=sys.stderr)


@job(name="contract.row_errors")
def row_errors(context: JobContext) -> None:
    context.add_results_row("A-1", "fine")
    context.add_results_row("A-2", Cell("-3", error="negative stock"))


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
