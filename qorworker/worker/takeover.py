"""Takes jobs from owners that do not answer, and ends attempts in their name. All processes but those of jobs."""

from __future__ import annotations

import secrets
from dataclasses import replace

from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker.conf import settings
from qorworker.models import Job, Outcome, Worker
from qorworker.models.sql import Claimed
from qorworker.worker.attempt import RunningAttempt
from qorworker.worker.writer import End, Writer


def seize(using: str, pk: int, token: str) -> Job | None:
    """Become the owner of a job whose lease is past, if *token* still owns it; None if that one was faster."""
    jobs = Job.objects.using(using)
    if not jobs.seize(pk, token, secrets.token_hex(16), float(settings.LEASE)):
        return None
    return jobs.select_related("worker").filter(pk=pk).first()  # it may have been deleted, and so may its worker


def settle(using: str, job: Job, worker: Worker | None, text: str, outcome: str = Outcome.LOST) -> int:
    """End the attempt in the name of the worker that cannot; 0 if it did after all.

    If somebody had asked for its abort, that is how it ends.
    """
    if job.abort_requested_at is not None:
        outcome, text = Outcome.ABORTED, " ".join((_("Aborted."), text))
    return _end(Writer(using, *_named(worker)), job, _claimed(job), text, outcome)


def fail(using: str, pk: int, token: str, text: str) -> int:
    """End a job for good as failed, as part of the open transaction, if its owner does not answer; else 0.

    No attempt follows, however many are left, and that an abort was asked for does not make it one: nobody knows
    whether anything has stopped.
    """
    job = seize(using, pk, token)
    if job is None:
        return 0
    last = replace(_claimed(job), max_attempts=job.attempt)
    return _end(Writer(using, *_named(job.worker), after_commit=True), job, last, text, Outcome.LOST)


def _end(writer: Writer, job: Job, claimed: Claimed, text: str, outcome: str) -> int:
    attempt = RunningAttempt(claimed, writer.using, process_id=job.process_id)
    attempt.progress, attempt.progress_text = job.progress, job.progress_text
    duration = (timezone.now() - job.last_attempted_at).total_seconds() if job.last_attempted_at else 0.0
    writer.end(End(attempt, attempt.end(outcome, text), outcome, duration=max(0.0, duration)))
    writer.flush(())
    return int(not attempt.lost and not writer.held_up)


def _named(worker: Worker | None) -> tuple[int | None, str]:
    return (worker.pk, worker.name) if worker is not None else (None, "")


def _claimed(job: Job) -> Claimed:
    return Claimed(
        job.pk,
        job.priority,
        job.name,
        job.queue_name,
        "{}",
        job.attempt,
        job.max_attempts,
        job.crashes,
        job.log_lines,
        job.log_bytes,
        job.log_dropped,
        job.results_rows,
        job.results_errors,
        job.attempt_token or "",
        limit_key=job.limit_key,
    )
