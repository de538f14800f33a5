"""The verbs of a batch: those of its jobs, for all of them. All processes.

These functions are methods of ``Batch``. They commit some hundreds of jobs at a time, and write the history of each
job, as the verbs of a ``JobQuerySet`` do: if one is interrupted, what it has committed stays. The two jobs that wait
for the end of the batch are not among its jobs.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from qorworker.models import waiting
from qorworker.models.alters import alters_data
from qorworker.models.audit import Origin
from qorworker.models.own import write_database

if TYPE_CHECKING:
    from qorworker.models.batch import Batch
    from qorworker.models.job_queries import JobQuerySet


def jobs_of(batch: Batch) -> JobQuerySet:
    """Return the jobs of *batch* that still exist."""
    model: Any = type(batch)._meta.get_field("then").related_model  # that module imports the one of the batch
    rows: JobQuerySet = model.objects.using(write_database(batch))
    return rows.filter(batch_id=batch.pk)


@alters_data
def cancel(self: Batch, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> int:
    """Withdraw the jobs that have not started, as ``Job.cancel`` does.

    :param by: the user who cancels them, for the audit.
    :param reason: the reason, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs that were cancelled.
    """
    return jobs_of(self).cancel(by=by, reason=reason, origin=origin)


@alters_data
def abort(self: Batch, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> int:
    """Withdraw the jobs that have not started, and request the end of those that run, as ``Job.abort`` does.

    Jobs in queues whose backend cannot abort go on to their end.

    :param by: the user who aborts them, for the audit.
    :param reason: the reason, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs that were cancelled, or whose abort was requested now.
    """
    cancelled = cancel(self, by=by, reason=reason, origin=origin)
    return cancelled + jobs_of(self).abort(by=by, reason=reason, origin=origin)


@alters_data
def pause(self: Batch, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> int:
    """Pause the jobs that wait, and those that run a loop, as ``Job.pause`` does.

    :param by: the user who pauses them, for pages and the audit.
    :param reason: the reason, for pages and the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs that are paused now, or whose pause was requested now.
    """
    return jobs_of(self).pause(by=by, reason=reason, origin=origin)


@alters_data
def resume(self: Batch, *, by: Any = None, origin: str = Origin.CODE) -> int:
    """Let the paused jobs go on, as ``Job.resume`` does.

    :param by: the user who resumes them, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the number of jobs that were resumed.
    """
    return jobs_of(self).resume(by=by, origin=origin)


@alters_data
def retry_failed(self: Batch, *, by: Any = None, origin: str = Origin.CODE, error: str | None = None) -> int:
    """Queue the jobs that failed or were aborted for one more attempt, as ``Job.retry`` does.

    The batch is open again until they have ended.

    :param by: the user who retries them, for the audit.
    :param origin: where the request comes from, for the audit.
    :param error: only those with this error; None: all of them.
    :returns: the number of jobs that were queued.

    Example::

        batch.retry_failed(by=request.user)
    """
    jobs = jobs_of(self).ended_badly()
    return (jobs if error is None else jobs.with_error(error)).retry(by=by, origin=origin)


@alters_data
def rerun(self: Batch, *, by: Any = None, origin: str = Origin.CODE) -> Batch:
    """Enqueue a new batch with a job like each of these, and with the same jobs at its end. This one stays as it is.

    Jobs whose code is gone or whose arguments no longer fit are left out, as ``JobQuerySet.rerun`` does.

    :param by: the user who runs them again, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: the new batch.
    :raises ValueError: if none of its jobs can run again: they were deleted, for instance.
    """
    from qorworker.actions import batching  # noqa: PLC0415 - stands above the rows

    return batching.rerun(self, by=by, origin=origin)


def wait(self: Batch, timeout: float | dt.timedelta | None = None) -> None:
    """Return when all jobs of the batch have ended; those that wait for that may still run. Its fields are fresh then.

    :param timeout: how long to wait at most, in seconds or as a timedelta; None: without limit.
    :raises qorworker.exceptions.BatchTimeout: if they have not ended by then.
    :raises django.db.transaction.TransactionManagementError: inside a transaction, which would keep them from starting.
    """
    for pause in waiting.pauses_of_batch(self, write_database(self), timeout):
        time.sleep(pause)


async def await_finished(self: Batch, timeout: float | dt.timedelta | None = None) -> None:
    """Do what ``wait`` does, for coroutines."""
    pauses = waiting.pauses_of_batch(self, write_database(self), timeout)
    while (pause := await sync_to_async(lambda: next(pauses, None))()) is not None:
        await asyncio.sleep(pause)
