"""Notifies backends of jobs that can start. All processes but children."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from django.db import Error, transaction

from qorworker.conf import settings
from qorworker.models import Job, JobQuerySet, Pause, Worker
from qorworker.models.limits import free_to_start
from qorworker.queues import BaseBackend, backend_of
from qorworker.system.processes import monotonic

logger = logging.getLogger(__name__)

AT_ONCE = 500  # jobs of a backend in one call
TOGETHER = 20  # jobs in one notification


def backends_to_notify() -> list[BaseBackend]:
    """Return the backends that have to be notified of jobs."""
    made = [backend_of(name) for name in settings.QUEUES]
    return [backend for backend in made if not backend.is_served_by_workers and not backend.runs_in_caller]


def queues_of_callers() -> list[str]:
    """Return the queues whose jobs run in the process that enqueues them."""
    return [name for name in settings.QUEUES if backend_of(name).runs_in_caller]


def hand_over(using: str) -> int:
    """Notify each backend of due jobs, and again of those whose message is too old or may be lost. Return how many.

    A backend whose broker is down is notified the next time.
    """
    return sum(hand_over_to(backend, using) for backend in backends_to_notify())


def hand_over_to(backend: BaseBackend, using: str, seconds: float = math.inf) -> int:
    """Do this for one backend.

    :param seconds: after this time it is notified of no more jobs in this call.
    """
    paused = Pause.objects.using(using).paused()
    name, patience, jobs = backend.queue_name, backend.renotify_after, Job.objects.using(using)
    waiting = jobs.to_hand_over(name, patience).not_paused(paused)
    found = {job.pk: job for job in without_held(waiting, [name], AT_ONCE)}
    # A worker that dies loses the messages that it had fetched. No row says which these are, so all waiting jobs are
    # sent again: a second message about a job runs nothing. Only some are sent at a time, so that others do not wait.
    if death := Worker.objects.using(using).last_death(name, patience):
        lost = jobs.handed_over_before(name, death).not_paused(paused)
        found |= {job.pk: job for job in without_held(lost, [name], TOGETHER)}
    return _notify(backend, list(found.values()), seconds)


def _notify(backend: BaseBackend, jobs: Sequence[Job], seconds: float) -> int:
    number, end = 0, monotonic() + seconds
    for start in range(0, len(jobs), TOGETHER):
        # A notification about a locked job could not be recorded, and would come again each time.
        some = without_locked(jobs[start : start + TOGETHER])
        try:
            if some:
                backend.jobs_ready(some)
        except Error:
            raise
        except Exception:
            logger.exception("Jobs of the queue “%s” could not be handed over to their backend.", backend.queue_name)
            break
        number += len(some)
        if monotonic() >= end:
            break
    return number


def without_locked(jobs: Sequence[Job]) -> list[Job]:
    """Return those of these jobs, of one database, whose rows no other transaction has locked."""
    if not jobs:
        return []
    rows = Job.objects.using(jobs[0]._state.db)
    with transaction.atomic(using=rows.db):
        free = set(rows.filter(pk__in=[job.pk for job in jobs]).unlocked().values_list("pk", flat=True))
    return [job for job in jobs if job.pk in free]


_looked_at: dict[tuple[str, str], str] = {}  # if very many limit keys wait: the one after which the next look continues


def without_held(jobs: JobQuerySet, queues: Sequence[str], most: int) -> list[Job]:
    """Return at most *most* of these waiting jobs of some queues, without those that a limit holds."""
    free: list[int] = []
    for place in ((jobs.db, queue) for queue in queues):
        ids, _looked_at[place] = free_to_start(*place, _looked_at.get(place, ""))
        free += ids
    return [*(jobs.filter(pk__in=free) if free else ()), *jobs.unlimited()[:most]][:most]


def after_pause(using: str) -> None:
    """Start the jobs that waited for the end of a pause, where no ``runworker`` looks for them."""
    hand_over(using)
    paused = Pause.objects.using(using).paused()
    for name in queues_of_callers():
        waiting = Job.objects.using(using).queued().filter(queue_name=name).not_paused(paused)
        backend_of(name).jobs_ready(without_held(waiting.order_by("-priority", "id"), [name], AT_ONCE))
