"""A child: reads attempts from its parent one after another, runs them, and says how they went. Child process.

It is forked from the template with Django set up and no database connection; it never returns to the template.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import io
import json
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from django.db import connections

from qorworker.context import JobContext
from qorworker.exceptions import JobAborted
from qorworker.execution import Work, execute
from qorworker.records import FRAME, Record, encode
from qorworker.registry import registry
from qorworker.worker import processes

GOODBYE = 0


class Child:
    """The state of this process: its two ends of the pipe, and whether it was asked to stop."""

    def __init__(self, work: int, records: socket.socket) -> None:
        self.work = os.fdopen(work, "rb")
        self.records = records
        self.process_id = os.getpid()
        self.abort_asked = False
        self.in_handler = False
        self.log_handler = LogHandler()
        self.peak_memory = PeakMemory()
        self.folder = os.getcwd()

    def main(self) -> None:
        signal.signal(signal.SIGTERM, self.on_term)
        while (job := self.next_work()) is not None:
            ending = execute(job, self.send, abort_requested=lambda: self.abort_asked, surroundings=self.surroundings)
            if os.getpid() != self.process_id:
                os._exit(0)  # a fork that the job made and let run out of its handler
            ending.peak_memory = self.peak_memory.read()
            ending.leftovers = has_descendants() or has_threads()
            self.send(ending.record(job.id))
            if self.abort_asked or ending.leftovers:
                # What was sent after this job stays in the pipe, and goes back into the queue.
                self.send(["left", job.id])
                return

    def next_work(self) -> Work | None:
        head = self.work.read(FRAME.size)
        if len(head) < FRAME.size:
            return None
        return Work(*json.loads(self.work.read(FRAME.unpack(head)[0])))

    def send(self, record: Record) -> None:
        """One message a record: the kernel keeps messages of this process and of its forks apart."""
        try:
            self.records.sendall(encode([record]))
        except OSError:
            # The parent is gone. What this job does from now on nobody may hear of.
            os._exit(1)

    def on_term(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process_id:
            # A process that the job forked without exec: it dies as any process would.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.abort_asked = True
        if self.in_handler:
            raise JobAborted
        os._exit(GOODBYE)

    @contextlib.contextmanager
    def surroundings(self, context: JobContext) -> Iterator[None]:
        """What a handler finds around it: its output goes to the log, its memory is bounded."""
        job_type = registry.get(context.name)
        output, errors = LogStream(context, logging.INFO), LogStream(context, logging.WARNING)
        self.peak_memory.reset()
        # What the job before may have changed.
        signal.signal(signal.SIGTERM, self.on_term)
        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        sys.stdout, sys.stderr = output, errors
        self.log_handler.context = context
        if self.log_handler not in logging.root.handlers:
            logging.root.addHandler(self.log_handler)
        try:
            with memory_limit(job_type.memory_limit):
                self.in_handler = True
                try:
                    yield
                finally:
                    self.in_handler = False
        finally:
            self.log_handler.context = None
            output.finish()
            errors.finish()
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


class LogStream(io.TextIOBase):
    """``sys.stdout`` of a handler: each line becomes a line of the job's log."""

    def __init__(self, context: JobContext, level: int) -> None:
        self.context, self.level, self.rest = context, level, ""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.line(line)
        if len(self.rest) > 100_000:
            self.finish()
        return len(text)

    def line(self, text: str) -> None:
        # A progress bar redraws its line with carriage returns: what stands there last counts.
        self.context.add_log(text.rstrip("\r").rpartition("\r")[2], level=self.level)

    def finish(self) -> None:
        if self.rest:
            rest, self.rest = self.rest, ""
            self.line(rest)


class LogHandler(logging.Handler):
    """Lets what a handler logs through ``logging`` land in the job's log."""

    context: JobContext | None = None  # of the job that runs

    def emit(self, record: logging.LogRecord) -> None:
        if self.context is None:
            return
        try:
            self.context.add_log(self.format(record), level=record.levelno)
        except Exception:  # logging must not fail the job
            self.handleError(record)


class PeakMemory:
    """The most memory that this process has held since the last ``reset``."""

    def __init__(self) -> None:
        self.reset_to: int | None = None
        with contextlib.suppress(OSError):
            self.reset_to = os.open("/proc/self/clear_refs", os.O_WRONLY)

    def reset(self) -> None:
        if self.reset_to is not None:
            with contextlib.suppress(OSError):
                os.write(self.reset_to, b"5")

    def read(self) -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(work: int, records: socket.socket, output: int, parent: int) -> None:
    """Become a child: called right after the fork, never returns."""
    status = 1
    try:
        _settle(output, parent)
        Child(work, records).main()
        status = GOODBYE
    except JobAborted:
        status = GOODBYE
    except BaseException:
        faulthandler.dump_traceback()
        logging.getLogger(__name__).exception("A child process of the worker failed.")
    finally:
        with contextlib.suppress(Exception):
            logging.shutdown()
        os._exit(status)


def _settle(output: int, parent: int) -> None:
    os.setsid()
    processes.die_with_parent(parent)
    processes.adopt_orphans()
    processes.volunteer_for_the_memory_killer()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    faulthandler.enable(2)
    random.seed()
    logging.getLogger("qorworker.job").setLevel(logging.DEBUG)
    _forget_console()
    for connection in connections.all():
        # A child lives for many jobs: keep the connection, but look before each job whether it still works.
        connection.settings_dict.update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    gc.enable()


def _forget_console() -> None:
    """Drop handlers that print: their lines are in the log already, and would come back through the output."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    for logger in loggers:
        for handler in list(logger.handlers):
            if type(handler) is not logging.FileHandler and getattr(handler, "stream", None) in (
                sys.__stdout__,
                sys.__stderr__,
            ):
                logger.removeHandler(handler)


@contextlib.contextmanager
def memory_limit(limit: int | None) -> Iterator[None]:
    """Bound the memory that this process may ask for, so that a greedy job fails and its worker does not."""
    if limit is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def has_threads() -> bool:
    """Whether a thread that a job started still runs. Those of an executor only wait, and may be used again."""
    if threading.active_count() == 1:
        return False
    main = threading.main_thread()
    return any(each is not main and not each.name.startswith("ThreadPoolExecutor") for each in threading.enumerate())


def has_descendants() -> bool:
    """Whether a process that a job started is still there; exact, because orphans are adopted."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass  # ended, and now forgotten
    except ChildProcessError:
        return False
    return True
