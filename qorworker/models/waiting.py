"""How code waits for the end of a job: it polls, at first often and then once a second. All processes."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.transaction import TransactionManagementError

from qorworker.exceptions import JobTimeout
from qorworker.status import FINISHED

if TYPE_CHECKING:
    from qorworker.models.job import Job

PAUSES = (0.01, 1.0)  # seconds between the first two polls, and at most
GROWTH = 1.4


def pauses(job: Job, using: str, timeout: float | dt.timedelta | None) -> Iterator[float]:
    """Yield the seconds to pause before each next look, until the job has ended. Then its fields are fresh.

    :raises qorworker.exceptions.JobTimeout: if it has not ended in time.
    :raises django.db.transaction.TransactionManagementError: inside a transaction.
    :raises Job.DoesNotExist: if its row is gone.
    """
    seconds = timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout
    begun, (pause, longest) = time.monotonic(), PAUSES
    while (status := type(job).objects.using(using).values_list("status", flat=True).get(pk=job.pk)) not in FINISHED:
        if transaction.get_connection(using).in_atomic_block:
            raise TransactionManagementError(
                f"Job {job.pk} is {status}, and its end cannot be waited for inside a transaction: a job that was"
                " enqueued in it is not started before it is committed."
            )
        left = pause if seconds is None else begun + seconds - time.monotonic()
        if left <= 0:
            raise JobTimeout(job.pk, status, seconds or 0.0)
        yield min(pause, left)
        pause = min(pause * GROWTH, longest)
    job.refresh_from_db(using=using)
