"""Jobs that tests run through real workers. Each tells a ledger outside the database what it did."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from django.contrib.auth import get_user_model
from django.db import connection

from qorworker import Cell, JobContext, Secret, job


def tell(ledger: str, *words: object) -> None:
    """Append one line to the ledger; short appends of several processes do not mix."""
    with Path(ledger).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


@job
def noop() -> None:
    """Does nothing."""


@job(max_attempts=3)
def noop_again(number: int = 0) -> None:
    """Does nothing, and may do it again."""


@job
def write(context: JobContext, ledger: str, number: int = 0) -> None:
    tell(ledger, context.job_id, number)


@job(max_attempts=3)
def write_again(context: JobContext, ledger: str, number: int = 0) -> None:
    tell(ledger, context.job_id, number)


@job
def story(context: JobContext) -> None:
    """Uses every way to say something."""
    context.add_log("by the context")
    print("printed")
    print("to stderr", file=sys.stderr)
    logging.getLogger("somebody.else").warning("logged")
    context.logger.info("by its logger")
    subprocess.run(["echo", "from a subprocess"], check=True)
    context.set_progress(3, 4)
    context.set_progress_text("three of four")
    context.add_results_row("A-1", 5, Cell("", error=""))


@job
def row_errors(context: JobContext) -> None:
    context.add_results_row("A-1", "fine")
    context.add_results_row("A-2", Cell("-3", error="negative stock"))


@job
def fail(message: str = "no such luck") -> None:
    raise ValueError(message)


@job(max_attempts=3, backoff=lambda attempt: 0)
def fail_twice(context: JobContext, ledger: str) -> None:
    tell(ledger, context.job_id, context.attempt)
    if context.attempt < 3:
        raise ValueError(f"attempt {context.attempt}")


@job
def leave(how: str) -> None:
    """Ends its process in one of the many ways there are."""
    match how:
        case "sys.exit":
            sys.exit(0)
        case "os._exit":
            os._exit(0)
        case "abort":
            os.abort()
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "interrupt":
            raise KeyboardInterrupt


@job(max_attempts=10, backoff=lambda attempt: 0)
def poison() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@job
def wait_for(context: JobContext, ledger: str, seconds: float = 600.0) -> None:
    tell(ledger, context.job_id, os.getpid())
    context.add_log("waiting")
    time.sleep(seconds)


@job(max_attempts=3, backoff=lambda attempt: 0)
def wait_again(context: JobContext, ledger: str, seconds: float = 600.0) -> None:
    tell(ledger, context.job_id, os.getpid())
    if context.attempt == 1:
        time.sleep(seconds)


@job
def family(context: JobContext, ledger: str, ignore_term: bool = False) -> None:
    """Starts a child, a grandchild in a session of its own, and a daemon, then waits."""
    if ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    subprocess.run(["sh", "-c", "(setsid sleep 600 >/dev/null 2>&1 &)"], check=True)
    tell(ledger, context.job_id, os.getpid())
    time.sleep(600)


@job
def leave_daemon(ledger: str) -> None:
    subprocess.run(["sh", "-c", "(setsid sleep 600 >/dev/null 2>&1 &)"], check=True)
    tell(ledger, os.getpid())


@job(timeout=1)
def too_long(ledger: str) -> None:
    tell(ledger, os.getpid())
    time.sleep(600)


@job(memory_limit=300 * 1024 * 1024)
def too_large() -> None:
    data = bytearray()
    while True:
        data += b"x" * (64 * 1024 * 1024)


@job(isolation="process")
def isolated(context: JobContext, ledger: str) -> None:
    tell(ledger, context.job_id, os.getpid())


@job
def secretive(context: JobContext, password: Secret[str]) -> None:
    value = password.get_secret_value()
    print("the password is", value)
    context.set_progress_text(f"using {value}")
    context.add_results_row(value, password)
    raise ValueError(f"wrong password {value}")


@job(atomic=True)
def atomic(name: str, succeed: bool = True) -> None:
    get_user_model().objects.create(username=name)
    if not succeed:
        raise ValueError("rolled back")


@job
def open_transaction() -> None:
    """Leaves the connection in a state that the next job must not find."""
    connection.set_autocommit(False)
    get_user_model().objects.create(username="never committed")


@job
def flood(context: JobContext, lines: int) -> None:
    for number in range(lines):
        print("line", number)


@job
async def asynchronous(context: JobContext) -> None:
    context.add_log("in a loop")


@job
def cleanup(ledger: str) -> None:
    """Tidies up when it is aborted."""
    try:
        tell(ledger, "begin")
        time.sleep(600)
    finally:
        tell(ledger, "tidy")


@job
def forks(context: JobContext) -> None:
    """Lets a fork run out of the handler."""
    if not (pid := os.fork()):
        raise RuntimeError("the fork")
    os.waitpid(pid, 0)
    context.add_log("the original")
