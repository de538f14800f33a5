"""What goes through the pipes between a worker and its children: attempts one way, all that they say the other way.

Parent process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import selectors
import socket
import termios
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qorworker.execution import Work
from qorworker.records import BadRecord, Record, decode, frame
from qorworker.worker import processes
from qorworker.worker.template_link import MESSAGE, message_socket

logger = logging.getLogger(__name__)

READS = 500  # messages read from one child before the others get a turn
OUTPUT_BYTES = 1 << 16


@dataclass(eq=False)
class Child:
    """One child process, from the parent's side."""

    number: int
    work: int  # descriptor to write attempts to; -1 once closed
    records: socket.socket
    output: int
    pid: int | None = None
    attempts: deque[Any] = field(default_factory=deque)  # sent and not ended, the first one is running
    served: int = 0
    leaving: bool = False  # gets no further work
    stopping: bool = False  # was told to end
    left: bool = False  # said that it goes: what it was still given never started
    owned: bool = False  # must end when the lease may have passed to another worker
    mute_since: float | None = None  # closed its end of the pipe: nobody would ever hear how its job ended
    disowned: bool = False  # was ended for that
    unsent: bytearray = field(default_factory=bytearray)
    lengths: deque[int] = field(
        default_factory=lambda: deque(maxlen=1000)
    )  # of the messages with the attempts given, in their order
    untouched: bool = False  # has ended without reading the first of its attempts
    printed: bytes = b""

    @property
    def idle(self) -> bool:
        return not self.attempts and not self.leaving

    @property
    def fresh(self) -> bool:
        return not self.served and not self.attempts


class Pipes:
    """Moves the messages of all children. Tells its listener what it hears.

    ``on_record(child, record)``, ``on_output(child, line)``, ``on_nonsense(child)``.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        self.children: dict[int, Child] = {}
        self.muted = False
        self._heard = memoryview(bytearray(MESSAGE))
        self.on_record: Callable[[Child, Record], None] = lambda child, record: None
        self.on_output: Callable[[Child, str], None] = lambda child, line: None
        self.on_nonsense: Callable[[Child], None] = lambda child: None

    def open(self, number: int) -> tuple[Child, list[int]]:
        """A child's ends here, and the descriptors of the others: for its work, its records and its output.

        Raises ``OSError`` if there are too few descriptors; then none is taken.
        """
        with contextlib.ExitStack() as taken:
            work_read, work_write = _pipe(taken)
            ours, theirs = map(taken.enter_context, socket.socketpair(socket.AF_UNIX, message_socket()))
            output_read, output_write = _pipe(taken)
            taken.pop_all()
        for descriptor in (work_write, output_read):
            os.set_blocking(descriptor, False)
        ours.setblocking(False)
        child = Child(number, work_write, ours, output_read)
        self.children[number] = child
        if not self.muted:
            self._listen(child)
        return child, [work_read, theirs.detach(), output_write]

    def close(self, child: Child) -> None:
        """Hear the last words of a child whose process has ended."""
        while self._hear(child):
            pass
        self.drain(child)
        del self.children[child.number]
        self._ignore(child.records)
        self._ignore(child.output)
        child.untouched = bool(child.attempts) and _unread(child) >= sum(list(child.lengths)[-len(child.attempts) :])
        self.hang_up(child)
        child.records.close()
        os.close(child.output)

    def give(self, child: Child, attempt: Any, work: Work) -> None:
        """Hand an attempt to a child, which runs it after those it already has; ``push`` sends it."""
        child.attempts.append(attempt)
        child.served += 1
        message = frame(json.dumps(work).encode())
        child.unsent += message
        child.lengths.append(len(message))

    def push(self, child: Child) -> None:
        """Write what fits into the pipe; the selector says when there is room for the rest."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while child.unsent:
                del child.unsent[: os.write(child.work, child.unsent)]
        try:
            self.selector.get_key(child.work)
            waiting = True
        except KeyError:
            waiting = False
        if child.unsent and not waiting:
            self.selector.register(child.work, selectors.EVENT_WRITE, lambda now: self.push(child))
        elif waiting and not child.unsent:
            self.selector.unregister(child.work)

    def hang_up(self, child: Child) -> None:
        """Send nothing more: the child ends when it has done what it was given."""
        if child.work >= 0:
            self._ignore(child.work)
            os.close(child.work)
            child.work = -1

    def _hear(self, child: Child) -> int:
        """Pass on what a child says, at most ``READS`` messages; how many there were."""
        heard = 0
        while heard < READS:
            try:
                message = bytes(self._heard[: child.records.recv_into(self._heard)])
            except BlockingIOError:
                break
            except OSError:
                message = b""
            if not message:
                # Its exit says more; until then there is nothing to read here.
                self._ignore(child.records)
                child.mute_since = processes.monotonic()
                break
            heard += 1
            self._pass_on(child, message)
        return heard

    def _pass_on(self, child: Child, message: bytes) -> None:
        try:
            records = decode(message)
        except BadRecord as error:
            logger.error("Child %s sent something that is no record (%s); it is ended.", child.pid, error)
            self.on_nonsense(child)
            return
        for record in records:
            self.on_record(child, record)

    def _hear_output(self, child: Child) -> None:
        """What a job wrote past Python: by a subprocess, a C library, or the interpreter when it crashes."""
        if self._read_output(child):
            self._hear(child)  # what it said before it printed that comes first: its secrets are among it
            self._pass_lines_on(child)

    def _read_output(self, child: Child) -> bool:
        try:
            data = os.read(child.output, OUTPUT_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._ignore(child.output)
            return False
        child.printed += data
        return True

    def _pass_lines_on(self, child: Child) -> None:
        *lines, rest = child.printed.split(b"\n")
        if len(rest) >= OUTPUT_BYTES:
            lines, rest = [*lines, rest], b""
        child.printed = rest
        for line in lines:
            self.on_output(child, line.decode("utf-8", "backslashreplace"))

    def drain(self, child: Child) -> None:
        """Read what a job has printed so far, so that nothing of an attempt comes after its end."""
        reads = 0
        while reads < READS and self._read_output(child):
            self._pass_lines_on(child)
            reads += 1
        self._pass_lines_on(child)
        if child.printed:
            rest, child.printed = child.printed, b""
            self.on_output(child, rest.decode("utf-8", "backslashreplace"))

    def mute(self, muted: bool) -> None:
        """Stop, or start again, to listen to children: their pipes fill and slow them down."""
        if muted == self.muted:
            return
        self.muted = muted
        for child in self.children.values():
            self._ignore(child.records)
            self._ignore(child.output)
            if not muted:
                self._listen(child)

    def _listen(self, child: Child) -> None:
        self.selector.register(child.records, selectors.EVENT_READ, lambda now: self._hear(child))
        self.selector.register(child.output, selectors.EVENT_READ, lambda now: self._hear_output(child))

    def _ignore(self, end: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(end)


def _pipe(taken: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe that is closed with *taken*."""
    ends = os.pipe()
    for end in ends:
        taken.callback(os.close, end)
    return ends


def _unread(child: Child) -> int:
    """Bytes of its attempts that a child has not read; at least, where the system does not tell."""
    waiting = array("i", [0])
    if child.work >= 0:
        with contextlib.suppress(OSError):
            fcntl.ioctl(child.work, termios.FIONREAD, waiting)
    return waiting[0] + len(child.unsent)
