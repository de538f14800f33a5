"""The jobs that are measured."""

from __future__ import annotations

import os
import time

from qorworker import JobContext, job


@job
def once(number: int = 0) -> None:
    """Does nothing, and is started at most once."""


@job(max_attempts=3)
def again(number: int = 0) -> None:
    """Does nothing, and may be started again: it may wait in a child's memory."""


@job(max_attempts=3)
def report(context: JobContext, number: int = 0) -> None:
    """Reports ten times how far it is, and adds ten lines to its log."""
    for step in range(10):
        context.set_progress(step * 10)
        context.add_log(f"step {step} of job {number}: a line of usual length")


@job(max_attempts=3)
def compute(number: int = 0) -> None:
    """Keeps a processor busy for 5 ms."""
    end = time.thread_time() + 0.005
    while time.thread_time() < end:
        pass


@job(max_attempts=3)
def sleep(number: int = 0) -> None:
    """Waits for 10 ms."""
    time.sleep(0.01)


@job(isolation="process")
def isolated(number: int = 0) -> None:
    """Does nothing, in a process of its own."""


@job
def stamp(path: str) -> None:
    """Notes when it started."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{time.time()}\n".encode())
    os.close(descriptor)
