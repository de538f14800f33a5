"""How code waits for the end of a job, or of a batch: it polls, at first often, then once a second. All processes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.transaction import TransactionManagementError

from qorworker.exceptions import BatchTimeout, JobTimeout
from qorworker.status import FINISHED

if TYPE_CHECKING:
    from qorworker.models.batch import Batch
    from qorworker.models.job import Job

PAUSES = (0.01, 1.0)  # seconds between the first two polls, and at most
GROWTH = 1.4


def pauses(job: Job, using: str, timeout: float | dt.timedelta | None) -> Iterator[float]:
    """Yield the seconds to pause before each next look, until the job has ended. Then its fields are fresh.

    :raises qorworker.exceptions.JobTimeout: if it has not ended in time.
    :raises django.db.transaction.TransactionManagementError: inside a transaction.
    :raises Job.DoesNotExist: if its row is gone.
    """
    statuses, wait = type(job).objects.using(using).values_list("status", flat=True), Pauses(timeout)
    while (status := statuses.get(pk=job.pk)) not in FINISHED:
        _refuse_transaction(using, f"Job {job.pk} is {status}, and its end")
        if (pause := wait.next()) is None:
            raise JobTimeout(job.pk, status, wait.seconds or 0.0)
        yield pause
    job.refresh_from_db(using=using)


def pauses_of_batch(batch: Batch, using: str, timeout: float | dt.timedelta | None) -> Iterator[float]:
    """Do the same for a batch.

    :raises qorworker.exceptions.BatchTimeout: if its jobs have not all ended in time.
    :raises django.db.transaction.TransactionManagementError: inside a transaction.
    :raises Batch.DoesNotExist: if its row is gone.
    """
    ends, wait = type(batch).objects.using(using).values_list("ended_at", flat=True), Pauses(timeout)
    while ends.get(pk=batch.pk) is None:
        _refuse_transaction(using, f"Batch {batch.pk} has jobs that have not ended, and its end")
        if (pause := wait.next()) is None:
            raise BatchTimeout(batch.pk, wait.seconds or 0.0)
        yield pause
    batch.refresh_from_db(using=using)


class Pauses:
    """How long to pause before each next look, in all no longer than *timeout*."""

    def __init__(self, timeout: float | dt.timedelta | None) -> None:
        self.seconds = timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout
        self._begun, self._pause = time.monotonic(), PAUSES[0]

    def next(self) -> float | None:
        """Return the seconds of the next pause; None if the time is over."""
        pause, self._pause = self._pause, min(self._pause * GROWTH, PAUSES[1])
        left = pause if self.seconds is None else self._begun + self.seconds - time.monotonic()
        return min(pause, left) if left > 0 else None


def _refuse_transaction(using: str, what: str) -> None:
    if transaction.get_connection(using).in_atomic_block:
        raise TransactionManagementError(
            f"{what} cannot be waited for inside a transaction: a job that was"
            " enqueued in it is not started before it is committed."
        )
