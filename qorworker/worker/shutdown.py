"""How a worker stops: the first signal lets running jobs end, the second one does not. Parent process."""

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

from qorworker.models import Outcome
from qorworker.worker.dispatcher import Dispatcher

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
STOP_GRACE = 5.0  # seconds for the processes of a job when the worker's own grace is over


class Shutdown:
    """Notes signals and, in the loop, acts on them."""

    def __init__(self, dispatcher: Dispatcher, grace: float) -> None:
        self.dispatcher = dispatcher
        self.grace = grace  # seconds for running jobs after the first signal
        self.asked = 0  # signals received, and other reasons to stop
        self.draining = False  # no more jobs are taken
        self._noted = False  # that it was asked to
        self._force_at: float | None = None

    @property
    def insisted(self) -> bool:
        """Whether it was told twice."""
        return self.asked > 1

    def tend(self, now: float) -> None:
        """First signal: take no more, hand back what did not start, let the rest end. Then force."""
        if self.asked and not self._noted:
            self._noted, self._force_at = True, now + self.grace
            self.drain()
            logger.info("Stopping: %s running jobs have %g seconds to end.", len(self.dispatcher.running), self.grace)
        if self.insisted:
            self._interrupt(0)
        elif self._force_at is not None and now >= self._force_at:
            self._force_at = None
            self._interrupt(STOP_GRACE)

    def drain(self) -> None:
        """Take no more, and hand back what did not start. What runs may take as long as it needs."""
        if not self.draining:
            self.draining = True
            self.dispatcher.hand_back_ready()

    def _interrupt(self, grace: float) -> None:
        for attempt in self.dispatcher.with_children():
            text = _("Interrupted because the worker was stopped.")
            self.dispatcher.stop(attempt, Outcome.INTERRUPTED, text, grace)

    @contextlib.contextmanager
    def signals(self, selector: selectors.BaseSelector) -> Iterator[None]:
        """Note signals while the loop runs, and wake it; outside the main thread there are none to note."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wake, bell = socket.socketpair()
        for end in (wake, bell):
            end.setblocking(False)

        def hear(now: float) -> None:
            with contextlib.suppress(BlockingIOError):
                wake.recv(4096)

        selector.register(wake, selectors.EVENT_READ, hear)
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        descriptor = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in before.items():
                signal.signal(number, handler)
            selector.unregister(wake)
            wake.close()
            bell.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked += 1
