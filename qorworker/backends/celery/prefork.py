"""Ends a job in a child of Celery's prefork pool: requests its end, waits, then kills its processes. That child."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from django.utils.translation import gettext as _

from qorworker.attempts.in_process import WRITE_INTERVAL, AttemptMonitor, logged, run_stored
from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.exceptions import JobAborted
from qorworker.execution.context import JobContext
from qorworker.execution.endings import Ending
from qorworker.execution.output import Capture
from qorworker.models import Outcome
from qorworker.system import processes, termination
from qorworker.system.memory_limit import memory_limit
from qorworker.system.processes import monotonic
from qorworker.text.moments import duration_text


def is_child() -> bool:
    """Return whether this is the main thread of a process that a prefork pool has made for its tasks."""
    from billiard.process import current_process  # type: ignore[import-not-found, import-untyped, unused-ignore]

    is_main = threading.current_thread() is threading.main_thread()
    return is_main and bool(current_process().daemon) and current_process().name != "MainProcess"


class Guard:
    """Surrounds one attempt. SIGTERM from the thread beside it raises ``JobAborted`` in the handler.

    SIGTERM from Celery means that this process is to end: the attempt is then interrupted.
    """

    def __init__(self) -> None:
        self.in_handler = self.is_leaving = self.is_asked = False
        self.asked_at: float | None = None
        self.leaving_since: float | None = None
        self.before: Any = None
        self.lease_watch: threading.Thread | None = None
        self.own_children: frozenset[int] = frozenset()  # those that this process had before the attempt

    def __enter__(self) -> Guard:
        processes.adopt_orphans()
        self.own_children = frozenset(processes.children_of(os.getpid()))
        self.before = signal.signal(signal.SIGTERM, self._on_term)
        return self

    def __exit__(self, *error: object) -> None:
        self.end_descendants()
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

    def run(self, job_id: int, using: str, **worker: Any) -> str | None:
        """``run_stored``, guarded. The handler hears of an abort by the signal: not by asking, and again by that."""
        return run_stored(
            job_id,
            using,
            surroundings=self.surroundings,
            abort_requested=lambda: self.is_asked,
            watch=self.watch,
            **worker,
        )

    @contextlib.contextmanager
    def surroundings(self, context: JobContext) -> Iterator[None]:
        limit = registry.get(context.name).memory_limit
        try:
            with logged(context), Capture()(context), memory_limit(limit):
                self.in_handler = True
                yield
        finally:
            self.in_handler = False

    def watch(self, monitor: AttemptMonitor) -> None:
        """End the attempt when it has to end. In the thread beside the attempt."""
        attempt, now = monitor.attempt, monotonic()
        if attempt.lost:
            self.end_at_once()
            return
        if self.lease_watch is None and attempt.job.max_attempts > 1:
            self.lease_watch = threading.Thread(target=self.watch_lease, args=(monitor,), daemon=True)
            self.lease_watch.start()
        limit = getattr(registry.find(attempt.job.name), "timeout", None)
        if self.asked_at is None:
            if monitor.is_abort_requested:
                attempt.ask_to_end(Outcome.ABORTED, _("Aborted."), politely=True)
            elif limit is not None and now - (attempt.begun or now) > limit:
                text = _("Stopped after the limit of %s.") % duration_text(limit)
                attempt.ask_to_end(Outcome.TIMEOUT, text, politely=True)
            elif self.is_leaving and not self._may_suspend(monitor, now):
                text = _("Interrupted because the worker was stopped.")
                attempt.ask_to_end(Outcome.INTERRUPTED, text, politely=True)
            else:
                return
            self.asked_at = now
            os.kill(os.getpid(), signal.SIGTERM)
        elif now - self.asked_at > float(settings.ABORT_GRACE):
            self.end_descendants()
            try:
                monitor.finish(Ending(attempt.stop_reason or Outcome.ABORTED, attempt.stop_text))
            finally:  # even if the database fails: no other process would end it
                os.kill(os.getpid(), signal.SIGKILL)

    def _may_suspend(self, monitor: AttemptMonitor, now: float) -> bool:
        """Ask a loop to end between two items. Return whether there is one, and still time for that."""
        monitor.is_leaving = True
        self.leaving_since = now if self.leaving_since is None else self.leaving_since
        return monitor.attempt.iterates and now - self.leaving_since < float(settings.ABORT_GRACE)

    def watch_lease(self, monitor: AttemptMonitor) -> None:
        """End an attempt whose lease is past. In a thread of its own, because the database may not answer the other
        one.
        """
        while not monitor.stopped.wait(WRITE_INTERVAL):
            if monitor.is_overdue:
                self.end_at_once()

    def end_at_once(self) -> None:
        """End this process and what the attempt has started: it may run elsewhere by now."""
        self.end_descendants()
        os.kill(os.getpid(), signal.SIGKILL)

    def end_descendants(self) -> None:
        """Kill the processes that the attempt has started, and their descendants, until none is left."""
        termination.kill_and_reap_all(self._strays)

    def _strays(self) -> list[int]:
        return [pid for pid in processes.children_of(os.getpid()) if pid not in self.own_children]
