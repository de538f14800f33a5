"""The estimate of how long a job still takes, and whether it takes longer than usual. Web."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from qorworker.models import Job
from qorworker.status import JobStatus

PROGRESS_NEEDS, SECONDS_NEEDED = 5, 10  # per cent, and seconds with so little, before progress means anything
UNUSUAL = 1.5  # times the usual duration
STEPS = ((60, 5), (600, 10), (3_600, 60), (36_000, 300))  # seconds: limit and step of rounding below it


@dataclass(frozen=True)
class Estimate:
    """How long a job still takes, and how long such jobs usually take."""

    usual: dt.timedelta | None = None
    left: dt.timedelta | None = None
    is_long: bool = False  # it has taken much longer than usual


def estimate(job: Job, usual: dt.timedelta | None) -> Estimate:
    """Estimate from the job's progress if there is enough of it, else from what is *usual* for its type."""
    elapsed = job.duration
    if job.status != JobStatus.RUNNING or elapsed is None:
        return Estimate(usual)
    is_long = usual is not None and elapsed > usual * UNUSUAL
    left = _by_progress(job, elapsed)
    if left is None and usual is not None and elapsed < usual:
        left = usual - elapsed
    return Estimate(usual, rounded(left) if left is not None and not job.is_aborting else None, is_long)


def _by_progress(job: Job, elapsed: dt.timedelta) -> dt.timedelta | None:
    if job.progress is None or job.progress < PROGRESS_NEEDS or job.progress >= 100:
        return None
    if elapsed.total_seconds() * job.progress < SECONDS_NEEDED * PROGRESS_NEEDS:  # more progress needs less time
        return None
    return elapsed * ((100 - job.progress) / job.progress)


def rounded(left: dt.timedelta) -> dt.timedelta:
    """Return *left* rounded to steps that are as exact as a guess can be."""
    seconds = left.total_seconds()
    step = next((step for limit, step in STEPS if seconds < limit), 3_600)
    return dt.timedelta(seconds=max(step, round(seconds / step) * step))
