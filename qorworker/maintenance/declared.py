"""Syncs the table of schedules with the code and with today's rules of time zones. Parents, cron, Celery's beat.

It runs once, at the start of a process that fires schedules.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from qorworker.arguments.codec import SECRET
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidArguments, InvalidSchedule, JobTypeError, SecretsUnavailable
from qorworker.maintenance import jobs
from qorworker.models import Origin, Schedule, database_now
from qorworker.models.clock import aware
from qorworker.models.schedule_queries import with_holidays
from qorworker.schedules.plan import Plan

logger = logging.getLogger(__name__)


def sync_declared(using: str) -> None:
    """Create, update and switch off schedules, so that the table matches the code.

    It touches only schedules of job types that this process knows. Pauses stay.
    """
    declared = {plan.name: (job_type, plan) for job_type in registry.all() for plan in job_type.plans}
    stored = {schedule.name: schedule for schedule in Schedule.objects.using(using).declared()}
    for name, (job_type, plan) in declared.items():
        with suppress(Schedule.DoesNotExist):  # deleted since it was read; the next worker that starts makes it anew
            _sync_or_complain(job_type, plan, stored.get(name), using)
    for name, schedule in stored.items():
        if name not in declared and (schedule.enabled or schedule.is_unmakeable):
            with suppress(Schedule.DoesNotExist):
                _leave(schedule)


def _sync_or_complain(job_type: JobType[..., Any], plan: Plan, schedule: Schedule | None, using: str) -> None:
    try:
        _sync_one(job_type, plan, schedule, using)
    except (OperationalError, InterfaceError, Schedule.DoesNotExist):
        raise
    except (InvalidArguments, InvalidSchedule, JobTypeError, SecretsUnavailable) as error:
        logger.error("The schedule “%s” that %s declares cannot be made: %s", plan.name, job_type.place, error)
        _note_unmakeable(job_type, plan, schedule, str(error), using)
    except Exception as error:  # a form's own code, which may quote a secret
        kind, cause = type(error).__name__, None if job_type.arguments.has_secret_fields() else error
        text = "The schedule “%s” that %s declares cannot be made: %s"
        logger.error(text, plan.name, job_type.place, kind, exc_info=cause)
        _note_unmakeable(job_type, plan, schedule, kind, using)


def _leave(schedule: Schedule) -> None:
    """Switch off a schedule that the code no longer declares, if this process knows its job type."""
    if schedule.job_name == jobs.NAME:  # the settings have switched it off
        schedule.remove(origin=Origin.WORKER)
    elif registry.find(schedule.job_name) is not None:
        schedule.leave_code(_("The code of %(job)s no longer declares it.") % {"job": schedule.job_name})


@sensitive_variables()  # where cron calls this, an outage of the database is logged with its frames
def _sync_one(job_type: JobType[..., Any], plan: Plan, schedule: Schedule | None, using: str) -> None:
    dumped = job_type.arguments.dump(job_type.arguments.clean(plan.arguments))
    digest = _digest(job_type, plan, dumped)
    if schedule is not None:
        if schedule.version > job_type.version:  # newer code has declared it, and its workers fire it
            return
        if schedule.declaration != digest or not schedule.enabled:
            schedule.declare_again(job_type, plan, dumped, digest)
        return
    schedules = Schedule.objects.using(using)
    try:
        schedules.create_dumped(job_type, plan, dumped, origin=Origin.WORKER, declaration=digest)
    except InvalidSchedule:
        if not schedules.declared().called(plan.name):  # else another worker was faster
            raise


def _note_unmakeable(
    job_type: JobType[..., Any], plan: Plan, schedule: Schedule | None, error: str, using: str
) -> None:
    """Show the error on the schedule itself: people do not look for it in the log."""
    reason = _("The declaration in code is invalid: %(error)s") % {"error": error}
    if schedule is not None:
        schedule.complain(reason)
        return
    with suppress(InvalidSchedule):  # another worker was faster, or a person has taken the name
        Schedule.objects.using(using).create_unmakeable(job_type, plan, reason)


def _digest(job_type: JobType[..., Any], plan: Plan, dumped: dict[str, Any]) -> str:
    """Return a digest of what the code declares. Secrets count by their text: each encryption differs."""
    plain = {name: value for name, value in dumped.items() if not (isinstance(value, dict) and SECRET in value)}
    declared = [job_type.name, repr(replace(plan, arguments={})), plain, job_type.arguments.secret_values(dumped)]
    text = json.dumps(declared, cls=DjangoJSONEncoder)
    return str(salted_hmac("qorworker.schedules.plan", text, algorithm="sha256").hexdigest())


def follow_zones(using: str) -> None:
    """Move each schedule to the instant that its local time is by today's rules of time zones and holidays."""
    schedules = Schedule.objects.using(using)
    now = aware(database_now(using))
    for schedule in with_holidays(schedules.that_may_move()):
        try:
            slot = schedule.moved_slot(now)
        except ValueError as error:  # its rule cannot be read, or its row was written by hand
            logger.error("The schedule “%s” cannot be read: %s", schedule.name, error)
            continue
        if slot != schedule.waits_for and schedules.move_on(schedule, slot):
            logger.info("The rules of %s or the holidays have changed: “%s” follows.", schedule.zone, schedule.name)
