"""Takes jobs over from owners that do not answer, and ends their attempts. All processes but those of jobs."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace

from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import End, Writer
from qorworker.conf import settings
from qorworker.models import Job, Outcome, Worker
from qorworker.models.sql import Claimed


def take_over(using: str, pk: int, token: str) -> Job | None:
    """Become the owner of a job whose lease has passed, if *token* still owns it. None if its owner was faster."""
    jobs = Job.objects.using(using)
    if not jobs.seize(pk, token, secrets.token_hex(16), float(settings.LEASE)):
        return None
    return jobs.select_related("worker").filter(pk=pk).first()  # the job or its worker may have been deleted


def end_lost(using: str, job: Job, worker: Worker | None, text: str, outcome: str = Outcome.LOST) -> int:
    """End an attempt for a worker that cannot, and return 1. Return 0 if the worker ended it after all.

    If its abort was requested, it ends as aborted.
    """
    if job.abort_requested_at is not None:
        outcome, text = Outcome.ABORTED, " ".join((_("Aborted."), text))
    return _end(Writer(using, *_named(worker)), job, _claimed(job), text, outcome)


def end_failed(using: str, pk: int, token: str, text: str) -> int:
    """End a job for good as failed, in the open transaction, and return 1. Return 0 if its owner answers.

    No attempt follows, however many are left. A requested abort does not end it as aborted: it is unknown whether
    its processes have stopped.
    """
    job = take_over(using, pk, token)
    if job is None:
        return 0
    last = replace(_claimed(job), max_attempts=job.attempt)
    return _end(Writer(using, *_named(job.worker), after_commit=True), job, last, text, Outcome.LOST)


def _end(writer: Writer, job: Job, claimed: Claimed, text: str, outcome: str) -> int:
    attempt = RunningAttempt(claimed, writer.using, process_id=job.process_id)
    attempt.progress, attempt.progress_text = job.progress, job.progress_text
    duration = (timezone.now() - job.last_attempted_at).total_seconds() if job.last_attempted_at else 0.0
    writer.end(End(attempt, attempt.end(outcome, text), outcome, duration=max(0.0, duration), foreign=True))
    refusals = -1
    while attempt.refusals > refusals:  # after some refusals it ends in another way, or for good
        refusals = attempt.refusals
        writer.flush(())
    return int(not attempt.lost and not writer.deferred)


def _named(worker: Worker | None) -> tuple[int | None, str]:
    return (worker.pk, worker.name) if worker is not None else (None, "")


def _claimed(job: Job) -> Claimed:
    return Claimed(
        id=job.pk,
        priority=job.priority,
        name=job.name,
        queue_name=job.queue_name,
        arguments=json.dumps(job.arguments),
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        crashes=job.crashes,
        log_lines=job.log_lines,
        log_bytes=job.log_bytes,
        log_dropped=job.log_dropped,
        results_rows=job.results_rows,
        results_errors=job.results_errors,
        token=job.attempt_token or "",
        limit_key=job.limit_key,
        has_dependents=job.has_dependents,
        batch_id=job.batch_id,
    )
