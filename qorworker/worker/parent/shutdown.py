"""How a worker stops: the first signal lets running jobs end, the second one interrupts them. Parent process."""

from __future__ import annotations

import contextlib
import logging
import selectors
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

from django.utils.translation import gettext as _

from qorworker.database.call_guard import STOP_SIGNALS, CallGuard
from qorworker.models import Outcome
from qorworker.worker.parent.dispatcher import Dispatcher

logger = logging.getLogger(__name__)

STOP_GRACE = 5.0  # seconds for the processes of a job after the worker's own grace


class Shutdown:
    """Counts stop requests, and acts on them in the loop."""

    def __init__(self, dispatcher: Dispatcher, call_guard: CallGuard, grace: float) -> None:
        self.dispatcher = dispatcher
        self.call_guard = call_guard
        self.grace = grace  # seconds for running jobs after the first signal
        self._requests = 0  # other than by signals
        self.draining = False  # no more jobs are claimed
        self.suspends = False  # whether loops are to end between two items, so that the worker can end soon
        self._begun = False  # whether it has acted on the first request
        self._force_at: float | None = None

    @property
    def stop_requests(self) -> int:
        """How many signals and other requests to stop came.

        The call guard counts the signals: Python runs a handler once for all that came while a driver was waiting.
        """
        return self._requests + self.call_guard.signals

    def request(self) -> None:
        """Stop as a signal makes the worker stop."""
        self._requests += 1

    @property
    def is_forced(self) -> bool:
        """Whether a second request came."""
        return self.stop_requests > 1

    def step(self, now: float) -> None:
        """Drain after the first request, and interrupt running jobs after the grace or the second one.

        A job in a loop that another attempt can go on with ends between two of its items.
        """
        if self.stop_requests and not self._begun:
            self._begun, self._force_at = True, now + self.grace
            self.drain()
            logger.info("Stopping: %s running jobs have %g seconds to end.", len(self.dispatcher.active), self.grace)
        if self._begun or self.suspends:
            self.dispatcher.stopping.suspend_loops()
        if self.is_forced:
            self._interrupt(0)
        elif self._force_at is not None and now >= self._force_at:
            self._force_at = None
            self._interrupt(STOP_GRACE)

    def drain(self) -> None:
        """Claim no more jobs, and hand back those that did not start. Running jobs may take as long as they need."""
        if not self.draining:
            self.draining = True
            self.dispatcher.intake.hand_back_ready()

    def _interrupt(self, grace: float) -> None:
        for attempt in self.dispatcher.stopping.running():
            text = _("Interrupted because the worker was stopped.")
            self.dispatcher.stopping.stop(attempt, Outcome.INTERRUPTED, text, grace)

    @contextlib.contextmanager
    def signals(self, selector: selectors.BaseSelector) -> Iterator[None]:
        """Let the call guard count signals while the loop runs, and wake it. Outside the main thread none arrive."""
        if threading.current_thread() is not threading.main_thread():
            with self.call_guard.watching():
                yield
            return
        wake, bell = socket.socketpair()
        for end in (wake, bell):
            end.setblocking(False)

        def clear(now: float) -> None:
            with contextlib.suppress(BlockingIOError):
                wake.recv(4096)

        selector.register(wake, selectors.EVENT_READ, clear)
        handlers = {number: signal.signal(number, _ignore) for number in STOP_SIGNALS}
        with self.call_guard.watching(bell) as sender:
            descriptor = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
            try:
                yield
            finally:
                signal.set_wakeup_fd(descriptor)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                selector.unregister(wake)
        wake.close()
        bell.close()


def _ignore(number: int, frame: FrameType | None) -> None:
    """Only keep the signal from ending the process."""
