"""The queries of the page of the workers. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.db.models import Case, IntegerField, QuerySet, Value, When

from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.job import Job
from qorworker.models.worker import SILENT_AFTER, Worker

AT_ONCE = 500  # running jobs on the page


def in_order() -> QuerySet[Any]:
    """Return all workers: by ``place`` those alive first, then those gone without a report, then those that stopped."""
    place = Case(
        When(stopped_at=None, heartbeat_at__gte=DatabaseNow(-SILENT_AFTER), then=Value(0)),
        When(stopped_at=None, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )
    return Worker.objects.annotate(place=place)


def jobs_of(workers: Iterable[Worker]) -> dict[int, list[Job]]:
    """Return the running jobs of these workers, by the worker's id; the earliest first."""
    by_worker: dict[int, list[Job]] = {}
    running = Job.objects.running().filter(worker__in=[worker.pk for worker in workers])
    for job in running.order_by("last_attempted_at", "id")[:AT_ONCE]:
        by_worker.setdefault(job.worker_id or 0, []).append(job)
    return by_worker


def served_queues() -> set[str]:
    """The queues that a worker serves which is alive."""
    return {queue for queues in Worker.objects.alive().values_list("queues", flat=True) for queue in queues}


def now() -> dt.datetime:
    """By the database's clock, with which workers show their signs of life."""
    return database_now(Worker.objects.all().db)
