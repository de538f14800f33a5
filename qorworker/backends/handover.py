"""Tells backends of jobs that can start and of which they may not have heard. Parent process, and who tends jobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import Error

from qorworker.backends import BaseBackend, backend_of
from qorworker.conf import settings
from qorworker.models import Job, JobQuerySet, Pause
from qorworker.models.limits import free_to_start

logger = logging.getLogger(__name__)

AT_ONCE = 500  # jobs told of in one go


def told_backends() -> list[BaseBackend]:
    """The backends that have to be told of jobs."""
    made = [backend_of(name) for name in settings.QUEUES]
    return [backend for backend in made if not backend.is_served_by_workers and not backend.runs_in_caller]


def queues_of_callers() -> list[str]:
    """Queues whose jobs run where they are enqueued."""
    return [name for name in settings.QUEUES if backend_of(name).runs_in_caller]


def hand_over(using: str) -> int:
    """Tell each backend of jobs whose time has come, or of which it was told too long ago; how many.

    One whose broker is down is told the next time.
    """
    told, paused = 0, Pause.objects.using(using).paused()
    for backend in told_backends():
        waiting = Job.objects.using(using).to_hand_over(backend.queue_name, backend.patience).not_paused(paused)
        jobs = without_held(waiting, [backend.queue_name], AT_ONCE)
        if not jobs:
            continue
        try:
            backend.jobs_ready(jobs)
        except Error:
            raise
        except Exception:
            logger.exception("Jobs of the queue “%s” could not be handed over to their backend.", backend.queue_name)
        else:
            told += len(jobs)
    return told


_looked_at: dict[tuple[str, str], str] = {}  # where very many keys of limits wait: the one after which to go on


def without_held(jobs: JobQuerySet, queues: Sequence[str], most: int) -> list[Job]:
    """At most so many of these waiting jobs of some queues, without those that a limit holds."""
    free: list[int] = []
    for place in ((jobs.db, queue) for queue in queues):
        ids, _looked_at[place] = free_to_start(*place, _looked_at.get(place, ""))
        free += ids
    return [*(jobs.filter(pk__in=free) if free else ()), *jobs.unlimited()[:most]][:most]


def after_pause(using: str) -> None:
    """Something is no longer paused: have what waited started where no ``runworker`` looks for it."""
    hand_over(using)
    paused = Pause.objects.using(using).paused()
    for name in queues_of_callers():
        waiting = Job.objects.using(using).queued().filter(queue_name=name).not_paused(paused)
        backend_of(name).jobs_ready(without_held(waiting.order_by("-priority", "id"), [name], AT_ONCE))
