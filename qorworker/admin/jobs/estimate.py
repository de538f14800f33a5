"""The estimate of how long a job still takes, and whether it takes longer than usual. Web."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass

from qorworker.models import Job
from qorworker.status import JobStatus

PROGRESS_NEEDS, SECONDS_NEEDED = 5, 10  # per cent, and seconds with so little, before progress means anything
UNUSUAL = 1.5  # times the usual duration
NOTICEABLE = dt.timedelta(seconds=5)  # above the usual at least: jobs of milliseconds vary with the load
STEPS = ((60, 5), (600, 10), (3_600, 60), (36_000, 300))  # seconds: limit and step of rounding below it


@dataclass(frozen=True)
class Estimate:
    """How long a job still takes, and how long such jobs usually take."""

    usual: dt.timedelta | None = None
    left: dt.timedelta | None = None
    factor: float | None = None  # how many times as long as usual it has taken, if that is unusual


def estimate(job: Job, usual: dt.timedelta | None) -> Estimate:
    """Estimate from the job's progress if there is enough of it, else from what is *usual* for its type."""
    elapsed = job.duration
    factor = factor_of(elapsed, usual)
    if job.status in (JobStatus.EXCEPTION, JobStatus.KILLED):
        return Estimate(usual if factor else None, None, factor)  # how long it would have taken is no news
    if job.status != JobStatus.RUNNING or elapsed is None:
        return Estimate(usual, None, factor if job.is_finished else None)
    begun, percent = _begin(job, elapsed)
    left = _by_progress(job, elapsed - begun, percent)
    if left is None and usual is not None and elapsed < (expected := usual * ((100 - percent) / 100)):
        left = expected - elapsed
    if left is None or job.is_aborting or job.is_pausing:
        return Estimate(usual, None, factor)
    return Estimate(usual, rounded(left), factor)


def factor_of(elapsed: dt.timedelta | None, usual: dt.timedelta | None) -> float | None:
    """Return how many times as long as usual *elapsed* is, in two digits; None if that is not unusual."""
    if elapsed is None or not usual or elapsed <= max(usual * UNUSUAL, usual + NOTICEABLE):
        return None
    factor = elapsed / usual
    return round(factor, 1) if factor < 10 else round(factor, 1 - int(math.log10(factor)))


def _begin(job: Job, elapsed: dt.timedelta) -> tuple[dt.timedelta, int]:
    """Return from which time of the attempt and which per cent its progress counts.

    These are not 0 for a loop that goes on behind a checkpoint, or that follows another loop.
    """
    begin = json.loads(job.checkpoint).get("begin") if job.checkpoint else None
    if begin is None or job.progress is None:
        return dt.timedelta(), 0
    attempt, seconds, percent = begin
    if not (job.attempt_token or "").startswith(attempt):
        return elapsed, job.progress  # of an earlier attempt; this one has not kept a checkpoint yet
    return dt.timedelta(seconds=seconds), percent


def _by_progress(job: Job, elapsed: dt.timedelta, before: int) -> dt.timedelta | None:
    if job.progress is None or job.progress >= 100:
        return None
    gained = job.progress - before
    if gained < PROGRESS_NEEDS:
        return None
    if elapsed.total_seconds() * gained < SECONDS_NEEDED * PROGRESS_NEEDS:  # more progress needs less time
        return None
    return elapsed * ((100 - job.progress) / gained)


def rounded(left: dt.timedelta) -> dt.timedelta:
    """Return *left* rounded to steps that are as exact as a guess can be."""
    seconds = left.total_seconds()
    step = next((step for limit, step in STEPS if seconds < limit), 3_600)
    return dt.timedelta(seconds=max(step, round(seconds / step) * step))
