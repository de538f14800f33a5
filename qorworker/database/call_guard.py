"""Gives up calls to the database that get no answer, and counts signals meanwhile. A thread of the parent process.

A driver may wait for an answer without end, and meanwhile Python runs no signal handler. Only another thread can help:
it shuts down the socket under the driver, which then raises as if the server had hung up.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from qorworker.conf import settings

LIMITS = (6.5, 25.0)  # seconds for one call: at least, at most
AFTER_SIGNALS = (25.0, 5.0, 2.0)  # the same after no signal, one, and more
LAST_RESORT = 5.0  # seconds past its limit after which, with a second signal, a call ends the process
TICK = 0.5
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
END_OF_WATCH = b"\0"  # in place of a signal's number


def answer_limit() -> float:
    """Return the seconds for one call: after a lost one there is still time to renew leases on a new connection."""
    return min(LIMITS[1], max(LIMITS[0], float(settings.LEASE) / 2))


class CallGuard:
    """Watches the calls between ``begin()`` and ``end()``; ``mark()`` between two statements starts a new one."""

    def __init__(self) -> None:
        self.connections: list[Any] = []  # Django's; their sockets are shut down
        self._sockets: dict[int, socket.socket] = {}  # of connections whose driver hides it from other threads
        self.signals = 0  # requests to stop so far
        self.number = 0  # of the current call
        self.is_calling = False
        self.gave_up = False  # whether on this call
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Watch a call from now on."""
        with self._lock:
            self.number += 1
            self.is_calling, self.gave_up = True, False

    def mark(self) -> None:
        """Start its time anew: another statement begins."""
        with self._lock:
            self.number += 1

    def end(self) -> None:
        """Watch no more: the call has returned."""
        with self._lock:
            self.is_calling = False

    def add(self, connection: Any) -> None:
        """Keep the socket of a new connection: during a call mysqlclient hides it from other threads."""
        self.forget(connection)
        if connection.vendor == "mysql":
            with suppress(OSError):  # no descriptor is free: then the driver's own limit has to do
                self._sockets[id(connection)] = socket.socket(fileno=os.dup(connection.connection.fileno()))

    def forget(self, connection: Any) -> None:
        """Close the copy of a socket: the server notices a closed connection only when no copy is left."""
        if (end := self._sockets.pop(id(connection), None)) is not None:
            end.close()

    @contextmanager
    def watching(self, bell: socket.socket | None = None) -> Iterator[int]:
        """Watch during this block. Yields the descriptor for ``signal.set_wakeup_fd``; *bell* gets the same bytes."""
        receiver, sender = socket.socketpair()
        receiver.settimeout(TICK)
        sender.setblocking(False)
        thread = threading.Thread(target=self._watch, args=(receiver, bell), name="qorworker call guard", daemon=True)
        thread.start()
        try:
            yield sender.fileno()
        finally:
            sender.send(END_OF_WATCH)
            thread.join()
            receiver.close()
            sender.close()

    # In the thread.

    def _watch(self, receiver: socket.socket, bell: socket.socket | None) -> None:
        number, waited, before = 0, 0.0, time.monotonic()
        while END_OF_WATCH not in (data := _receive(receiver)):
            self.signals += sum(data.count(number) for number in STOP_SIGNALS)  # a project may handle other signals
            if bell is not None and data:
                with suppress(BlockingIOError):  # it is full, so it wakes the loop anyway
                    bell.send(data)
            now = time.monotonic()
            if self.is_calling and self.number == number:
                # At most two ticks: the process may have been stopped, and the call with it.
                waited += min(now - before, 2 * TICK)
            else:
                number, waited = self.number, 0.0
            before = now
            limit = min(answer_limit(), AFTER_SIGNALS[min(self.signals, 2)])
            if self.signals > 1 and waited > limit + LAST_RESORT:
                _leave()
            if waited > limit:
                self._give_up(number)

    def _give_up(self, number: int) -> None:
        with self._lock:  # so the call cannot end, and its descriptor cannot be reused, in the meantime
            if self.is_calling and self.number == number:
                self.gave_up = True
                for connection in self.connections:
                    shut_down(connection, self._sockets.get(id(connection)))


def _receive(receiver: socket.socket) -> bytes:
    try:
        return receiver.recv(4096)
    except TimeoutError:
        return b""


def shut_down(connection: Any, copy: socket.socket | None = None) -> None:
    """Make a call on this connection fail, without touching the objects of the driver."""
    raw = connection.connection
    if raw is None:
        return
    with suppress(OSError, connection.Database.Error):  # it is closed
        end = copy.dup() if copy is not None else socket.socket(fileno=os.dup(raw.fileno()))
        with end:
            end.shutdown(socket.SHUT_RDWR)


def _leave() -> None:
    """End this process, which the driver blocks for good. The fork server then ends the children."""
    os.write(2, b"The worker exits at once after two signals: a call to the database does not return.\n")
    os._exit(1)
