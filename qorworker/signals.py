"""Django signals of a job's life, and the receivers that log them.

Each is sent when what it tells has been committed, and its receivers harm nobody: what they raise is logged. A comment
names the sender, the process and the arguments.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal, receiver

logger = logging.getLogger(__name__)

# Sender: Job. In the process that enqueued.
job_enqueued = Signal()  # job

# Sender: Job. In the worker's parent process; for other backends in the process that runs the job.
job_started = Signal(use_caching=True)  # job_id, name, attempt: its handler is about to be called
job_progressed = Signal(use_caching=True)  # job_id, name, progress, text: at most twice a second
# An attempt has ended. status: where the job is now, "scheduled" if it is tried again; outcome: of the attempt, empty
# for a job that was cancelled, and then in the process that cancelled it; duration: seconds.
job_finished = Signal(use_caching=True)  # job_id, name, attempt, status, outcome, error, duration

# Sender: Worker. In the worker's parent process.
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
