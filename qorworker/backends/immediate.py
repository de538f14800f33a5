"""Runs jobs in the process that enqueues them, as soon as its transaction commits. Web and test processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qorworker.backends.base import BaseBackend
from qorworker.context import JobContext

if TYPE_CHECKING:
    from qorworker.models import Job


class ImmediateBackend(BaseBackend):
    """For tests, and for quick jobs that need no worker: ``enqueue`` returns when the job has ended.

    Attempts that follow a failed one start at once, without the pause of their back-off. Nothing can end a handler
    that does not look for an abort, so limits of time and memory are not kept, and what is printed stays where the
    caller prints. Inside a ``TestCase`` transactions never commit: use ``captureOnCommitCallbacks(execute=True)``.
    """

    runs_in_caller = True
    supports_schedule = False
    supports_kill = False
    supports_limits = False
    supports_output = False

    def jobs_ready(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            using, interrupt = job._state.db or "default", Interrupt()
            try:
                _run_attempts(job.pk, using, interrupt)
            finally:
                job.refresh_from_db(using=using)
            if interrupt.happened:
                raise KeyboardInterrupt


class Interrupt:
    """Remembers that Ctrl-C hit a handler: its job has failed by it, and the caller is to hear of it too."""

    happened = False

    @contextmanager
    def surroundings(self, context: JobContext) -> Iterator[None]:
        from qorworker.backends.inprocess import logged

        try:
            with logged(context):
                yield
        except KeyboardInterrupt:
            self.happened = True
            raise


def _run_attempts(job_id: int, using: str, interrupt: Interrupt) -> None:
    from qorworker.backends.inprocess import run_stored

    me, status = f"{socket.gethostname()}:{os.getpid()}", "scheduled"
    while status == "scheduled" and not interrupt.happened:
        status = run_stored(job_id, using, worker_name=me, early=True, surroundings=interrupt.surroundings) or ""
