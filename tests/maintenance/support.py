"""Schedules of these tests, and what becomes of them."""

from __future__ import annotations

from qorworker import Schedule
from qorworker.models import Job
from qorworker.models.clock import aware
from tests.testapp import jobs


def made(when, job_type=jobs.noop, **more):
    return Schedule.objects.create_for(job_type, when, **more)


def look(scheduler) -> int:
    """Fire all that is due now, and return how many schedules moved on."""
    total, moved = 0, 1
    while moved:
        scheduler.left_alone.clear()
        moved, _wait = scheduler.look()
        total += moved
    return total


def fired() -> list[str]:
    """Return the times of the jobs that were made."""
    return [f"{aware(job.run_after):%d. %H:%M}" for job in Job.objects.order_by("id")]
