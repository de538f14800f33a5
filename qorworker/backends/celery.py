"""Jobs that run on a Celery cluster. Wherever such a job is enqueued, and in the processes of Celery's workers.

A message is only a hint with the number of a job: whoever claims the row runs it, so a message that comes twice, late
or not at all does no harm.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery import current_app, shared_task, signals  # type: ignore[import-not-found, import-untyped, unused-ignore]
from django.core import checks
from django.db import InterfaceError, OperationalError, router
from django.utils.translation import gettext as _

from qorworker.backends.base import BaseBackend

if TYPE_CHECKING:
    from qorworker.models import Job

logger = logging.getLogger(__name__)

TOLD_AGAIN = 3600.0  # seconds after which a waiting job is sent once more: its message may be lost
SOON = TOLD_AGAIN / 2  # seconds: Redis delivers again what it gave to a worker an hour ago
CLOCKS_DIFFER = 5.0  # seconds by which those of a worker and of the database may
LATER = 5.0  # seconds until a job is tried again with which the database was out of order
PREFORK = "prefork"
RUN_JOB = "qorworker.run_job"
CELERY_PRIORITIES = 9


class CeleryBackend(BaseBackend):
    """``OPTIONS``: ``CELERY_QUEUE`` is the queue at the broker (default: as Celery routes); ``POOL`` the kind of pool
    that serves it (default ``"prefork"``); ``PRIORITIES`` says whether the broker knows them.

    In another pool than ``prefork`` a job cannot be ended from outside: it has to look for an abort, and its limits are
    not kept. What it prints lands in its log as long as Celery passes that to ``logging``, as it does by default.
    """

    patience = TOLD_AGAIN
    known_options = frozenset({"CELERY_QUEUE", "POOL", "PRIORITIES"})

    def __init__(self, queue_name: str, options: Mapping[str, Any]) -> None:
        super().__init__(queue_name, options)
        is_prefork = options.get("POOL", PREFORK) == PREFORK
        self.supports_kill = self.supports_limits = is_prefork
        self.supports_priority = bool(options.get("PRIORITIES", False))

    def jobs_ready(self, jobs: Sequence[Job]) -> None:
        from qorworker.models import Job

        for job in jobs:
            self.send(job)
            Job.objects.using(job._state.db).note_handed_over(job.pk)

    def jobs_waiting(self, jobs: Sequence[Job]) -> None:
        """Celery keeps those that are due soon, so that they start on time; later ones would fill its workers."""
        for job in jobs:
            if (seconds := job.due_in()) < SOON:
                self.send(job, countdown=max(0.0, seconds))

    def send(self, job: Job, *, countdown: float | None = None) -> None:
        """A message about the job, to be read in so many seconds."""
        options: dict[str, Any] = {"retry": False, "countdown": countdown}
        if queue := self.options.get("CELERY_QUEUE"):
            options["queue"] = queue
        if self.supports_priority:
            options["priority"] = round((job.priority + 100) / 200 * CELERY_PRIORITIES)
        run_job.apply_async((job.pk, job._state.db or "default"), **options)

    def broker_queue(self) -> str:
        """The name of the queue at the broker through which the jobs go."""
        options = {"queue": queue} if (queue := self.options.get("CELERY_QUEUE")) else {}
        return str(current_app.amqp.router.route(options, RUN_JOB)["queue"].name)

    def silence(self) -> str:
        from qorworker.models import Worker

        if Worker.objects.alive().serves(self.queue_name):
            return ""
        return _("No worker of Celery serves the queue “%s”.") % self.queue_name

    def check(self) -> list[checks.CheckMessage]:
        if current_app.conf.broker_url or os.environ.get("CELERY_BROKER_URL"):
            return []
        return [
            checks.Warning(
                f"Queue {self.queue_name!r} belongs to Celery, and no Celery app with a broker is loaded.",
                hint="Import your app in the project's __init__, as Celery's documentation for Django shows.",
                id="qorworker.W040",
            )
        ]


@shared_task(  # type: ignore[untyped-decorator, unused-ignore]
    bind=True, name=RUN_JOB, acks_late=True, reject_on_worker_lost=False, ignore_result=True, max_retries=None
)
def run_job(self: Any, job_id: int, using: str) -> str:
    """Run one attempt of a job, if it still waits and its time has come."""
    try:
        return _run(self, job_id, using)
    except (OperationalError, InterfaceError) as error:
        # Else its message would be gone, and the next one come much later.
        raise self.retry(exc=error, countdown=LATER) from error


def _run(task: Any, job_id: int, using: str) -> str:
    from qorworker.backends.celery_worker import row
    from qorworker.backends.inprocess import run_stored
    from qorworker.backends.prefork import Guard, is_child
    from qorworker.models import Job

    jobs = Job.objects.using(using).filter(pk=job_id)
    jobs.promote_due()
    me: dict[str, Any] = {"worker_name": str(task.request.hostname or "celery"), "worker_id": row.number}
    if not is_child():
        status = run_stored(job_id, using, **me)
        send_next(jobs.first(), status)
    else:
        with Guard() as guard:
            status = guard.run(job_id, using, **me)
            send_next(jobs.first(), status)
    return status or "not waiting"


def send_next(job: Job | None, status: str | None) -> None:
    """Send a job again that waits for its next attempt, was interrupted, or whose message came before its time."""
    from qorworker.backends import backend_of

    backend = backend_of(job.queue_name) if job is not None else None
    if job is None or not isinstance(backend, CeleryBackend):
        return
    if status == "new" and job.status == "new":
        backend.jobs_ready([job])
    elif job.status == "scheduled" and (status == "scheduled" or job.due_in() < CLOCKS_DIFFER):
        backend.jobs_waiting([job])


@shared_task(name="qorworker.tend", ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
def tend(using: str | None = None) -> None:
    """For Celery's beat, where no ``runworker`` does it: schedules, due jobs, lost messages, dead workers."""
    from qorworker.models import Job
    from qorworker.worker import tending

    tending.tend(using or router.db_for_write(Job))


@signals.celeryd_after_setup.connect(weak=False)  # type: ignore[untyped-decorator, unused-ignore]
def on_setup(sender: str, instance: Any, **kwargs: Any) -> None:
    """In a process that becomes a worker of Celery, before it has children."""
    from qorworker.backends import celery_worker

    celery_worker.on_setup(sender, instance)
