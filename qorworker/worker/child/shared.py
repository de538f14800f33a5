"""Runs the attempts that share a child in one event loop. Child process.

It begins with the first of them and ends when none is left; in between it reads what the parent hands over and asks for
without waiting. Only then is the process made as it was before, and the end of the last attempt is sent behind that.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qorworker.definitions.registry import mask_of, registry
from qorworker.execution import stacks
from qorworker.execution.endings import Ending, clean, failure
from qorworker.execution.messages import CANCEL, STACK, Record, Work
from qorworker.execution.queries import Tally
from qorworker.execution.together import execute_together
from qorworker.status import Outcome
from qorworker.text.masking import Mask
from qorworker.worker.child.shared_output import SharedOutput
from qorworker.worker.leaving import LEAVE_SIGNAL

if TYPE_CHECKING:
    from qorworker.worker.child.main import Runner

ENDS = 50  # that one message has at most
CLOSING = 1.0  # seconds for what jobs have left in the loop
STANDSTILL = 1.0  # seconds after which a loop that did not go round is reported
LOOK = 0.25  # seconds between two looks whether it does
REPORTED_EVERY = 2.0  # seconds between two reports of the queries of those that run for longer


class SharedAttempt:
    """One of the attempts that run."""

    def __init__(self, number: int, work: Work) -> None:
        self.number, self.work = number, work
        self.mask = mask_of(work.name, work.arguments)
        self.abort_requested = self.suspend_requested = False
        self.task: asyncio.Task[Ending] | None = None
        self.tasks: WeakSet[asyncio.Task[Any]] | None = None  # that its handler has started
        self.tally = Tally(number)

    def note(self, task: asyncio.Task[Any]) -> None:
        """Note a task that the handler has started."""
        if self.tasks is None:
            self.tasks = WeakSet()
        self.tasks.add(task)

    def running_tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks of the handler that have not ended."""
        return [task for task in self.tasks if not task.done()] if self.tasks else []

    def abort(self) -> None:
        """Cancel the handler, once: it may need several steps to clean up."""
        if not self.abort_requested:
            self.abort_requested = True
            if self.task is not None:
                self.task.cancel()


_attempt: contextvars.ContextVar[SharedAttempt | None] = contextvars.ContextVar("qorworker_attempt", default=None)


def current() -> SharedAttempt | None:
    """Return the attempt in whose context this code runs, if it shares its process."""
    return _attempt.get()


class SharedAttempts:
    """The attempts that run in the loop of this process, from the first one until none is left."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.output = SharedOutput(runner.captured)
        self.running: dict[int, SharedAttempt] = {}
        self.waiting: deque[Work] = deque()  # until one of those that run has ended
        self.requests: dict[int, str] = {}  # about attempts that have not begun yet
        self.loop = asyncio.new_event_loop()
        self.ends: list[tuple[int, Ending]] = []  # to be sent together
        self.report_at = time.monotonic() + REPORTED_EVERY
        self.last: tuple[int, Ending] | None = None  # the end that is sent when the process is as it was before

    def run(self, work: Work) -> tuple[int, Ending] | None:
        """Run *work*, and what is handed over meanwhile. Return the end that is still to be sent.

        None if this process was asked to leave or to end: before even *work* began, or before another one did.
        """
        self.loop.set_task_factory(self._new_task)
        asyncio.set_event_loop(self.loop)
        self.most = registry.concurrency_of(work.name) or 1
        with self.output.installed():
            self.waiting.append(work)
            self._begin_waiting()
            self.loop.call_soon(self._take)
            self.loop.add_reader(self.runner.handovers.descriptor, self._take)
            self.loop.add_reader(self.runner.records, self._heed)
            self._watch(time.monotonic())
            while self.running or self.ends:
                self._go_round()
            self._close()
        return self.last

    def _go_round(self) -> None:
        """Run the loop. What stops it is either the last end, or a job, and then it goes on for the others.

        Any other exception is of the loop itself, which a job has broken, and ends this process.
        """
        try:
            self.loop.run_forever()
        except (KeyboardInterrupt, SystemExit) as error:
            self._tell_all(f"A task of a job has raised {type(error).__name__} in the event loop.")

    def _close(self) -> None:
        self.loop.remove_reader(self.runner.handovers.descriptor)
        self.loop.remove_reader(self.runner.records)
        with contextlib.suppress(BaseException):  # the last end is not sent yet
            closing = self.loop.create_task(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(asyncio.wait([closing], timeout=CLOSING))
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        with contextlib.suppress(BaseException):
            self.loop.run_until_complete(asyncio.sleep(0))
        asyncio.set_event_loop(None)
        self.loop.close()  # does not wait for its threads: that has a limit of its own

    # What comes in.

    def _take(self) -> None:
        """Take in the attempts that have arrived, and begin them if there is room."""
        if self.last is not None:
            return  # what arrives now is for the next loop
        self._take_in()
        if not self.ends:  # else they are sent first, in this round
            self._begin_waiting()

    def _take_in(self) -> None:
        self.waiting += self.runner.handovers.arrived()
        if self.runner.handovers.has_ended:
            self.loop.remove_reader(self.runner.handovers.descriptor)

    def _may_begin(self) -> bool:
        is_asked_to_leave = self.runner.last is not None and self.runner.number >= self.runner.last
        return bool(self.waiting) and not self.runner.abort_requested and not is_asked_to_leave

    def _begin_waiting(self) -> None:
        if self.waiting:
            self._heed_missed_signal()
        while self.waiting and len(self.running) < self.most:
            if self.runner.abort_requested or not self.runner.begins_another():
                self.waiting.clear()  # the parent takes these back, or has
                return
            self._begin(self.waiting.popleft())

    def _heed_missed_signal(self) -> None:
        """Leave if a job has blocked the signal to leave or taken it away: it may have come and not been heard."""
        if LEAVE_SIGNAL is None or self.runner.last is not None:
            return
        if signal.getsignal(LEAVE_SIGNAL) != self.runner.on_leave or LEAVE_SIGNAL in signal.sigpending():
            self.runner.on_leave(LEAVE_SIGNAL, None)

    def _begin(self, work: Work) -> None:
        attempt = self.running[self.runner.number] = SharedAttempt(self.runner.number, work)
        context = contextvars.copy_context()  # no job sees what another one sets, such as language and time zone
        context.run(_attempt.set, attempt)
        attempt.task = self.loop.create_task(self._execute(attempt), context=context)
        attempt.task.add_done_callback(partial(self._on_end, attempt))
        if kind := self.requests.pop(attempt.number, ""):
            self._request(kind, attempt)

    def _execute(self, attempt: SharedAttempt) -> Any:
        return execute_together(
            attempt.work,
            partial(self.runner.send, attempt.number),
            requests={
                "abort_requested": lambda: attempt.abort_requested,
                "suspend_requested": lambda: attempt.suspend_requested,
            },
            surroundings=self.output.of_job,
            tasks=attempt.running_tasks,
            mask=attempt.mask,
        )

    def _heed(self) -> None:
        """Carry out what the parent asks for."""
        for kind, number in self.runner.requests():
            if attempt := self.running.get(number):
                self._request(kind, attempt)
            elif number > self.runner.number and kind != STACK:
                self.requests[number] = kind

    def _request(self, kind: str, attempt: SharedAttempt) -> None:
        if kind == CANCEL:
            attempt.abort()
        elif kind == STACK:
            self.runner.send_records(["stack", attempt.number, stacks.of_tasks(self._tasks_of(attempt))])
        else:
            attempt.suspend_requested = True

    def _tasks_of(self, attempt: SharedAttempt) -> list[asyncio.Task[Any]]:
        own = [] if attempt.task is None else [attempt.task]
        return own + [task for task in attempt.running_tasks() if task is not attempt.task]

    def on_term(self) -> None:
        """Abort all attempts. In a handler of a signal: the loop does it when it goes round."""
        with contextlib.suppress(RuntimeError):  # it is closed
            self.loop.call_soon_threadsafe(self._abort_all)

    def _abort_all(self) -> None:
        for attempt in list(self.running.values()):
            attempt.abort()

    # What ends.

    def _new_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """Note which job starts a task, so that the task ends with it."""
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        attempt = _attempt.get()
        if attempt is not None:
            attempt.note(task)
        return task

    def _on_end(self, attempt: SharedAttempt, task: asyncio.Task[Ending]) -> None:
        if os.getpid() != self.runner.process_id:
            os._exit(0)  # a fork of the job that ran out of its handler
        del self.running[attempt.number]
        ending = _ending_of(task, attempt.mask)
        ending.peak_memory = self.runner.peak_memory.read()
        if not self.ends:
            self.loop.call_soon(self._go_on)
        self.ends.append((attempt.number, ending))

    def _go_on(self) -> None:
        """Send the ends that have come in while the loop went round once, and then begin others in their places.

        In this order, so that the parent knows at any time which attempts cannot have begun, even if it never hears
        from this process again.
        """
        if not self.running and not self.waiting:
            self._take_in()
        if not self.running and not self._may_begin():
            self.last = self.ends.pop()
        self._send_ends()
        self._begin_waiting()
        if not self.running:
            self.loop.stop()

    def _send_ends(self) -> None:
        """Send the ends, short ones together."""
        records: list[Record] = []
        for number, ending in self.ends:
            record: Record = ["end", number, ending.as_message()]
            if ending.outcome == Outcome.DONE:
                records.append(record)
            else:
                self.runner.send_records(record)
        self.ends = []
        for start in range(0, len(records), ENDS):
            self.runner.send_records(*records[start : start + ENDS])

    # A loop that stands still.

    def _watch(self, expected: float) -> None:
        """Report a loop that did not go round: a handler has blocked it, and with it all others."""
        now = time.monotonic()
        if now - expected > STANDSTILL:
            self._tell_all(
                f"The event loop of this process stood still for {now - expected:.1f} seconds: something that one of"
                f" {len(self.running)} jobs called has blocked it."
            )
        if now >= self.report_at:
            self.report_at = now + REPORTED_EVERY
            self._report_queries()
        self.loop.call_later(LOOK, self._watch, now + LOOK)

    def _report_queries(self) -> None:
        tallies = [attempt.tally for attempt in self.running.values() if attempt.tally.count != attempt.tally.sent]
        for tally in tallies:
            tally.sent = tally.count
            self.runner.send_records(["queries", tally.number, tally.count, round(tally.seconds, 4)])

    def _tell_all(self, text: str) -> None:
        for number in self.running:
            self.runner.log(number, logging.WARNING, text)


def _ending_of(task: asyncio.Task[Ending], mask: Mask) -> Ending:
    if task.cancelled():  # before its first step
        return Ending(Outcome.ABORTED, "")
    error = task.exception()
    if error is None:
        return task.result()
    ending = failure(error, mask)
    clean(ending, mask)
    return ending


def at_fork(current: Callable[[], SharedAttempts | None]) -> None:
    """Let a process that a job forks end where it would return into the loop: it would run the other jobs, too."""

    def leave_loop() -> None:
        attempts = current()
        ready = getattr(attempts.loop, "_ready", None) if attempts is not None else None
        if attempts is not None and ready is not None:
            ready.appendleft(asyncio.Handle(os._exit, (0,), attempts.loop))

    os.register_at_fork(after_in_child=leave_loop)
