"""Django signals of a job's life, and the receivers that log them. Each signal's comment names its process."""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal, receiver

logger = logging.getLogger(__name__)

job_enqueued = Signal()  # job: after the enqueuing transaction committed; in the process that enqueued

# In the worker's parent process.
job_started = Signal(use_caching=True)  # job_id, name, attempt: its handler is about to be called
job_progressed = Signal(use_caching=True)  # job_id, name, progress, text: at most twice a second
job_finished = Signal(use_caching=True)  # job_id, name, status, error: its end is committed
worker_started = Signal()  # worker: the row of a runworker that is ready
worker_stopped = Signal()  # worker: the row of a runworker that ended in order


@receiver(job_enqueued)
def log_enqueued(job: Any, **kwargs: Any) -> None:
    logger.debug("Job %s (%s) was enqueued.", job.pk, job.name)


@receiver(job_finished)
def log_finished(job_id: int, name: str, status: str, error: str, **kwargs: Any) -> None:
    if status == "exception":
        logger.warning("Job %s (%s) failed: %s", job_id, name, error)
    else:
        logger.info("Job %s (%s) is %s.", job_id, name, status)


@receiver(worker_started)
def log_worker_started(worker: Any, **kwargs: Any) -> None:
    logger.info("Worker %s is ready: %s slots, queues %s.", worker.name, worker.slots, ", ".join(worker.queues))


@receiver(worker_stopped)
def log_worker_stopped(worker: Any, **kwargs: Any) -> None:
    logger.info("Worker %s has stopped.", worker.name)
