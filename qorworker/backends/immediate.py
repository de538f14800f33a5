"""Runs jobs in the process that enqueues them, as soon as its transaction commits. Web and test processes."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qorworker.execution.context import JobContext
from qorworker.queues.base import BaseBackend

if TYPE_CHECKING:
    from qorworker.models import Job


class ImmediateBackend(BaseBackend):
    """For tests, and for quick jobs that need no worker: ``enqueue`` returns when the job has ended.

    Attempts that follow a failed one start at once, without a back-off. Nothing can end a handler that does not check
    for an abort, so limits of time and memory are not enforced, and a handler prints where the caller prints. Inside a
    ``TestCase`` transactions never commit: use ``captureOnCommitCallbacks(execute=True)``.
    """

    runs_in_caller = True
    supports_schedule = False
    supports_kill = False
    supports_limits = False
    supports_output = False

    def jobs_ready(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            _run(job)
        while _released.jobs and not _released.depth:
            _run(_released.jobs.popleft())

    def jobs_released(self, jobs: Sequence[Job]) -> None:
        # After the job whose end has released them, not within it: a chain may be longer than the stack is deep.
        _released.jobs += jobs
        if not _released.depth:
            self.jobs_ready(())


class Released(threading.local):
    """The jobs that run once the one that runs in this thread has ended."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.depth = 0  # jobs that run now: one may enqueue another


_released = Released()


def _run(job: Job) -> None:
    using, interrupt = job._state.db or "default", Interrupt()
    _released.depth += 1
    try:
        _run_attempts(job.pk, using, interrupt)
    finally:
        _released.depth -= 1
        job.refresh_from_db(using=using)
    if interrupt.happened:
        raise KeyboardInterrupt


class Interrupt:
    """Remembers that Ctrl-C interrupted a handler: its job has failed, and the caller still has to be interrupted."""

    happened = False

    @contextmanager
    def surroundings(self, context: JobContext) -> Iterator[None]:
        from qorworker.attempts.in_process import logged

        try:
            with logged(context):
                yield
        except KeyboardInterrupt:
            self.happened = True
            raise


def _run_attempts(job_id: int, using: str, interrupt: Interrupt) -> None:
    from qorworker.attempts.in_process import run_stored

    me, status = f"{socket.gethostname()}:{os.getpid()}", "scheduled"
    # A loop that was asked to pause leaves its job queued if the pause was withdrawn before its end was written.
    while status in ("scheduled", "new") and not interrupt.happened:
        status = run_stored(job_id, using, worker_name=me, early=True, surroundings=interrupt.surroundings) or ""
