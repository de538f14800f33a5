"""The backend whose jobs run on a Celery cluster. Web, commands, and the processes of Celery's workers.

A message is only a hint with the id of a job. The process that claims the row runs the job, so a message that comes
twice, late or not at all does no harm.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery import current_app  # type: ignore[import-not-found, import-untyped, unused-ignore]
from django.core import checks
from django.utils.translation import gettext as _

from qorworker.queues import backend_of
from qorworker.queues.base import BaseBackend

if TYPE_CHECKING:
    from qorworker.models import Job

logger = logging.getLogger(__name__)

RENOTIFY_AFTER = 3600.0  # seconds after which a waiting job is sent once more: its message may be lost
SOON = RENOTIFY_AFTER / 2  # seconds: Redis delivers again what it gave to a worker an hour ago
CLOCKS_DIFFER = 5.0  # seconds by which those of a worker and of the database may
PREFORK = "prefork"
RUN_JOB = "qorworker.run_job"
CELERY_PRIORITIES = 9


class CeleryBackend(BaseBackend):
    """Runs jobs on the workers of Celery.

    ``OPTIONS``: ``CELERY_QUEUE`` is the queue of the broker (default: as Celery routes), ``POOL`` the kind of pool that
    serves it (default ``"prefork"``), and ``PRIORITIES`` says whether the broker supports priorities.

    In another pool than ``prefork`` a job cannot be ended from outside: its code has to check for an abort, and limits
    are not enforced. Its log has what it prints as long as Celery passes that to ``logging``, as it does by default.
    """

    renotify_after = RENOTIFY_AFTER
    known_options = frozenset({"CELERY_QUEUE", "POOL", "PRIORITIES"})

    def __init__(self, queue_name: str, options: Mapping[str, Any]) -> None:
        super().__init__(queue_name, options)
        is_prefork = options.get("POOL", PREFORK) == PREFORK
        self.supports_kill = self.supports_limits = is_prefork
        self.supports_priority = bool(options.get("PRIORITIES", False))

    def jobs_ready(self, jobs: Sequence[Job]) -> None:
        from qorworker.models import Job

        sent: list[Job] = []
        try:
            for job in jobs:
                self.send(job)
                sent.append(job)
        finally:
            if sent:
                Job.objects.using(sent[0]._state.db).note_handed_over(*(job.pk for job in sent))

    def jobs_waiting(self, jobs: Sequence[Job]) -> None:
        """Send those that are due soon to Celery, so that they start on time. Later ones would fill its workers."""
        for job in jobs:
            if (seconds := job.due_in()) < SOON:
                self.send(job, countdown=max(0.0, seconds))

    def send(self, job: Job, *, countdown: float | None = None) -> None:
        """Send a message about the job, to be read in *countdown* seconds."""
        options: dict[str, Any] = {"retry": False, "countdown": countdown}
        if queue := self.options.get("CELERY_QUEUE"):
            options["queue"] = queue
        if self.supports_priority:
            options["priority"] = round((job.priority + 100) / 200 * CELERY_PRIORITIES)
        current_app.tasks[RUN_JOB].apply_async((job.pk, job._state.db or "default"), **options)

    def broker_queue(self) -> str:
        """The queue of the broker through which the jobs go."""
        options = {"queue": queue} if (queue := self.options.get("CELERY_QUEUE")) else {}
        return str(current_app.amqp.router.route(options, RUN_JOB)["queue"].name)

    def stalled_reason(self) -> str:
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


def send_next(job: Job | None, status: str | None) -> None:
    """Send a job again that waits for its next attempt, was interrupted, or whose message came before its time."""
    backend = backend_of(job.queue_name) if job is not None else None
    if job is None or not isinstance(backend, CeleryBackend):
        return
    if status == "new" and job.status == "new":
        backend.jobs_ready([job])
    elif job.status == "scheduled" and not job.is_paused and (status == "scheduled" or job.due_in() < CLOCKS_DIFFER):
        backend.jobs_waiting([job])
