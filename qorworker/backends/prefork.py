"""Ends a job that runs in a child of Celery's prefork pool: asks it, waits, then ends its processes. That child."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from django.utils.translation import gettext as _

from qorworker.backends.inprocess import Attendant, logged, run_stored
from qorworker.conf import settings
from qorworker.context import JobContext
from qorworker.exceptions import JobAborted
from qorworker.execution import Ending
from qorworker.models import Outcome
from qorworker.registry import registry
from qorworker.worker import processes
from qorworker.worker.child import LogStream, memory_limit
from qorworker.worker.keeper import duration_text
from qorworker.worker.processes import monotonic


def is_child() -> bool:
    """Whether this is the main thread of a process that a prefork pool has made for its tasks."""
    from billiard.process import current_process  # type: ignore[import-not-found, import-untyped, unused-ignore]

    is_main = threading.current_thread() is threading.main_thread()
    return is_main and bool(current_process().daemon) and current_process().name != "MainProcess"


class Guard:
    """Around one attempt. SIGTERM from the thread beside it raises ``JobAborted`` in the handler.

    From Celery the signal says that this process is to end: the thread is told, the attempt interrupted.
    """

    def __init__(self) -> None:
        self.in_handler = self.is_leaving = self.is_asked = False
        self.asked_at: float | None = None
        self.before: Any = None

    def __enter__(self) -> Guard:
        processes.adopt_orphans()
        self.before = signal.signal(signal.SIGTERM, self._on_term)
        return self

    def __exit__(self, *error: object) -> None:
        end_descendants()
        signal.signal(signal.SIGTERM, self.before)
        if self.is_leaving:
            os.kill(os.getpid(), signal.SIGTERM)

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        if self.asked_at is None:
            self.is_leaving = True
            return
        self.is_asked = True
        if self.in_handler:
            self.in_handler = False  # once is enough: what it does to tidy up is not disturbed
            raise JobAborted

    def run(self, job_id: int, using: str, **who: Any) -> str | None:
        """``run_stored``, guarded. The handler hears of an abort by the signal: not by asking, and again by that."""
        return run_stored(
            job_id,
            using,
            surroundings=self.surroundings,
            abort_requested=lambda: self.is_asked,
            watch=self.watch,
            **who,
        )

    @contextlib.contextmanager
    def surroundings(self, context: JobContext) -> Iterator[None]:
        output, errors = LogStream(context, logging.INFO), LogStream(context, logging.WARNING)
        limit = registry.get(context.name).memory_limit
        try:
            with (
                logged(context),
                contextlib.redirect_stdout(output),
                contextlib.redirect_stderr(errors),
                memory_limit(limit),
            ):
                self.in_handler = True
                yield
        finally:
            self.in_handler = False
            output.finish()
            errors.finish()

    def watch(self, attendant: Attendant) -> None:
        """In the thread beside the attempt: see that it ends when it has to."""
        attempt, now = attendant.attempt, monotonic()
        limit = getattr(registry.find(attempt.job.name), "timeout", None)
        if self.asked_at is None:
            if attendant.is_abort_requested:
                attempt.stop_reason, attempt.stop_text = Outcome.ABORTED, _("Aborted.")
            elif limit is not None and now - (attempt.begun or now) > limit:
                attempt.stop_reason = Outcome.TIMEOUT
                attempt.stop_text = _("Stopped after the limit of %s.") % duration_text(limit)
            elif self.is_leaving:
                attempt.stop_reason = Outcome.INTERRUPTED
                attempt.stop_text = _("Interrupted because the worker was stopped.")
            elif not attempt.lost:
                return
            self.asked_at = now
            os.kill(os.getpid(), signal.SIGTERM)
        elif now - self.asked_at > float(settings.ABORT_GRACE):
            end_descendants()
            try:
                if not attempt.lost:
                    attendant.finish(Ending(attempt.stop_reason or Outcome.ABORTED, attempt.stop_text))
            finally:  # also if the database does not take that: nobody else would end it
                os.kill(os.getpid(), signal.SIGKILL)


def end_descendants() -> None:
    """Kill what this process has started, and what that has started, until nothing is left."""
    me = os.getpid()
    while children := processes.children_of(me):
        for pid in children:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(OSError):
                os.waitpid(pid, 0)
