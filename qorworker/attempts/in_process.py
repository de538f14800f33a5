"""Runs a stored job in this very process, for backends without a ``runworker``. Wherever such a backend runs jobs.

Claim, records and writer are those of a worker. An ``AttemptMonitor`` does in a thread what a parent process does.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

from django.db import Error, connections
from django.utils.translation import gettext as _

from qorworker.attempts.attempt import LEASE_MARGIN, RunningAttempt
from qorworker.attempts.limited_claims import give_key, is_stray
from qorworker.attempts.writer import End, Writer
from qorworker.conf import settings
from qorworker.database.answers import renewal_interval, was_answered
from qorworker.definitions.registry import registry
from qorworker.exceptions import BudgetExceeded
from qorworker.execution import stacks
from qorworker.execution.context import JobContext
from qorworker.execution.endings import Ending
from qorworker.execution.execute import execute
from qorworker.execution.messages import Record
from qorworker.execution.queries import Tally, counted
from qorworker.models import Job, Outcome, Pause, Worker
from qorworker.models.job_vitals import StackSource
from qorworker.models.sql import Claim, Claimed, claim_one, claimed_with
from qorworker.signals import job_started
from qorworker.system.processes import monotonic
from qorworker.system.usage import usage_of

logger = logging.getLogger(__name__)

WRITE_INTERVAL = 0.5  # seconds between two writes of progress and log
WRITE_PAUSES = (0.1, 0.5, 2.0, 5.0)  # seconds between attempts to write an end
LAST_PAUSE = 2.0  # the same after those: shorter than others must observe the job before they take it
PATIENCE = 60.0  # seconds for the end of a job on a worker: a database may be restarted meanwhile
LOOK_PAUSES = (0.1, 0.5, 2.0)  # seconds before each look for a claim without an answer
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
    watch: Callable[[AttemptMonitor], None] = lambda monitor: None,
) -> str | None:
    """Claim a job, run one attempt of it here, and return the new status. None if the job cannot be claimed.

    It may be called twice for the same job: one claim wins. With *early* the job is claimed before it is due.
    *surroundings* is entered around the handler. *watch* is called twice a second from another thread, before each
    access to the database. *abort_requested* answers the handler instead of the row.
    """
    if _is_paused(job_id, using):
        return None
    lease = float(settings.LEASE)
    order = Claim(
        worker_id=worker_id,
        token=secrets.token_hex(16),
        lease=lease,
        versions=registry.versions(),
        process_id=os.getpid(),
    )
    writer = Writer(using, worker_id, worker_name)
    claimed, claimed_at = _claim(using, job_id, order, early=early)
    if claimed is not None and is_stray(claimed):
        give_key(using, claimed)
        writer.hand_back(RunningAttempt(claimed, using))
        writer.flush(())
        claimed, claimed_at = _claim(using, job_id, replace(order, token=secrets.token_hex(16)), early=early)
    if claimed is None:
        Job.objects.using(using).limited().forget_handed_over(job_id)  # its backend is notified again soon
        return None
    attempt = RunningAttempt(claimed, using, begun=monotonic(), process_id=os.getpid(), changed=True)
    job_started.send_robust(Job, job_id=claimed.id, name=claimed.name, attempt=claimed.attempt)
    monitor = AttemptMonitor(attempt, writer, watch)
    monitor.renewed_at = claimed_at
    with monitor.running(), counted(monitor.tally):
        ending = execute(
            attempt.work(settings.RECHECK_PERMISSIONS),
            monitor.collect,
            abort_requested=abort_requested or monitor.abort_requested,
            suspend_requested=monitor.suspend_requested,
            surroundings=surroundings or logged,
            mask=attempt.mask,
        )
    return monitor.finish(ending, 0.0 if worker_id is None else PATIENCE)


def _claim(using: str, job_id: int, order: Claim, *, early: bool) -> tuple[Claimed | None, float]:
    """Claim a job, and return it with a time at which its whole lease was still to come.

    If the answer is lost, the claim may have been carried out: then no other process could claim the job.
    """
    connection: Any = connections[using]
    errors, now = (Error, connection.Database.Error), monotonic()
    try:
        return claim_one(using, job_id, order, early=early), now
    except errors as error:
        if was_answered(error) or connection.in_atomic_block:
            raise
        for pause in LOOK_PAUSES:
            time.sleep(pause)
            connection.close()
            now = monotonic()
            with suppress(*errors):
                if claimed := _claimed_and_renewed(using, order):
                    return claimed, now
        raise


def _claimed_and_renewed(using: str, order: Claim) -> Claimed | None:
    claimed = next(iter(claimed_with(using, [order.token])), None)
    renewed = claimed and Job.objects.using(using).renew({claimed.id: claimed.token}, order.lease)
    return claimed if renewed else None


def _is_paused(job_id: int, using: str) -> bool:
    """Whether the job is paused. If it is, its backend is notified again when it may start."""
    paused = Pause.objects.using(using).paused()
    if not paused.queues and not paused.names:
        return False
    jobs = Job.objects.using(using)
    job = jobs.filter(pk=job_id).only("queue_name", "name").first()
    if job is None or not paused.holds(job.queue_name, job.name):
        return False
    jobs.forget_handed_over(job_id)
    return True


class AttemptMonitor:
    """Renews the lease of an attempt in this process, writes its progress, and notices requests to abort or pause it.

    It runs in a thread with its own database connection, opened only for a job that takes longer than a moment.
    Inside an open transaction, as in a ``TestCase``, another connection would not see the job: then there is no
    thread, and all is written at the end.
    """

    def __init__(self, attempt: RunningAttempt, writer: Writer, watch: Callable[[AttemptMonitor], None]) -> None:
        self.attempt, self.writer, self.watch = attempt, writer, watch
        self.using = writer.using
        # Django's, and the driver's own: those of a cursor that the ORM closes come as they are.
        connection: Any = connections[writer.using]
        self.errors: tuple[type[Exception], ...] = Error, connection.Database.Error
        self.records: deque[Record] = deque()
        self.is_abort_requested = self.is_pause_requested = False
        self.is_leaving = False  # this process is to end
        self.tally = Tally(0)
        self.handler_thread = threading.get_ident()
        self.renewed_at = self.looked_at = monotonic()
        self.is_locked = False  # the last renewal failed because the row is locked; the next step tries again
        self.stopped = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def is_overdue(self) -> bool:
        """Whether the renewal of the lease is overdue: another owner may take the job."""
        return monotonic() >= self.renewed_at + float(settings.LEASE) - LEASE_MARGIN

    # For the handler's thread.

    def collect(self, record: Record) -> None:
        """Keep a record until the next write."""
        self.records.append(record)

    def abort_requested(self) -> bool:
        """Whether the attempt should end."""
        self._look()
        if self.is_abort_requested:
            self.attempt.ask_to_end(Outcome.ABORTED, _("Aborted."), politely=True)
        return self.is_abort_requested or self.attempt.lost

    def suspend_requested(self) -> bool:
        """Whether a loop of the attempt should end between two items."""
        self._look()
        return self.is_pause_requested or self.is_leaving

    def _look(self) -> None:
        if self.thread is None and monotonic() - self.looked_at >= WRITE_INTERVAL:
            self._check_requests()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread during this block."""
        if not connections[self.using].in_atomic_block:
            self.thread = threading.Thread(target=self._loop, name="qorworker attempt monitor", daemon=True)
            self.thread.start()
        try:
            yield
        finally:
            self.stopped.set()
            if self.thread is not None:
                self.thread.join()

    def finish(self, ending: Ending, patience: float = 0.0) -> str:
        """Write the attempt's end, and return the status that it leads to.

        *patience* is for how many seconds more it waits for a database that fails, or for a locked row.
        """
        attempt = self.attempt
        self._apply_records()
        outcome, error = ending.outcome, ending.error
        attempt.reported_end = ending.as_message()
        if attempt.was_stopped:
            outcome, error = attempt.stop_reason, attempt.stopped_text
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
        self._write_end(patience)
        return end.update.status

    def _write_end(self, patience: float = 0.0) -> None:
        until = monotonic() + patience
        if connections[self.using].in_atomic_block:
            self.writer.flush(())
            return
        for pause in chain(WRITE_PAUSES, repeat(None)):
            try:
                self.writer.flush(())
                if not self.writer.deferred:
                    return
                # As long as its lease lasts no other owner can take the job.
                if pause is None and self.is_overdue and monotonic() >= until:
                    logger.error("The end of job %s could not be written: its row is locked.", self.attempt.job.id)
                    return
            except self.errors:
                if pause is None and monotonic() >= until:
                    logger.exception("The end of job %s could not be written.", self.attempt.job.id)
                    raise
                connections[self.using].close()
            time.sleep(LAST_PAUSE if pause is None else pause)

    # For the thread of the monitor.

    def _loop(self) -> None:
        try:
            while not self.stopped.wait(WRITE_INTERVAL):
                try:
                    self._step()
                except Exception:  # without this thread the job would lose its lease
                    logger.exception("The monitor of job %s failed; it goes on.", self.attempt.job.id)
        finally:
            connections[self.using].close()

    def _step(self) -> None:
        self.watch(self)
        try:
            self._apply_records()
            self._sample()
            # The next step, after WRITE_INTERVAL, would be too late for what is due before it.
            if self.is_locked or monotonic() - self.renewed_at >= renewal_interval() - WRITE_INTERVAL:
                self._renew()
                if self.writer.worker_id is not None:  # which may have no time for its own heartbeat
                    Worker.objects.using(self.using).beat(self.writer.worker_id)
            if self.attempt.changed and not self.attempt.lost:
                self.writer.flush([self.attempt])
            self._check_requests()
        except self.errors:
            logger.warning("The progress of job %s could not be written; trying again.", self.attempt.job.id)
            connections[self.using].close()

    def _renew(self) -> None:
        """Renew the lease. If another transaction has locked the row, no other owner can take the job meanwhile."""
        now, rows, token = monotonic(), Job.objects.using(self.using), self._token()
        renewed = rows.renew(token, float(settings.LEASE))
        self.is_locked = not renewed and rows.held(token).exists()
        if renewed or self.is_locked:
            self.renewed_at = now

    def _apply_records(self) -> None:
        while self.records:
            self.attempt.apply(self.records.popleft())

    def _check_requests(self) -> None:
        """Read what was requested, and whether the attempt still owns its job."""
        self.looked_at = monotonic()
        requested = Job.objects.using(self.using).requests(self._token()).get(self.attempt.job.id)
        if requested is None:
            self.attempt.lost = True
        else:
            self.is_abort_requested, self.is_pause_requested, stack_at = requested
            if stack_at is not None and stack_at != self.attempt.stack_asked_at:
                self.attempt.stack_asked_at = stack_at
                self._answer_stack()

    def _sample(self) -> None:
        """Take a sample of this process if it is due."""
        attempt, now = self.attempt, monotonic()
        if now < attempt.sample_due_at:
            return
        if (usage := usage_of(os.getpid())) is not None:
            attempt.queries = self.tally.count, self.tally.seconds
            attempt.take_sample(now, usage)

    def _answer_stack(self) -> None:
        frame = sys._current_frames().get(self.handler_thread)
        text = stacks.of_process(frame, self.handler_thread) if frame is not None else ""
        self.attempt.answer_stack(text, StackSource.PYTHON if text else StackSource.NONE)

    def _token(self) -> dict[int, str]:
        return {self.attempt.job.id: self.attempt.job.token}


# Around a handler: its log records land in its own log, whatever else runs in this process.

_current: ContextVar[JobContext | None] = ContextVar("qorworker_job", default=None)


class ContextLogHandler(logging.Handler):
    """Passes log records on to the log of the job that runs in this context."""

    def emit(self, record: logging.LogRecord) -> None:
        context = _current.get()
        if context is None:
            return
        try:
            context.add_log(self.format(record), level=record.levelno)
        except BudgetExceeded:
            raise
        except Exception:  # logging must not fail the job
            self.handleError(record)


_handler = ContextLogHandler()


@contextmanager
def logged(context: JobContext) -> Iterator[None]:
    """Pass what a handler logs through ``logging`` on to the job's log."""
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
