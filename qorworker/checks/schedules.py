"""Checks of the schedules that code declares. ``manage.py check``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import DatabaseError, router

from qorworker.checks.offline import offline, register
from qorworker.checks.pages import with_pages
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidArguments
from qorworker.models import Calendar, Schedule
from qorworker.schedules.plan import Plan


@register()
def check_schedules(**kwargs: Any) -> list[checks.CheckMessage]:
    """E009: a declared schedule whose arguments do not fit, whatever the tables hold, or whose name is not unique."""
    messages: list[checks.CheckMessage] = []
    owners: dict[str, JobType[..., Any]] = {}
    hint = "Give names and arguments with schedule=Plan(…, name=…, arguments={…})."
    for job_type in registry.ready():
        for plan in job_type.plans:
            other = owners.setdefault(plan.name, job_type)
            problem = f"{other.place} declares one with this name, too" if other is not job_type else ""
            if problem := problem or _plan_problem(job_type, plan):
                text = _cannot_be_made(job_type, plan, problem)
                messages.append(checks.Error(text, hint, obj=job_type, id="qorworker.E009"))
    return messages


@checks.register(checks.Tags.database)
def check_schedule_rows(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """W009: a declared schedule whose arguments name rows that do not exist."""
    if router.db_for_write(Schedule) not in (databases or ()):
        return []
    with offline():
        declared = [(job_type, plan) for job_type in registry.ready() for plan in job_type.plans]
        sound = [(job_type, plan) for job_type, plan in declared if not _plan_problem(job_type, plan)]
    hint = "Create the rows that its arguments name, or change the schedule. Until then it makes no jobs."
    return with_pages(
        checks.Warning(_cannot_be_made(job_type, plan, problem), hint, obj=job_type, id="qorworker.W009")
        for job_type, plan in sound
        if (problem := _plan_problem(job_type, plan))
    )


@checks.register(checks.Tags.database)
def check_schedule_calendars(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """W019: a declared schedule whose calendar does not exist. It makes no jobs until somebody creates it."""
    if router.db_for_write(Schedule) not in (databases or ()):
        return []
    plans = [(job_type, plan) for job_type in registry.ready() for plan in job_type.plans]
    named = {name for _job_type, plan in plans if (name := getattr(plan.when, "calendar", ""))}
    try:
        known = set(Calendar.objects.filter(name__in=named).values_list("name", flat=True)) if named else set()
    except DatabaseError:
        return []  # not migrated yet
    return with_pages(
        checks.Warning(
            f"The schedule {plan.name!r} of {job_type.place} names the calendar {name!r}, which does not exist.",
            "Create it in the admin, or with Calendar.objects.create(name=…). Until then the schedule makes no jobs.",
            obj=job_type,
            id="qorworker.W019",
        )
        for job_type, plan in plans
        if (name := getattr(plan.when, "calendar", "")) and name not in known
    )


def _cannot_be_made(job_type: JobType[..., Any], plan: Plan, problem: str) -> str:
    return f"The schedule {plan.name!r} of {job_type.place} cannot be made: {problem}"


def _plan_problem(job_type: JobType[..., Any], plan: Plan) -> str:
    """Return the problem of a declared schedule's arguments as far as rows can be read, or an empty text."""
    if job_type.arguments.problems():
        return ""  # E003 says so
    if unknown := set(plan.arguments) - set(job_type.arguments.fields):
        return f"{', '.join(sorted(unknown))}: This argument does not exist."
    try:
        job_type.arguments.clean(plan.arguments)
    except InvalidArguments as error:
        return str(error)
    except DatabaseError:
        pass  # rows to choose from, which are out of reach
    return ""
