"""Tells the log and the receivers of signals what was written of attempts. In the process that owns them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from django.db import Error

from qorworker.attempts.attempt import RunningAttempt
from qorworker.models import Job
from qorworker.signals import job_finished, job_progressed, log_finished
from qorworker.status import FINISHED

if TYPE_CHECKING:
    from qorworker.attempts.writer import End

logger = logging.getLogger(__name__)


def report(using: str, ends: Sequence[End], progressed: Sequence[RunningAttempt]) -> None:
    """Log these ends and send the signals about them and about progress: all of it is written."""
    for end in ends:
        if not end.outcome and (end.attempt.lost or end.update.status not in FINISHED):
            continue  # it only went back into the queue, unless its abort had been requested
        if end.attempt.lost and not _written_before(using, end):
            logger.warning(
                "Job %s was taken over while this worker ran it; its end (%s) was not written.",
                end.attempt.job.id,
                end.outcome,
            )
        else:
            _announce(end)
    if job_progressed.has_listeners(Job):
        for attempt in progressed:
            job_progressed.send_robust(
                Job,
                job_id=attempt.job.id,
                name=attempt.job.name,
                progress=attempt.progress,
                text=attempt.progress_text or "",
            )


def _written_before(using: str, end: End) -> bool:
    """Whether an earlier write without an answer stored this end after all. False if that is unknown."""
    job = end.attempt.job
    with suppress(Error):
        return Job.objects.using(using).ended_as(job.id, job.attempt, end.update.status).exists()
    return False


def _announce(end: End) -> None:
    job, update = end.attempt.job, end.update
    log_finished(job.id, job.name, update.status, update.error)
    if job_finished.has_listeners(Job):
        job_finished.send_robust(
            Job,
            job_id=job.id,
            name=job.name,
            attempt=job.attempt - (not end.outcome),  # its handler was not called
            status=update.status,
            outcome=str(end.outcome),
            error=update.error,
            duration=end.duration,
        )
