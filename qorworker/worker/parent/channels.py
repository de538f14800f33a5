"""The channels between a worker and its children: attempts go out, messages and output come in. Parent process."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from qorworker.execution.messages import BadRecord, Record, Work, decode, frame
from qorworker.system import processes
from qorworker.text.masking import NOTHING, Mask
from qorworker.worker import board
from qorworker.worker.launch import message_socket
from qorworker.worker.parent.forkserver_client import MESSAGE

logger = logging.getLogger(__name__)

READS = 500  # records read from one child before other children get a turn; a message may have many
HEARINGS = 20  # times that its messages are read before its output
OUTPUT_BYTES = 1 << 16
REQUESTS = 30  # in one message: the child reads no longer ones


@dataclass(eq=False)
class Child:
    """A child process, as its parent sees it."""

    number: int
    work: int  # descriptor to write attempts to; -1 once closed
    records: socket.socket
    output: int
    board: int = -1  # descriptor of what it lets this process read at any time
    pid: int | None = None
    attempts: deque[Any] = field(default_factory=deque)  # handed out and not ended; the first one runs
    ended: Any = None  # the last attempt that has
    served: int = 0
    leaving: bool = False  # gets no further work
    stopping: bool = False  # was ordered to stop
    grace: float = 0.0  # seconds until it is killed then
    asked_to_end_at: float | None = None  # when this process asked it to end, in place of a silent fork server
    begun: bool = False  # has read its first attempt
    born_at: float = field(default_factory=processes.monotonic)
    due_at: float | None = None  # when it existed and had its first attempt, which it should have read then
    keeps_current: bool = False  # has handed back the attempts behind the one that it runs
    is_silent: bool = False  # these were taken back before it announced that it starts none of them
    has_left: bool = False  # has announced its exit: attempts behind that never started
    owned: bool = False  # the fork server ends it once its lease may have passed
    finished_at: float | None = None  # when it had no more work and should have left
    mute_since: float | None = None  # when it closed its end of the channel: the end of its job would never arrive
    stopped_as_mute: bool = False  # was stopped because it had closed its end
    stopped_as_invalid: bool = False  # was stopped because it had sent something that no child of ours sends
    unsent: bytearray = field(default_factory=bytearray)
    unasked: list[tuple[str, int]] = field(default_factory=list)  # requests for which there was no room
    lengths: deque[int] = field(default_factory=lambda: deque(maxlen=3000))  # of the attempts' messages, in order
    untouched: bool = False  # ended without reading the first of its attempts
    printed: bytes = b""
    mask: Mask = NOTHING  # of all attempts it had at the last hand-out: any of them may print
    shared_by: str = ""  # the type whose attempts it runs together; empty: it runs the first one
    limit: int = 1  # attempts that it runs together
    together: dict[int, Any] = field(default_factory=dict)  # by their numbers
    given_together: int = 0  # attempts since it began to run these together
    has_secrets: bool = False  # one of these
    unread: int = 0  # bytes of its attempts that it had not read when it ended
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=15))  # the last ones that it printed

    @property
    def idle(self) -> bool:
        """Whether it waits for work."""
        return not self.attempts and not self.leaving

    @property
    def current_number(self) -> int:
        """The number of the attempt that it runs, counted over all that it was given."""
        return self.served - len(self.attempts) + 1

    @property
    def last_begun(self) -> int:
        """The highest number of an attempt that it may have begun.

        It begins none that it has not read, and none beyond its limit before the end of another one was sent.
        """
        return self.served - max(0, len(self.attempts) - self.limit, last_ones(self.lengths, _unread(self)))

    def attempt_of(self, number: int) -> Any:
        """Return the attempt that reports under this number. None for one that has ended."""
        if self.shared_by:
            return self.together.get(number)
        return self.attempts[0] if self.attempts and number == self.current_number else None

    @property
    def fresh(self) -> bool:
        """Whether it was never given an attempt."""
        return not self.served and not self.attempts


class Channels:
    """Moves the messages of all children, and calls back for what comes in.

    ``on_record(child, record)``, ``on_output(child, line)``, ``on_bad_message(child)``.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        self.children: dict[int, Child] = {}
        self.muted = False
        self._buffer = memoryview(bytearray(MESSAGE))
        self.on_record: Callable[[Child, Record], None] = lambda child, record: None
        self.on_output: Callable[[Child, str], None] = lambda child, line: None
        self.on_bad_message: Callable[[Child], None] = lambda child: None

    def open(self, number: int) -> tuple[Child, list[int]]:
        """Open the channels of a new child. Return it with the descriptors of its ends: work, records, output, board.

        Raises ``OSError`` if there are too few descriptors, and then takes none.
        """
        with contextlib.ExitStack() as taken:
            work_read, work_write = _pipe(taken)
            parent_end, child_end = map(taken.enter_context, socket.socketpair(socket.AF_UNIX, message_socket()))
            output_read, output_write = _pipe(taken)
            child = Child(number, work_write, parent_end, output_read, board.create())
            taken.callback(os.close, child.board)
            board_of_child = os.dup(child.board)
            taken.pop_all()
        for descriptor in (work_write, output_read):
            os.set_blocking(descriptor, False)
        parent_end.setblocking(False)
        self.children[number] = child
        return child, [work_read, child_end.detach(), output_write, board_of_child]

    def on_fork(self, child: Child, pid: int) -> None:
        """Note the process id of a child, and listen to it from now on: what it sends is noted with that number."""
        child.pid = pid
        self._note_due(child)
        if not self.muted:
            self._listen(child)

    def close(self, child: Child) -> None:
        """Read the last messages of a child whose process has ended, and close its channels."""
        while self._hear(child):
            pass
        self.drain(child)
        del self.children[child.number]
        self._ignore(child.records)
        self._ignore(child.output)
        child.unread = unread = 0 if child.keeps_current else _unread(child)
        child.untouched = bool(child.attempts) and unread >= sum(list(child.lengths)[-len(child.attempts) :])
        self.hang_up(child)
        child.records.close()
        os.close(child.output)
        os.close(child.board)

    def give(self, child: Child, attempt: Any, work: Work) -> None:
        """Queue an attempt for a child, behind those that it has. ``push`` sends it."""
        child.attempts.append(attempt)
        child.served += 1
        self._note_due(child)
        message = frame(json.dumps(work).encode())
        child.unsent += message
        child.lengths.append(len(message))

    def take_back(self, child: Child, last: int) -> list[Any]:
        """Return the attempts that a child, which starts none after number *last*, will not start."""
        child.keeps_current = True
        child.unsent.clear()
        behind: list[Any] = []
        while child.attempts and child.served > last:
            behind.insert(0, child.attempts.pop())
            child.served -= 1
        return behind

    def request(self, child: Child, kind: str, number: int) -> None:
        """Ask something about one of the attempts that a child runs together: now, or once there is room for it."""
        child.unasked.append((kind, number))
        self.ask(child)

    def ask(self, child: Child) -> None:
        """Send as many of the requests as there is room for. A child that does not listen is killed after the grace."""
        while child.unasked:
            try:
                child.records.send(json.dumps(child.unasked[:REQUESTS]).encode())
            except BlockingIOError:
                return
            except OSError:
                child.unasked.clear()  # its process has ended
                return
            del child.unasked[:REQUESTS]

    def _note_due(self, child: Child) -> None:
        if child.due_at is None and child.pid is not None and child.attempts:
            child.due_at = processes.monotonic()

    def has_begun(self, child: Child) -> bool:
        """Whether a child has ever read an attempt. What it prints before that belongs to no job."""
        if not child.begun and child.served:
            child.begun = child.current_number > 1 or _unread(child) < sum(child.lengths)
        return child.begun

    def push(self, child: Child) -> None:
        """Write what fits into the pipe. The selector calls again when there is room for the rest."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while child.unsent:
                del child.unsent[: os.write(child.work, child.unsent)]
        try:
            self.selector.get_key(child.work)
            is_registered = True
        except KeyError:
            is_registered = False
        if child.unsent and not is_registered:
            self.selector.register(child.work, selectors.EVENT_WRITE, lambda now: self.push(child))
        elif is_registered and not child.unsent:
            self.selector.unregister(child.work)

    def hang_up(self, child: Child) -> None:
        """Close the work pipe: the child ends after the attempts it was given."""
        if child.work >= 0:
            self._ignore(child.work)
            os.close(child.work)
            child.work = -1

    def catch_up(self, child: Child) -> bool:
        """Pass on what a child has sent so far, and return whether that was all."""
        return not self.muted and self._hear(child) < READS

    def _hear(self, child: Child) -> int:
        """Pass on what a child has sent, up to ``READS`` records, and return how many there were."""
        count = 0
        while count < READS:
            try:
                message = bytes(self._buffer[: child.records.recv_into(self._buffer)])
            except BlockingIOError:
                break
            except OSError:
                message = b""
            if not message:
                # Its exit will tell more. Until then there is nothing to read.
                self._ignore(child.records)
                if child.mute_since is None:
                    child.mute_since = processes.monotonic()
                break
            count += self._pass_on(child, message)
        return count

    def _pass_on(self, child: Child, message: bytes) -> int:
        try:
            records = decode(message)
        except BadRecord as error:
            logger.error("Child %s sent an invalid message (%s) and is killed.", child.pid, error)
            self.on_bad_message(child)
            return 1
        for record in records:
            self.on_record(child, record)
        return len(records) or 1

    def _hear_output(self, child: Child) -> None:
        """Read what a job wrote past Python: by a subprocess, a C library, or the interpreter as it crashes.

        It has not ended: a child sends no end while its output waits. So once all earlier ends are heard, it is clear
        whose output this is.
        """
        for _ in range(HEARINGS):
            if not self._hear(child):
                break
        if self._read_output(child):
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
        if len(rest) >= OUTPUT_BYTES + child.mask.longest:
            rest = child.mask.in_bytes(rest)
            cut = len(rest) - child.mask.longest  # what follows may be the beginning of a secret
            lines, rest = [*lines, rest[:cut]], rest[cut:]
        child.printed = rest
        for line in lines:
            self.on_output(child, line.decode("utf-8", "backslashreplace"))

    def drain(self, child: Child) -> None:
        """Read what a job has printed so far."""
        reads = 0
        while reads < READS and self._read_output(child):
            self._pass_lines_on(child)
            reads += 1
        self.end_line(child)

    def end_line(self, child: Child) -> None:
        """Pass on a line that a job has begun and not ended: it is over."""
        self._pass_lines_on(child)
        if child.printed:
            rest, child.printed = child.printed, b""
            self.on_output(child, rest.decode("utf-8", "backslashreplace"))

    def mute(self, muted: bool) -> None:
        """Stop or resume reading from children. While it is stopped, their pipes fill and slow them down."""
        if muted == self.muted:
            return
        self.muted = muted
        for child in self.children.values():
            self._ignore(child.records)
            self._ignore(child.output)
            if not muted and child.pid is not None:
                self._listen(child)

    def _listen(self, child: Child) -> None:
        self.selector.register(child.records, selectors.EVENT_READ, lambda now: self._hear(child))
        self.selector.register(child.output, selectors.EVENT_READ, lambda now: self._hear_output(child))

    def _ignore(self, end: Any) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(end)


def _pipe(taken: contextlib.ExitStack) -> tuple[int, int]:
    """Return a pipe that *taken* closes."""
    ends = os.pipe()
    for end in ends:
        taken.callback(os.close, end)
    return ends


def last_ones(lengths: Sequence[int], size: int) -> int:
    """Return of how many messages, the last of those with these *lengths*, so many bytes are."""
    number = 0
    while size > 0 and number < len(lengths):
        number += 1
        size -= lengths[-number]
    return number


def _unread(child: Child) -> int:
    """Return how many bytes of its attempts a child has not read: at least that many where the system cannot tell."""
    return (processes.bytes_in(child.work) if child.work >= 0 else 0) + len(child.unsent)
