"""A child: reads attempts from its parent one after another, runs them, and sends how they ended. Child process.

It is forked with Django set up and no database connection, and never returns into the code of the fork server.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import gc
import json
import logging
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

from qorworker.definitions.registry import mask_of, registry
from qorworker.exceptions import JobAborted
from qorworker.execution import stacks
from qorworker.execution.context import JobContext
from qorworker.execution.coroutines import interrupt
from qorworker.execution.execute import execute
from qorworker.execution.messages import Record, Work, encode
from qorworker.execution.output import Capture
from qorworker.execution.queries import Tally
from qorworker.system import console, processes
from qorworker.system.memory_limit import memory_limit
from qorworker.text.storable import text_of
from qorworker.worker.board import Board
from qorworker.worker.child import threads
from qorworker.worker.child.exiting import exit_process, forget_finalizers
from qorworker.worker.child.handovers import Handovers
from qorworker.worker.child.leftovers import Leftovers
from qorworker.worker.child.sessions import Sessions, close_all
from qorworker.worker.child.shared import SharedAttempts, at_fork, current
from qorworker.worker.leaving import DUMP_SIGNAL, LEAVE_SIGNAL, STACK_SIGNAL, SUSPEND_SIGNAL

EXIT_OK = 0
OUTPUT_WAIT = 10.0  # seconds that a job's output may take to be read
LAST_OUTPUT_WAIT = 0.2  # the same in a process that ends: something that the job has left may print without end
REQUEST_BYTES = 2000  # a message with requests of the parent is shorter
OWN_DESCRIPTORS = 900  # the lowest number for this module's descriptors

_from_json = json.JSONDecoder().decode  # what the module's function does beside it takes as long


class Runner:
    """Runs attempts in this process: holds its ends of the channels, and whether it was asked to stop."""

    def __init__(self, work: int, records: socket.socket, board: int, sessions: Sessions, captured: Capture) -> None:
        self.handovers = Handovers(_moved_up(work))
        self.next_work = self.handovers.next
        self.records = socket.socket(fileno=_moved_up(records.detach()))
        self.records.settimeout(None)  # whatever the project sets for all: the parent may take its time
        self.board = Board(_moved_up(board))
        self.sessions, self.captured = sessions, captured
        self.process_id = os.getpid()
        self.abort_requested = False
        self.suspend_requested = False
        self.in_handler = False
        self.end_unsent = False  # the handler has ended, and the parent does not know that yet
        self.threads_go_on = False
        self.shared: SharedAttempts | None = None  # those that run together
        self.number = 0  # of the attempt that it runs or has run last
        self.last: int | None = None  # the number after which it starts no more attempts
        self.peak_memory = PeakMemory()
        self.tally = Tally(0)  # of the attempt that has made a query last
        sessions.queries.process_id, sessions.queries.current_tally = self.process_id, self.current_tally

    def main(self) -> None:
        """Run attempts until there are no more, or until this process must be replaced."""
        signal.signal(signal.SIGTERM, self.on_term)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked since this process was forked
        if LEAVE_SIGNAL is not None:
            signal.signal(LEAVE_SIGNAL, self.on_leave)
        if SUSPEND_SIGNAL is not None:
            signal.signal(SUSPEND_SIGNAL, self.on_suspend)
        if STACK_SIGNAL is not None and DUMP_SIGNAL is not None:
            signal.signal(STACK_SIGNAL, self.on_stack)
            signal.siginterrupt(STACK_SIGNAL, False)  # for libraries in C that take an interrupted call for a failure
            faulthandler.register(DUMP_SIGNAL, self.board.descriptor, all_threads=True)
        at_fork(lambda: self.shared)
        leftovers: Leftovers | None = None
        while (job := self.next_work()) is not None:
            if registry.concurrency_of(job.name):
                leftovers = leftovers or Leftovers()
                if not self.run_together(job, leftovers):
                    return
                continue
            if not self.begins_another():
                return
            number = self.number
            self.suspend_requested = False  # that was another attempt
            is_isolated = job.is_dry_run or registry.is_isolated(job.name)
            if leftovers is None and not is_isolated:
                leftovers = Leftovers()
            send = partial(self.send, number)
            ending = execute(
                job,
                send,
                may_rehearse=True,
                abort_requested=lambda: self.abort_requested,
                suspend_requested=lambda: self.suspend_requested,
                surroundings=self.surroundings,
                mask=mask_of(job.name, job.arguments),
            )
            self.end_unsent = True
            if os.getpid() != self.process_id:
                os._exit(0)  # a fork of the job that ran out of its handler
            ending.peak_memory = self.peak_memory.read()
            if leftovers is not None and not job.is_dry_run:
                ending.leftovers = self.tidy_up(partial(self.log, number), leftovers)
            if not is_output_read(LAST_OUTPUT_WAIT if ending.leftovers else OUTPUT_WAIT):
                ending.leftovers = True
            records: list[Record] = [["end", number, ending.as_message()]]
            # Attempts behind this one stay in the pipe, and go back into the queue.
            leaving: Record = ["left", number]
            if self.abort_requested or ending.leftovers or is_isolated:
                self.send_records(*records, leaving)
                return
            self.send_records(*records)
            self.end_unsent = False
            if self.abort_requested:  # since the records were sent
                self.send_records(leaving)
                return

    def begins_another(self) -> bool:
        """Count one more attempt, and return whether it may begin."""
        # In this order: a signal to leave that comes in between must not hand back what begins.
        self.number += 1
        return self.last is None or self.number <= self.last

    def run_together(self, job: Work, leftovers: Leftovers) -> bool:
        """Run attempts that share this process until none is left. Return whether it may run others."""
        self.peak_memory.reset()
        self.shared = SharedAttempts(self)
        last = self.shared.run(job)
        if last is None:
            self.send_records(["left", self.number])
            return False
        number, ending = last
        self.threads_go_on = threads.still_running(0 if self.abort_requested else threads.GRACE)
        ending.leftovers = self.tidy_up(partial(self.log, number), leftovers)
        if not is_output_read(LAST_OUTPUT_WAIT if ending.leftovers else OUTPUT_WAIT):
            ending.leftovers = True
        records: list[Record] = [["end", number, ending.as_message()]]
        if self.abort_requested or ending.leftovers:
            self.send_records(*records, ["left", self.number])
            return False
        self.send_records(*records)
        self.shared = None
        if self.abort_requested:  # since the records were sent
            self.send_records(["left", self.number])
        return not self.abort_requested

    def requests(self) -> Iterator[tuple[str, int]]:
        """Return what the parent asks about attempts that run together: kinds of requests with their numbers."""
        while True:
            try:
                message = self.records.recv(REQUEST_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if not message:
                os._exit(1)  # the parent is gone
            yield from _from_json(message.decode())

    def tidy_up(self, log: Callable[[int, str], None], leftovers: Leftovers) -> bool:
        """Restore this process, and return whether something of the job remains."""
        try:
            return self.restore(log, leftovers)
        except Exception as error:  # the job has ended, and its end must not get lost over this
            cause = f"{type(error).__name__}: {text_of(error)}"
            log(logging.WARNING, f"The process could not be made as it was before the job ({cause}); it is replaced.")
            return True

    def restore(self, log: Callable[[int, str], None], leftovers: Leftovers) -> bool:
        """Restore this process. Return whether something remains that cannot be restored."""
        lasting = leftovers.restore()
        if lasting:
            text = f"The job left its process changed ({', '.join(lasting)}); the next one gets a new process."
            log(logging.INFO, text)
        if self.threads_go_on or lasting or has_descendants():
            return True
        self.sessions.reset(partial(log, logging.WARNING))
        return False

    def send(self, number: int, record: Record) -> None:
        """Send a record about the attempt with this *number* among those that this process was given."""
        kind, _job, *rest = record
        self.send_records([kind, number, *rest])

    def log(self, number: int, level: int, text: str) -> None:
        """Add a line to the log of an attempt."""
        self.send_records(["log", number, time.time(), level, text])

    def send_records(self, *records: Record) -> None:
        """Send records as one message: the kernel keeps the messages of this process and of its forks apart."""
        try:
            self.records.sendall(encode([*records]))
        except OSError:
            # The parent is gone. What this job does from now on may not be recorded.
            os._exit(1)

    def on_term(self, number: int, frame: FrameType | None) -> None:
        """Abort the handler, or end this process if no handler runs."""
        if os.getpid() != self.process_id:
            # The job forked this process without exec: it dies as any process would.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.abort_requested = True
        if self.shared is not None:
            self.shared.on_term()
            return
        if self.in_handler:
            interrupt(JobAborted())
            return
        if self.end_unsent:
            return  # it exits once the end is sent
        os._exit(EXIT_OK)

    def on_leave(self, number: int, frame: FrameType | None) -> None:
        """Start no more attempts, so that those behind one that takes long can run elsewhere."""
        if os.getpid() == self.process_id and self.last is None:
            self.last = self.number
            self.send_records(["leaving", self.last])

    def on_suspend(self, number: int, frame: FrameType | None) -> None:
        """Let the loop that runs end between two items."""
        if os.getpid() == self.process_id:
            self.suspend_requested = True

    def on_stack(self, number: int, frame: FrameType | None) -> None:
        """Send the stack of the attempt that runs. A loop that attempts share is asked in another way."""
        if os.getpid() == self.process_id and self.shared is None and frame is not None:
            self.send_records(["stack", self.number, stacks.of_process(frame)])

    def current_tally(self) -> Tally:
        """Return the tally of the attempt that makes a query now."""
        if self.shared is not None and (attempt := current()) is not None:
            return attempt.tally
        if self.tally.number != self.number:
            self.tally = Tally(self.number, self.board.write_queries)
        return self.tally

    @contextlib.contextmanager
    def surroundings(self, context: JobContext) -> Iterator[None]:
        """Surround a handler: its output goes to the log, and its memory is limited."""
        limit = registry.get(context.name).memory_limit
        self.peak_memory.reset()
        with self.captured(context), memory_limit(limit):
            self.in_handler = True
            try:
                try:
                    yield
                finally:
                    self.await_threads(context)
            finally:
                self.in_handler, self.end_unsent = False, True

    def await_threads(self, context: JobContext) -> None:
        """Wait for the job's threads, whose output belongs in its log. Threads that run on end with this process."""
        grace = 0 if self.abort_requested else threads.GRACE
        self.threads_go_on = threads.still_running(grace)
        if self.threads_go_on and not self.abort_requested:
            context.add_log("Threads of the job go on after it returned; they end with its process.")


class PeakMemory:
    """The most memory that this process has held since the last ``reset``."""

    def __init__(self) -> None:
        self.reset_to: int | None = None
        with contextlib.suppress(OSError):
            self.reset_to = _moved_up(os.open("/proc/self/clear_refs", os.O_WRONLY))

    def reset(self) -> None:
        """Start a new measurement."""
        if self.reset_to is not None:
            try:
                os.write(self.reset_to, b"5")
            except OSError:
                self.reset_to = None  # it stays so

    def read(self) -> int:
        """Return the peak in bytes."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def prepare() -> Callable[[int, socket.socket, int, int, int], None]:
    """Do once what each child would do by itself, and return what a new process does to become one. Fork server."""
    for job_type in registry.all():
        if registry.is_isolated(job_type.name) and job_type.arguments.given is None:
            # A form of the project's may read rows, and those change.
            for field in job_type.arguments.definition.fields.values():
                str(getattr(field, "re_decimal", ""))  # Django compiles it when a number is first cleaned
    close_all()
    logging.getLogger("qorworker.job").setLevel(logging.DEBUG)
    sessions, captured = Sessions(), Capture()
    sessions.watch()
    captured.replace_console()
    Leftovers()  # where the process's state cannot be read, this process fails, and not each job
    return partial(run, sessions, captured)


def run(
    sessions: Sessions, captured: Capture, work: int, records: socket.socket, output: int, board: int, parent: int
) -> None:
    """Become a child, right after the fork. Never returns."""
    status = 1
    try:
        _set_up(output, parent)
        _refuse_deleted_folder()
        # A name keeps its channels open until the process exits.
        runner = Runner(work, records, board, sessions, captured)
        runner.main()
        status = EXIT_OK
    except JobAborted:
        status = EXIT_OK
    except BaseException:
        faulthandler.dump_traceback()
        logging.getLogger(__name__).exception("A child process of the worker failed.")
    finally:
        exit_process(status)


def _set_up(output: int, parent: int) -> None:
    os.setsid()
    forget_finalizers()
    processes.die_with_parent(parent)
    processes.adopt_orphans()
    processes.prefer_for_oom_kill()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    processes.close_input()
    console.keep()
    os.dup2(output, 1)
    os.dup2(output, 2)
    processes.unbuffer_output()
    faulthandler.enable(2)
    random.seed()
    gc.enable()


def _moved_up(descriptor: int) -> int:
    """Move a descriptor to a high number, so that a job that closes the low ones, as daemons do, misses it."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    highest = OWN_DESCRIPTORS if limit == resource.RLIM_INFINITY else min(OWN_DESCRIPTORS, limit // 2)
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, highest)
    os.close(descriptor)
    return moved


def _refuse_deleted_folder() -> None:
    """Exit if the working folder was deleted: a removed release cannot load the rest of its code."""
    try:
        os.getcwd()
    except FileNotFoundError:
        folder = os.readlink("/proc/self/cwd") if processes.LINUX else ""
        print(f"The working folder of this worker is gone; start the worker again. {folder}", file=sys.stderr)
        os._exit(1)


def is_output_read(seconds: float) -> bool:
    """Wait until the parent has read what the job printed past Python, and return whether it has in time.

    Otherwise it could get into the log of the next job.
    """
    end = time.monotonic() + seconds
    while processes.bytes_in(1):
        if time.monotonic() >= end:
            return False
        time.sleep(0.0005)
    return True


def has_descendants() -> bool:
    """Whether a process that a job started still exists. This is exact, because orphans are adopted."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # reaped
    except ChildProcessError:
        return False
    return True
