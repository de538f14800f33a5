"""The Django signals of a job's life, and the receivers that log them. All processes.

Each signal is sent after the commit of what it reports. Exceptions of receivers are logged and do no harm. A comment
names the sender, the process and the arguments.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import connections
from django.dispatch import Signal, receiver

from qorworker.text.cleaning import visible

logger = logging.getLogger(__name__)

# Sender: Job. In the process that enqueued.
job_enqueued = Signal(use_caching=True)  # job

# Sender: Job. Before the commit, for a rehearsal, whose commit never comes. Not for projects.
jobs_stored = Signal(use_caching=True)  # using, names: the types of jobs that were stored, one for each job

# Sender: Job. Before the rows are stored, in the process that enqueues: receivers may add to ``job.meta``. For the
# modules in ``contrib``, not for projects.
jobs_made = Signal(use_caching=True)  # jobs: of one type, not stored yet

# Sender: Job. In the worker's parent process; for other backends in the process that runs the job.
job_started = Signal(use_caching=True)  # job_id, name, attempt: its handler is about to be called
job_progressed = Signal(use_caching=True)  # job_id, name, progress, text: at most twice a second
# An attempt has ended. status: where the job is now, "scheduled" if it is tried again; outcome: of the attempt, empty
# for a job that was cancelled, and then in the process that cancelled it, and for one that was aborted before its
# handler was called; duration: seconds.
job_finished = Signal(use_caching=True)  # job_id, name, attempt, status, outcome, error, duration

# Sender: Worker. In the worker's parent process.
worker_started = Signal()  # worker: the row of a runworker that is ready
worker_stopped = Signal()  # worker: the row of a runworker that ended in order

# Sender: Message. In the process that finds that the last attempt at sending has failed.
message_failed = Signal()  # message: its row, with the error


def log_enqueued(jobs: Iterable[Any]) -> None:
    """Log that *jobs* were enqueued. No receiver: most enqueued jobs then need no signal at all."""
    if logs_enqueued():
        for job in jobs:
            logger.debug("Job %s (%s) was enqueued.", job.pk, job.name)


def logs_enqueued() -> bool:
    return logger.isEnabledFor(logging.DEBUG)


def log_finished(job_id: int, name: str, status: str, error: str) -> None:
    """Log where an attempt has left its job. No receiver: most ended jobs then need no signal at all."""
    with suppress(Exception):  # a handler of the project's may fail, and what was committed must not get lost over it
        if status == "exception":
            logger.warning("Job %s (%s) failed: %s", job_id, name, visible(error))
        elif logger.isEnabledFor(logging.INFO):
            logger.info("Job %s (%s) is %s.", job_id, name, status)


@receiver(worker_started)
def log_worker_started(worker: Any, **kwargs: Any) -> None:
    logger.info(
        "Worker %s is ready: %s slots, queues %s, settings %s, database %r (%s).",
        worker.name, worker.slots, ", ".join(worker.queues), settings.SETTINGS_MODULE,
        (using := worker._state.db or "default"), connections[using].settings_dict["NAME"],
    )  # fmt: skip


@receiver(worker_stopped)
def log_worker_stopped(worker: Any, **kwargs: Any) -> None:
    logger.info("Worker %s has stopped.", worker.name)
