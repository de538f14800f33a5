"""How long a job has run, how long it may still take, and whether that is usual. Web."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from qorworker.models import Job
from qorworker.status import JobStatus

PROGRESS_NEEDS, SECONDS_NEEDED = 5, 10  # per cent, and seconds with so little, before progress tells anything
UNUSUAL = 1.5  # times the usual duration
STEPS = ((60, 5), (600, 10), (3_600, 60), (36_000, 300))  # below so many seconds it is rounded to so many


@dataclass(frozen=True)
class Estimate:
    usual: dt.timedelta | None = None
    left: dt.timedelta | None = None
    is_long: bool = False  # it has taken much longer than usual


def estimate(job: Job, usual: dt.timedelta | None) -> Estimate:
    """From the job's progress if that tells enough, else from what is *usual* for its type."""
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
    if elapsed.total_seconds() * job.progress < SECONDS_NEEDED * PROGRESS_NEEDS:  # the more there is, the sooner
        return None
    return elapsed * ((100 - job.progress) / job.progress)


def rounded(left: dt.timedelta) -> dt.timedelta:
    """As exact as a guess can be."""
    seconds = left.total_seconds()
    step = next((step for limit, step in STEPS if seconds < limit), 3_600)
    return dt.timedelta(seconds=max(step, round(seconds / step) * step))
