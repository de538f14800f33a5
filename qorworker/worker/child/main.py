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
from qorworker.execution.context import JobContext
from qorworker.execution.execute import execute
from qorworker.execution.messages import FRAME, Record, Work, encode
from qorworker.execution.output import Capture
from qorworker.system import processes
from qorworker.system.memory_limit import memory_limit
from qorworker.text.storable import text_of
from qorworker.worker.child import threads
from qorworker.worker.child.exiting import exit_process, forget_finalizers
from qorworker.worker.child.leftovers import Leftovers
from qorworker.worker.child.sessions import Sessions, close_all
from qorworker.worker.leaving import LEAVE_SIGNAL

EXIT_OK = 0
OUTPUT_WAIT = 10.0  # seconds that a job's output may take to be read
LAST_OUTPUT_WAIT = 0.2  # the same in a process that ends: something that the job has left may print without end
OWN_DESCRIPTORS = 900  # the lowest number for this module's descriptors


class Runner:
    """Runs attempts in this process: holds its ends of the channels, and whether it was asked to stop."""

    def __init__(self, work: int, records: socket.socket, sessions: Sessions, captured: Capture) -> None:
        self.work = os.fdopen(_moved_up(work), "rb")
        self.records = socket.socket(fileno=_moved_up(records.detach()))
        self.sessions, self.captured = sessions, captured
        self.process_id = os.getpid()
        self.abort_requested = False
        self.in_handler = False
        self.end_unsent = False  # the handler has ended, and the parent does not know that yet
        self.threads_go_on = False
        self.number = 0  # of the attempt that it runs or has run last
        self.last: int | None = None  # the number after which it starts no more attempts
        self.peak_memory = PeakMemory()

    def main(self) -> None:
        """Run attempts until there are no more, or until this process must be replaced."""
        signal.signal(signal.SIGTERM, self.on_term)
        if LEAVE_SIGNAL is not None:
            signal.signal(LEAVE_SIGNAL, self.on_leave)
        leftovers: Leftovers | None = None
        for number, job in enumerate(iter(self.next_work, None), 1):
            self.number = number
            if self.last is not None and number > self.last:
                return
            is_isolated = registry.is_isolated(job.name)
            if leftovers is None and not is_isolated:
                leftovers = Leftovers()
            send = partial(self.send, number)
            ending = execute(
                job,
                send,
                abort_requested=lambda: self.abort_requested,
                surroundings=self.surroundings,
                mask=mask_of(job.name, job.arguments),
            )
            self.end_unsent = True
            if os.getpid() != self.process_id:
                os._exit(0)  # a fork of the job that ran out of its handler
            ending.peak_memory = self.peak_memory.read()
            if leftovers is not None:
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

    def next_work(self) -> Work | None:
        """Read the next attempt. None once the parent has hung up."""
        head = self.work.read(FRAME.size)
        if len(head) < FRAME.size:
            return None
        length: int = FRAME.unpack(head)[0]
        body = self.work.read(length)
        return Work(*json.loads(body)) if len(body) == length else None

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
        if self.in_handler:
            raise JobAborted
        if self.end_unsent:
            return  # it exits once the end is sent
        os._exit(EXIT_OK)

    def on_leave(self, number: int, frame: FrameType | None) -> None:
        """Start no more attempts, so that those behind one that takes long can run elsewhere."""
        if os.getpid() == self.process_id and self.last is None:
            self.last = self.number
            self.send_records(["leaving", self.last])

    @contextlib.contextmanager
    def surroundings(self, context: JobContext) -> Iterator[None]:
        """Surround a handler: its output goes to the log, and its memory is limited."""
        job_type = registry.get(context.name)
        self.peak_memory.reset()
        with self.captured(context), memory_limit(job_type.memory_limit):
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
            self.reset_to = os.open("/proc/self/clear_refs", os.O_WRONLY)

    def reset(self) -> None:
        """Start a new measurement."""
        if self.reset_to is not None:
            with contextlib.suppress(OSError):
                os.write(self.reset_to, b"5")

    def read(self) -> int:
        """Return the peak in bytes."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def prepare() -> Callable[[int, socket.socket, int, int], None]:
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


def run(sessions: Sessions, captured: Capture, work: int, records: socket.socket, output: int, parent: int) -> None:
    """Become a child, right after the fork. Never returns."""
    status = 1
    try:
        _set_up(output, parent)
        _refuse_deleted_folder()
        runner = Runner(work, records, sessions, captured)  # a name keeps its channels open until the process exits
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
