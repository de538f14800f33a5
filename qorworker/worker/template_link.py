"""The parent's line to the template: starts it, gives it orders, hears from it, starts it again. Parent process."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from qorworker.worker import processes

logger = logging.getLogger(__name__)

MESSAGE = 1 << 18
LAST_DUTY = 15.0  # seconds that a template may take to end every process and itself
PATIENCE = (0.5, 30.0)  # seconds before a template that failed is started again: first, at most

Hear = Callable[[dict[str, Any], float], None]


class TemplateLink:
    """``on_news(message, now)`` gets what the template says of children, ``on_loss(now)`` that it has ended."""

    def __init__(self, cookie: str, selector: selectors.BaseSelector, on_news: Hear, on_loss: Callable[[float], None]):
        self.cookie = cookie
        self.selector = selector
        self.on_news, self.on_loss = on_news, on_loss
        self.ready = False
        self.on_ready: Callable[[], None] = lambda: None
        self.closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._start_at = 0.0
        self._pause = PATIENCE[0]

    @property
    def pids(self) -> list[int]:
        return [self._process.pid] if self._process else []

    def tend(self, now: float) -> None:
        """Start the template if there is none, and not too soon after one that failed."""
        if self._process is None and not self.closing and now >= self._start_at:
            try:
                self._start()
            except OSError as error:
                logger.error("The template process could not be started: %s", error)
                self._wait(now)

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, message_socket())
        try:
            ours.sendall(json.dumps({"path": sys.path}).encode())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "qorworker.worker.template", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, processes.COOKIE: self.cookie},
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._control = ours
        self.selector.register(ours, selectors.EVENT_READ, self._hear)

    def _wait(self, now: float) -> None:
        self._start_at, self._pause = now + self._pause, min(self._pause * 2, PATIENCE[1])

    def tell(self, order: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Give an order. A template that cannot be told has ended, and that will be heard."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                socket.send_fds(self._control, [json.dumps(order).encode()], descriptors)

    def _hear(self, now: float) -> None:
        assert self._control is not None
        try:
            message = self._control.recv(MESSAGE)
        except OSError:
            message = b""
        if not message:
            self._lose(now)
            return
        news: dict[str, Any] = json.loads(message)
        if "ready" in news:
            self.ready = True
            self.on_ready()
            self._pause = PATIENCE[0]
        elif "failed" in news:
            logger.error("No job can start, because the project does not load:\n%s", news["failed"])
        else:
            self.on_news(news, now)

    def _lose(self, now: float) -> None:
        """The template has ended, so its children have too: they die with their parent."""
        assert self._control is not None
        assert self._process is not None
        self.selector.unregister(self._control)
        self._control.close()
        status = self._process.wait()
        self._control = self._process = None
        self.ready = False
        logger.error("The template process ended with status %s; starting it again.", status)
        processes.sweep(self.cookie)
        self._wait(now)
        self.on_loss(now)

    def close(self) -> None:
        """Hang up: the template ends every process of every job, then itself; one that hangs is ended."""
        self.closing = True
        if self._process is not None and self._control is not None:
            with contextlib.suppress(KeyError):
                self.selector.unregister(self._control)
            self._control.close()
            try:
                # One that is not ready has no children, and may hang in the project's code.
                self._process.wait(LAST_DUTY if self.ready else 0.1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                processes.sweep(self.cookie)


def message_socket() -> socket.SocketKind:
    """Sockets that keep messages whole and, on Linux, tell when the other end is gone."""
    return socket.SOCK_SEQPACKET if processes.LINUX else socket.SOCK_DGRAM
