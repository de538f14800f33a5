"""Runs jobs in the test's own process, and returns their results. Test processes only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, router, transaction
from django.test import TestCase, override_settings

from qorworker.arguments import files
from qorworker.attempts.in_process import logged, run_stored
from qorworker.conf import configured, settings
from qorworker.definitions.job_type import JobType
from qorworker.execution.context import JobContext
from qorworker.models import Attempt, Job, database_now
from qorworker.testing.answers import answer

LOCAL = "qorworker.backends.local.LocalBackend"
IMMEDIATE = "qorworker.backends.immediate.ImmediateBackend"


class JobRun:
    """The result of a job in a test: its row as ``job``, its log, its rows and its end."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def status(self) -> str:
        """``done``, ``exception``, ``killed``; ``scheduled`` if another attempt follows."""
        return str(self.job.status)

    @property
    def error(self) -> str:
        """One line; empty for a job that is done."""
        return str(self.job.error)

    @property
    def result(self) -> Any:
        """The return value of the handler, as JSON keeps it."""
        return self.job.result

    @property
    def progress(self) -> int | None:
        """Per cent."""
        return self.job.progress

    @property
    def progress_text(self) -> str:
        return str(self.job.progress_text)

    @property
    def log(self) -> list[str]:
        """The texts of all lines."""
        return list(self.job.log.order_by("number").values_list("text", flat=True))

    @property
    def rows(self) -> list[list[Any]]:
        """The results: the values of each row's cells."""
        return [[cell["value"] for cell in cells] for cells in self._cells()]

    @property
    def row_errors(self) -> list[list[str]]:
        """The errors of each row's cells; empty texts for cells without an error."""
        return [[cell["error"] for cell in cells] for cells in self._cells()]

    @property
    def files(self) -> dict[str, bytes]:
        """The files that it has added: their contents by their names."""
        contents = {}
        for row in self.job.files.order_by("pk"):
            with files.fetch(row.kept) as file:
                contents[row.name] = file.read()
        return contents

    @property
    def attempts(self) -> list[Attempt]:
        return list(self.job.attempts.order_by("number", "id"))

    @property
    def traceback(self) -> str:
        """The traceback of the last attempt; empty if it raised nothing."""
        attempts = self.attempts
        return attempts[-1].traceback if attempts else ""

    def _cells(self) -> list[Any]:
        return list(self.job.results.order_by("number").values_list("cells", flat=True))

    def __repr__(self) -> str:
        ending = f"{self.status}: {self.error}" if self.error else self.status
        return f"<JobRun of {self.job.name} #{self.job.pk}, {ending}>{self._last_lines()}"

    def _last_lines(self) -> str:
        return f"\n{self.traceback}" if self.traceback else ""


def run_job(
    what: JobType[..., Any] | Job, /, *, answers: Iterable[Any] = (), approved_by: Any = None, **arguments: Any
) -> JobRun:
    """Run one attempt of a new job with these arguments, or of a stored one that waits, whatever time it waits for.

    It is run as in a worker: arguments through the form, middleware, log, results, retries; in this process and on this
    database connection. Raises ``InvalidArguments``, and ``ValueError`` for a job that cannot be started now.

    *answers* are given to the questions of the job, one after the other, and it goes on with each: a dict for the
    fields of a question, any JSON for a callback, ``NOBODY`` if nobody answers in time, ``DECLINED`` if somebody
    declines. Raises ``ValueError`` for an answer to which there is no question.

    *approved_by* is the user who approves a job that needs it, before it runs.
    """
    with _nobody_else():
        job = what if isinstance(what, Job) else what.enqueue(**arguments)
        if arguments and job is what:
            raise ValueError(f"{job} is stored with its arguments: it cannot be given others.")
        _approve(job, approved_by)
        given = list(answers)
        if job.is_asking:
            job.refresh_from_db()  # it may have been answered since this copy was read
        if job.is_asking and not given:
            raise ValueError(f"{job} waits for an answer: give it with run_job(job, answers=[…]).")
        if not job.is_asking:
            _run_or_refuse(job)
        for each in given:
            answer(job, each)
            _run_or_refuse(job)
    return JobRun(job)


def _approve(job: Job, user: Any) -> None:
    if job.awaits_approval:
        job.refresh_from_db()  # it may have been approved since this copy was read
    if user is not None:
        job.approve(by=user)
    elif job.awaits_approval:
        raise ValueError(f"{job} waits for approval: give it with run_job(job, approved_by=user).")


def _run_or_refuse(job: Job) -> None:
    if not _run(job):
        raise ValueError(f"{job} is {job.status} and cannot be started: is it over, paused or held by a limit?")


def drain(
    *,
    queue_name: str | None = None,
    at: dt.datetime | dt.timedelta | None = None,
    retries: bool = False,
    limit: int = 1000,
) -> list[JobRun]:
    """Run all jobs that are due, and those that they enqueue, until none is left; what each did, in order.

    *queue_name*: only jobs of this queue. *at*: also those that are due at this time, or so long from now; clocks stay
    as they are. *retries*: also the attempts that follow a failed one, without their pause. *limit*: jobs after which
    it gives up with an ``AssertionError``, because they enqueue each other without end. Paused jobs are left.
    """
    using = router.db_for_write(Job)
    runs: list[JobRun] = []
    left: set[int] = set()
    with _nobody_else():
        while (job := _next(using, queue_name, at, retries, left)) is not None:
            if not _run(job):
                left.add(job.pk)
                continue
            runs.append(JobRun(job))
            if len(runs) > limit:
                raise AssertionError(f"More than {limit} jobs have run: do they enqueue each other without end?")
    return runs


def _next(
    using: str, queue_name: str | None, at: dt.datetime | dt.timedelta | None, retries: bool, left: set[int]
) -> Job | None:
    now = database_now(using)
    until = now if at is None else now + at if isinstance(at, dt.timedelta) else max(now, at)
    jobs = Job.objects.using(using).startable_until(until, retries=retries)
    if queue_name is not None:
        jobs = jobs.on_queue(queue_name)
    return jobs.exclude(pk__in=left).in_line().first()


@contextmanager
def immediate_jobs() -> Iterator[None]:
    """Run jobs of every queue in the caller, when the transaction that enqueues them commits, during this block.

    In a ``TestCase``, which never commits, they run at the end of the block, with all other callbacks for a commit.

    Example::

        with immediate_jobs():
            job = import_products.enqueue(shop=berlin)
        assert job.status == "done"
    """
    with _backend(IMMEDIATE), TestCase.captureOnCommitCallbacks(using=router.db_for_write(Job), execute=True):
        yield


@contextmanager
def _nobody_else() -> Iterator[None]:
    """Notify no backend of jobs during this block: only the caller runs them."""
    with _backend(LOCAL):
        yield


@contextmanager
def _backend(path: str) -> Iterator[None]:
    queues = {name: {"BACKEND": path} for name in settings.QUEUES}
    with override_settings(QORWORKER={**configured(), "QUEUES": queues}):
        yield


def _run(job: Job) -> bool:
    using = job._state.db or router.db_for_write(Job)
    status = run_stored(job.pk, using, worker_name="test", early=True, surroundings=_Surroundings(using).around)
    job.refresh_from_db(using=using)
    return status is not None


class _Surroundings:
    """Lets a test continue after its handler has broken the transaction around the test."""

    def __init__(self, using: str) -> None:
        self.using = using

    @contextmanager
    def around(self, context: JobContext) -> Iterator[None]:
        connection = transaction.get_connection(self.using)
        before = connection.savepoint() if connection.in_atomic_block else None
        try:
            with logged(context):
                yield
        except DatabaseError:
            if before is not None:
                connection.needs_rollback = False
                connection.savepoint_rollback(before)
            raise
