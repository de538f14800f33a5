"""Lets workers and backends know, after the commit, that jobs can start. All processes.

This is a hint, not a promise: workers also look by themselves, and so do those that hand jobs over to backends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction

from qorworker.queues import backend_of, notify
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job

_is_worker: ContextVar[bool] = ContextVar("is_worker", default=False)


@contextmanager
def as_worker() -> Iterator[None]:
    """Let a worker start no jobs of queues whose jobs run in their caller: it would stand still meanwhile.

    It takes them over as those that a caller has left behind.
    """
    token = _is_worker.set(True)
    try:
        yield
    finally:
        _is_worker.reset(token)


def wake(using: str) -> None:
    """Wake idle workers where the database can pass that on. Inside a transaction it does so after the commit."""
    connection = transaction.get_connection(using)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify('qorworker', '')")


def let_start(jobs: Sequence[Job], using: str, *, released: bool = False) -> None:
    """Let workers and backends know after the commit that *jobs* can start, at once or at their time.

    :param released: whether they have waited for other jobs.
    """
    if jobs:
        wake(using)
        transaction.on_commit(partial(_notify_backends, jobs, using, released), using=using, robust=True)


def _notify_backends(jobs: Sequence[Job], using: str, released: bool) -> None:
    queues = defaultdict(list)
    for job in jobs:
        queues[job.queue_name].append(job.pk)
    for name, ids in queues.items():
        backend = backend_of(name)
        if not backend.is_served_by_workers and not (backend.runs_in_caller and _is_worker.get()):
            rows = list(type(jobs[0]).objects.using(using).filter(pk__in=ids))
            if released:
                backend.jobs_released([row for row in rows if row.status == JobStatus.NEW])
                rows = [row for row in rows if row.status != JobStatus.NEW]
            notify(rows, backend)
