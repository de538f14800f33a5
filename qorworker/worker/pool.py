"""The children, as their parent sees them. Parent process.

Everything said to a process goes through the template; everything a child says arrives here and is passed on.
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
from qorworker.worker.template_link import MESSAGE, TemplateLink, message_socket

logger = logging.getLogger(__name__)

LAST_MOMENTS = 0.5  # seconds that a process may take to end after its pipe was closed
READS = 500  # messages read from one child before the others get a turn
OUTPUT_BYTES = 1 << 16
FORK_PAUSE = 0.5  # seconds before another try when the machine has no room for a process


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


@dataclass(frozen=True)
class Exit:
    """How a child's process ended, after everything that it had started was ended too."""

    status: int  # exit code; negative: the signal
    peak: int  # bytes
    survivors: int
    error: str = ""


class Pool:
    """Starts the template, keeps ``size`` children, moves messages. Tells its listener what it hears.

    ``on_record(child, record)``, ``on_output(child, line)``, ``on_exit(child, Exit)``.
    """

    def __init__(self, size: int, cookie: str, selector: selectors.BaseSelector) -> None:
        self.size = size
        self.selector = selector
        self.link = TemplateLink(cookie, selector, self._on_news, self._on_loss)
        self.children: dict[int, Child] = {}
        self._heard = memoryview(bytearray(MESSAGE))
        self.muted = False
        self.on_record: Callable[[Child, Record], None] = lambda child, record: None
        self.on_output: Callable[[Child, str], None] = lambda child, line: None
        self.on_exit: Callable[[Child, Exit], None] = lambda child, exit: None
        self._numbers = 0
        self._fork_at = 0.0

    @property
    def ready(self) -> bool:
        """Whether children can be had."""
        return self.link.ready

    def tend(self, now: float) -> None:
        """Keep a template running and the children complete."""
        self.link.tend(now)
        for child in self.children.values():
            if child.mute_since is not None and not child.stopping and now - child.mute_since > LAST_MOMENTS:
                child.disowned = True
                self.stop(child, 0)
        while self.ready and len(self.children) < self.size and now >= self._fork_at:
            self._fork()

    def tell(self, order: dict[str, Any]) -> None:
        """Give the template an order that is about no certain child."""
        self.link.tell(order)

    def _on_news(self, news: dict[str, Any], now: float) -> None:
        if "forked" in news:
            if child := self.children.get(news["forked"]):
                child.pid = news["pid"]
        elif "exited" in news and (child := self.children.get(news["exited"])):
            if child.pid is None:
                logger.error("A child process could not be started: %s", news.get("error"))
                self._fork_at = now + FORK_PAUSE
            error = news.get("error") or ("it had closed its connection to the worker" if child.disowned else "")
            self._bury(child, Exit(news["status"], news["peak"], news["survivors"], error))

    def _on_loss(self, now: float) -> None:
        for child in list(self.children.values()):
            self._bury(child, Exit(-9, 0, 0, "the process that all jobs of this worker are started from has ended"))

    # The children.

    def _fork(self) -> Child:
        self._numbers += 1
        work_read, work_write = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, message_socket())
        output_read, output_write = os.pipe()
        for descriptor in (work_write, output_read):
            os.set_blocking(descriptor, False)
        ours.setblocking(False)
        child = Child(self._numbers, work_write, ours, output_read)
        self.link.tell({"fork": child.number}, [work_read, theirs.fileno(), output_write])
        for descriptor in (work_read, output_write):
            os.close(descriptor)
        theirs.close()
        self.children[child.number] = child
        if not self.muted:
            self._listen(child)
        return child

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

    def dismiss(self, child: Child) -> None:
        """Let a child end after the work it has; another one takes its place at once."""
        if child.leaving:
            return
        child.leaving = True
        if not child.attempts:
            self._hang_up(child)

    def replace(self, child: Child) -> Child | None:
        """A fresh child in the place of an idle one; None while there is no template."""
        if not self.ready:
            return None
        self.dismiss(child)
        return self._fork()

    def stop(self, child: Child, grace: float) -> None:
        """End a child and all that its jobs started: asked first, killed after *grace* seconds."""
        child.leaving = child.stopping = True
        self.link.tell({"stop": child.number, "grace": grace})

    def own(self, child: Child, owned: bool) -> None:
        """Whether the template must end this child once the lease of its attempt may have run out."""
        if child.owned != owned:
            child.owned = owned
            self.link.tell({"own": child.number, "while": owned})

    def release(self, child: Child) -> None:
        """Called when the last attempt that a child had has ended."""
        if child.leaving and not child.attempts:
            self._hang_up(child)

    def _hang_up(self, child: Child) -> None:
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
            self.stop(child, 0)
            return
        for record in records:
            self.on_record(child, record)

    def _hear_output(self, child: Child) -> bool:
        """What a job wrote past Python: by a subprocess, a C library, or the interpreter when it crashes."""
        try:
            data = os.read(child.output, OUTPUT_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._ignore(child.output)
            return False
        *lines, rest = (child.printed + data).split(b"\n")
        if len(rest) >= OUTPUT_BYTES:
            lines, rest = [*lines, rest], b""
        child.printed = rest
        for line in lines:
            self.on_output(child, line.decode("utf-8", "backslashreplace"))
        return True

    def drain(self, child: Child) -> None:
        """Read what a job has printed so far, so that nothing of an attempt comes after its end."""
        reads = 0
        while reads < READS and self._hear_output(child):
            reads += 1
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

    def _bury(self, child: Child, exit: Exit) -> None:
        while self._hear(child):
            pass
        self.drain(child)
        del self.children[child.number]
        self._ignore(child.records)
        self._ignore(child.output)
        child.untouched = bool(child.attempts) and _unread(child) >= sum(list(child.lengths)[-len(child.attempts) :])
        self._hang_up(child)
        child.records.close()
        os.close(child.output)
        self.on_exit(child, exit)

    @property
    def available(self) -> list[Child]:
        """Children that take work."""
        return [child for child in self.children.values() if not child.leaving]

    def memory(self) -> int:
        """Bytes held by the whole worker: itself, template, children."""
        pids = [os.getpid(), *self.link.pids, *(child.pid for child in self.children.values() if child.pid)]
        return sum(map(processes.share, pids))

    def close(self) -> None:
        """End every process; returns when all have."""
        self.link.close()


def _unread(child: Child) -> int:
    """Bytes of its attempts that a child has not read; at least, where the system does not tell."""
    waiting = array("i", [0])
    if child.work >= 0:
        with contextlib.suppress(OSError):
            fcntl.ioctl(child.work, termios.FIONREAD, waiting)
    return waiting[0] + len(child.unsent)
