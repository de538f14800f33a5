"""Runs a stored job in this very process, for backends without a ``runworker``. Wherever such a backend runs jobs.

The same claim, records and writer as a worker's; an ``Attendant`` does in a thread what its parent process does.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace

from django.db import Error, connections

from qorworker.conf import settings
from qorworker.context import JobContext
from qorworker.execution import Ending, execute
from qorworker.models import Job, Outcome, Pause, Worker
from qorworker.models.sql import Claim, claim_one
from qorworker.records import Record
from qorworker.signals import job_started
from qorworker.worker.attempt import RunningAttempt
from qorworker.worker.limited import give_key, is_stray
from qorworker.worker.processes import monotonic
from qorworker.worker.writer import End, Writer

logger = logging.getLogger(__name__)

STORY_DELAY = 0.5  # seconds between two looks at what was said and what was asked for
WRITE_PAUSES = (0.1, 0.5, 2.0, 5.0)  # seconds between tries to write an end
Surroundings = Callable[[JobContext], AbstractContextManager[None]]


def run_stored(
    job_id: int,
    using: str,
    *,
    worker_name: str,
    worker_id: int | None = None,
    early: bool = False,
    surroundings: Surroundings | None = None,
    abort_requested: Callable[[], bool] | None = None,
    watch: Callable[[Attendant], None] = lambda attendant: None,
) -> str | None:
    """Claim a job and run one attempt of it here; the status to which that leads, None if it is not to be had.

    Safe to be called twice for the same job: one claim wins. With *early* it is taken before its time.
    *surroundings* is entered around the handler; *watch* is called twice a second from another thread;
    *abort_requested* is what the handler asks, if that is not to look into the row.
    """
    if _is_paused(job_id, using):
        return None
    lease = float(settings.LEASE)
    wanted = Claim(worker_id, secrets.token_hex(16), (), (), 1, 1, (), lease, os.getpid())
    writer = Writer(using, worker_id, worker_name)
    claimed = claim_one(using, job_id, wanted, early=early)
    if claimed is not None and is_stray(claimed):
        give_key(using, claimed)
        writer.hand_back(RunningAttempt(claimed, using))
        writer.flush(())
        claimed = claim_one(using, job_id, replace(wanted, token=secrets.token_hex(16)))
    if claimed is None:
        Job.objects.using(using).not_handed_over(job_id)  # or it would hear of one that a limit holds much later
        return None
    attempt = RunningAttempt(claimed, using, begun=monotonic(), process_id=os.getpid(), changed=True)
    job_started.send_robust(Job, job_id=claimed.id, name=claimed.name, attempt=claimed.attempt)
    attendant = Attendant(attempt, writer, watch)
    with attendant.beside():
        ending = execute(
            attempt.work,
            attendant.hear,
            abort_requested=abort_requested or attendant.abort_requested,
            surroundings=surroundings or logged,
        )
    return attendant.finish(ending)


def _is_paused(job_id: int, using: str) -> bool:
    """Whether the job may not be started for now; then its backend is told again when it may."""
    paused = Pause.objects.using(using).paused()
    if not paused.queues and not paused.names:
        return False
    jobs = Job.objects.using(using)
    job = jobs.filter(pk=job_id).only("queue_name", "name").first()
    if job is None or not paused.holds(job.queue_name, job.name):
        return False
    jobs.forget_handed_over(job_id)
    return True


class Attendant:
    """Beside an attempt in this process: keeps its lease, writes what it says, and looks whether it is to end.

    The thread has a database connection of its own, which it opens only for a job that takes longer than a moment.
    Inside a transaction that was open before, as in a ``TestCase``, another connection would not see the job:
    there is no thread then, and all is written at the end.
    """

    def __init__(self, attempt: RunningAttempt, writer: Writer, watch: Callable[[Attendant], None]) -> None:
        self.attempt, self.writer, self.watch = attempt, writer, watch
        self.using = writer.using
        self.said: deque[Record] = deque()
        self.is_abort_requested = False
        self.renewed = self.looked = monotonic()
        self.over = threading.Event()
        self.thread: threading.Thread | None = None

    # For the handler's thread.

    def hear(self, record: Record) -> None:
        self.said.append(record)

    def abort_requested(self) -> bool:
        if self.thread is None and monotonic() - self.looked >= STORY_DELAY:
            self._look()
        return self.is_abort_requested or self.attempt.lost

    @contextmanager
    def beside(self) -> Iterator[None]:
        if not connections[self.using].in_atomic_block:
            self.thread = threading.Thread(target=self._attend, name="qorworker attendant", daemon=True)
            self.thread.start()
        try:
            yield
        finally:
            self.over.set()
            if self.thread is not None:
                self.thread.join()

    def finish(self, ending: Ending) -> str:
        """Write the attempt's end; the status to which it leads."""
        attempt = self.attempt
        self._take_in()
        outcome, error = ending.outcome, ending.error
        if attempt.stop_reason and outcome == Outcome.ABORTED:
            outcome, error = attempt.stop_reason, attempt.stop_text
        end = End(
            attempt,
            attempt.end(outcome, error, ending.delay),
            outcome,
            traceback=ending.traceback,
            exception_class=ending.exception_class,
            duration=ending.duration,
            peak_memory=ending.peak_memory,
            committed=ending.committed,
        )
        self.writer.end(end)
        self._write_end()
        return end.update.status

    def _write_end(self) -> None:
        if connections[self.using].in_atomic_block:
            self.writer.flush(())
            return
        for pause in (*WRITE_PAUSES, None):
            try:
                self.writer.flush(())
                if not self.writer.held_up or pause is None:  # somebody else has the row locked
                    return
            except Error:
                if pause is None:
                    logger.exception("The end of job %s could not be written.", self.attempt.job.id)
                    raise
                connections[self.using].close()
            time.sleep(pause)

    # For the thread beside it.

    def _attend(self) -> None:
        try:
            while not self.over.wait(STORY_DELAY):
                self._round()
        finally:
            connections[self.using].close()

    def _round(self) -> None:
        try:
            self._take_in()
            if self.attempt.changed and not self.attempt.lost:
                self.writer.flush([self.attempt])
            if monotonic() - self.renewed >= float(settings.LEASE) / 3:
                now = monotonic()
                Job.objects.using(self.using).renew(self._token(), float(settings.LEASE))
                if self.writer.worker_id is not None:  # which may have no time for that itself
                    Worker.objects.using(self.using).beat(self.writer.worker_id)
                self.renewed = now
            self._look()
        except Error:
            logger.warning("The database did not take what job %s said; it is tried again.", self.attempt.job.id)
            connections[self.using].close()
        self.watch(self)

    def _take_in(self) -> None:
        while self.said:
            self.attempt.hear(self.said.popleft())

    def _look(self) -> None:
        """Ask for an abort, and whether the attempt still has its job. One that has just ended itself has not."""
        self.looked = monotonic()
        held = Job.objects.using(self.using).abort_requests(self._token())
        pk = self.attempt.job.id
        if pk in held:
            self.is_abort_requested = held[pk]
        elif not self.writer.ended_themselves([self.attempt]):
            self.attempt.lost = True

    def _token(self) -> dict[int, str]:
        return {self.attempt.job.id: self.attempt.job.token}


# What surrounds a handler: its log records land in its log, whatever else runs in this process.

_current: ContextVar[JobContext | None] = ContextVar("qorworker_job", default=None)


class LogHandler(logging.Handler):
    """Passes on what is logged while a job runs, to the log of that job."""

    def emit(self, record: logging.LogRecord) -> None:
        context = _current.get()
        if context is None:
            return
        try:
            context.add_log(self.format(record), level=record.levelno)
        except Exception:  # logging must not fail the job
            self.handleError(record)


_handler = LogHandler()


@contextmanager
def logged(context: JobContext) -> Iterator[None]:
    """Let what the handler logs through ``logging`` land in the job's log."""
    if _handler not in logging.root.handlers:
        logging.root.addHandler(_handler)
    jobs_logger = logging.getLogger("qorworker.job")
    if jobs_logger.level == logging.NOTSET:
        jobs_logger.setLevel(logging.DEBUG)
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)
