"""Schedules as monitors of Sentry: it notices runs that fail, take too long, or are missing. Wherever a job runs."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.utils.text import slugify
from sentry_sdk.crons import MonitorStatus, capture_checkin

from qorworker.execution.context import JobContext
from qorworker.models import Schedule
from qorworker.models.schedule_times import Kind

LONGEST_SLUG = 50
MACROS = {"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
          "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}  # fmt: skip
UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


@contextmanager
def monitored_schedule(context: JobContext) -> Iterator[None]:
    """Check in at the begin and the end of a run that a schedule has made. Rehearsals do not."""
    schedule = context.job.schedule if context.job.schedule_id is not None and not context.is_dry_run else None
    if schedule is None:
        yield
        return
    slug, config = slug_of(schedule), config_of(schedule, context)
    checkin = capture_checkin(monitor_slug=slug, status=MonitorStatus.IN_PROGRESS, monitor_config=config)
    begun = dt.datetime.now(dt.UTC)
    status = MonitorStatus.ERROR
    try:
        yield
        status = MonitorStatus.OK
    finally:
        seconds = (dt.datetime.now(dt.UTC) - begun).total_seconds()
        capture_checkin(slug, checkin, status, seconds, monitor_config=config)


def slug_of(schedule: Schedule) -> str:
    """Return the name of the monitor: that of the schedule, or its number if nothing is left of it."""
    return slugify(schedule.name)[:LONGEST_SLUG].strip("-_") or f"schedule-{schedule.pk}"


def config_of(schedule: Schedule, context: JobContext) -> Any:
    """Return what Sentry has to expect; None for what it does not know: single times, odd intervals, days off."""
    if (when := _when(schedule)) is None:
        return None
    timeout = context.job.job_type.timeout if context.job.job_type is not None else None
    config: dict[str, Any] = {"schedule": when, "timezone": schedule.zone}
    if timeout is not None:
        config["max_runtime"] = max(1, round(timeout / 60))  # minutes
    return config


def _when(schedule: Schedule) -> dict[str, Any] | None:
    if schedule.calendar:  # Sentry would miss the runs on days off
        return None
    if schedule.kind == Kind.CRON:
        expression = MACROS.get(schedule.expression.lower(), schedule.expression)
        # What H stands for depends on the schedule's name.
        is_plain = len(expression.split()) == 5 and not re.search(r"(?i)\bH\b", expression)
        return {"type": "crontab", "value": expression} if is_plain else None
    seconds = schedule.interval.total_seconds() if schedule.kind == Kind.EVERY and schedule.interval else 0
    for unit, size in UNITS:
        if seconds and seconds % size == 0:
            return {"type": "interval", "value": int(seconds // size), "unit": unit}
    return None
