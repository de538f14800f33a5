"""What a worker of Celery does for jobs besides running them: its row, heartbeats, lost children. Its main process.

Each call to the database gives its connection back, because the process forks children.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

from celery import signals  # type: ignore[import-not-found, import-untyped, unused-ignore]
from celery.concurrency.prefork import TaskPool  # type: ignore[import-not-found, import-untyped, unused-ignore]
from celery.exceptions import WorkerLostError  # type: ignore[import-not-found, import-untyped, unused-ignore]
from django.db import DatabaseError, InterfaceError, connections, router
from django.utils.translation import gettext as _

import qorworker
from qorworker.attempts import rescue
from qorworker.backends.celery.backend import RUN_JOB, CeleryBackend, send_next
from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.models import Job, Outcome, Worker
from qorworker.models.worker import HEARTBEAT, WorkerKind
from qorworker.queues import backend_of
from qorworker.system import processes

logger = logging.getLogger(__name__)


class Row:
    """The row of this process. Its children, which are forked later, inherit its id."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.fields: dict[str, Any] = {}

    def register(self) -> None:
        worker = Worker.objects.using(_using()).start(
            kind=WorkerKind.CELERY,
            version=qorworker.__version__,
            job_types=registry.names(),
            versions=registry.versions(),
            **self.fields,
        )
        self.number = worker.pk

    def beat(self) -> None:
        """Send a heartbeat, with a new row if another process has closed this one."""
        if self.number is None or not Worker.objects.using(_using()).beat(self.number):
            self.register()

    def sign_off(self) -> None:
        if self.number is not None:
            Worker.objects.using(_using()).stop(self.number)


row = Row()


def _using() -> str:
    return router.db_for_write(Worker)


def _with_database(work: Callable[..., None]) -> Callable[..., None]:
    """Surround what a signal calls: Celery continues even if the database fails."""

    @functools.wraps(work)
    def call(*args: Any, **kwargs: Any) -> None:
        try:
            work(*args, **kwargs)
        except (DatabaseError, InterfaceError):
            logger.warning("The database does not know of this worker, or of a job that it lost.", exc_info=True)
        finally:
            connections.close_all()

    return call


def served(names: set[str]) -> list[str]:
    """Return the queues whose jobs come through these queues of the broker."""
    return [
        name
        for name in settings.QUEUES
        if isinstance(backend := backend_of(name), CeleryBackend) and backend.broker_queue() in names
    ]


def said_to_be_prefork(queues: Iterable[str], pool: type) -> list[str]:
    """Return those of these queues whose options promise a prefork pool, if *pool* is of another kind."""
    if issubclass(pool, TaskPool):
        return []
    return [name for name in queues if backend_of(name).supports_kill]


@_with_database
def on_setup(name: str, instance: Any) -> None:
    queues = served(set(instance.app.amqp.queues.consume_from))
    if not queues:
        return
    for queue in said_to_be_prefork(queues, instance.pool_cls):
        logger.warning(
            "The queue “%s” is served by a pool that is not prefork: nothing ends its jobs from outside, and limits of"
            " time and memory are not kept. Name the pool in the queue's OPTIONS: POOL.",
            queue,
        )
    me = processes.identity()
    row.fields = {
        "name": name,
        "host": me.host,
        "process_id": me.process_id,
        "boot_id": me.boot_id,
        "pid_namespace": me.pid_namespace,
        "process_started": me.process_started,
        "queues": queues,
        "slots": instance.concurrency or 1,
    }
    row.register()


@signals.worker_ready.connect(weak=False)  # type: ignore[untyped-decorator, unused-ignore]
def on_ready(sender: Any, **kwargs: Any) -> None:
    if row.fields:
        sender.timer.call_repeatedly(HEARTBEAT, _with_database(row.beat))


@signals.worker_shutdown.connect(weak=False)  # type: ignore[untyped-decorator, unused-ignore]
@_with_database
def on_shutdown(**kwargs: Any) -> None:
    row.sign_off()


@signals.task_failure.connect(weak=False)  # type: ignore[untyped-decorator, unused-ignore]
def on_failure(sender: Any, exception: BaseException, args: Any, **kwargs: Any) -> None:
    """Settle the job of a child that ended in the middle of it. Its expired lease would reveal that only later."""
    if sender.name == RUN_JOB and isinstance(exception, WorkerLostError):
        _with_database(settle)(*args, str(exception))


def settle(job_id: int, using: str, failure: str) -> None:
    """End the attempt of a child of this process that is gone. If the attempt had not begun, send the job again."""
    jobs = Job.objects.using(using).filter(pk=job_id)
    job = jobs.first()
    if job is None:
        return
    if job.status == "new":
        send_next(job, "new")
    elif job.status == "running" and job.worker_id == row.number and processes.provably_gone(job.process_id or 0):
        text = _("The process ended unexpectedly: %s.") % failure.partition(" Job:")[0].rstrip(".")
        rescue.end_lost(using, job, job.worker, text, Outcome.CRASHED)
        send_next(jobs.first(), "scheduled")
