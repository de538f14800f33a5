"""Schedules of these tests, and what becomes of them."""

from __future__ import annotations

import datetime as dt

from qorworker import Every, Plan, Schedule
from qorworker.maintenance.candidates import candidates
from qorworker.maintenance.firing import Firing, fire, planned
from qorworker.models import Job, database_now
from qorworker.models.clock import aware
from tests.testapp import jobs

SECOND = dt.timedelta(seconds=1)


def made(when, job_type=jobs.noop, **more):
    return Schedule.objects.create_for(job_type, when, **more)


def due_together(count, at, job_type=jobs.noop_again, **options) -> None:
    """Make schedules with the same first time, which is *at*, and different second ones."""
    now = database_now("default")
    fingerprint = job_type.arguments.fingerprint
    rows = []
    for number in range(count):
        row = Schedule(name=f"number {number}", job_name=job_type.name, fingerprint=fingerprint, created_at=now)
        row.arguments = {"number": number}
        row.take(Plan(Every(seconds=3600 + number), start=aware(at), **options), min(now, at - SECOND))
        rows.append(row)
    Schedule.objects.bulk_create(rows, batch_size=500)


def look(scheduler) -> int:
    """Fire all that is due now, and return how many schedules moved on."""
    total, moved = 0, 1
    while moved:
        scheduler.left_alone.clear()
        moved, _wait = scheduler.look()
        total += moved
    return total


def read(schedule) -> Firing:
    """Return what a schedule is to do, as a worker reads it before it locks the row."""
    ((_pk, candidate),) = candidates([schedule.pk], "default")
    return planned(candidate, database_now("default"))


def fire_read(firing) -> bool | None:
    """Fire a due schedule that was read before."""
    return fire([firing], "default", database_now("default"))[firing.schedule.pk]


def fired() -> list[str]:
    """Return the times of the jobs that were made."""
    return [f"{aware(job.run_after):%d. %H:%M}" for job in Job.objects.order_by("id")]
