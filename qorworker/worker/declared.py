"""Brings the table of schedules up to what the code declares, and to the rules of time zones that are in force.

Once at the start of a process that fires schedules.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from qorworker import housekeeping
from qorworker.arguments.codec import SECRET
from qorworker.exceptions import InvalidArguments, InvalidSchedule, JobTypeError, SecretsUnavailable
from qorworker.models import Origin, Schedule, database_now
from qorworker.models.clock import aware
from qorworker.plan import Plan
from qorworker.registry import JobType, registry

logger = logging.getLogger(__name__)


def synchronise(using: str) -> None:
    """Add what is new in the code, change what was changed there, switch off what has left it.

    Only job types that this process knows are looked at. A pause stays, whoever asked for it.
    """
    declared = {plan.name: (job_type, plan) for job_type in registry.all() for plan in job_type.plans}
    known = {schedule.name: schedule for schedule in Schedule.objects.using(using).declared()}
    for name, (job_type, plan) in declared.items():
        try:
            _bring_up(job_type, plan, known.get(name), using)
        except (OperationalError, InterfaceError):
            raise
        except (InvalidArguments, InvalidSchedule, JobTypeError, SecretsUnavailable) as error:
            logger.error("The schedule “%s” that %s declares cannot be made: %s", name, job_type.place, error)
        except Exception:  # a form's own code
            logger.exception("The schedule “%s” that %s declares cannot be made.", name, job_type.place)
    for name, schedule in known.items():
        if name in declared or not schedule.enabled:
            continue
        if schedule.job_name == housekeeping.NAME:  # the settings have switched it off
            schedule.remove(origin=Origin.WORKER)
        elif registry.find(schedule.job_name) is not None:
            schedule.leave_code(_("The code of %(job)s does not declare it any more.") % {"job": schedule.job_name})


def _bring_up(job_type: JobType[Any], plan: Plan, known: Schedule | None, using: str) -> None:
    dumped = job_type.arguments.dump(job_type.arguments.clean(plan.arguments))
    told = _told(job_type, plan, dumped)
    if known is not None:
        if known.declaration != told or not known.enabled:
            known.declare_again(job_type, plan, dumped, told)
        return
    schedules = Schedule.objects.using(using)
    try:
        schedules.create_dumped(job_type, plan, dumped, origin=Origin.WORKER, declaration=told)
    except InvalidSchedule:
        if not schedules.declared().called(plan.name):  # otherwise another worker was faster
            raise


def _told(job_type: JobType[Any], plan: Plan, dumped: dict[str, Any]) -> str:
    """Stands for what the code says. Secrets are encrypted in another way each time, so their texts count."""
    plain = {name: value for name, value in dumped.items() if not (isinstance(value, dict) and SECRET in value)}
    told = [job_type.name, repr(replace(plan, arguments={})), plain, job_type.arguments.secret_values(dumped)]
    return str(salted_hmac("qorworker.plan", json.dumps(told, cls=DjangoJSONEncoder), algorithm="sha256").hexdigest())


def follow_zones(using: str) -> None:
    """Have each schedule wait for the instant that its time on the wall is by the rules of today."""
    schedules = Schedule.objects.using(using)
    now = aware(database_now(using))
    for schedule in schedules.by_the_wall():
        try:
            slot = schedule.moved_slot(now)
        except InvalidSchedule as error:
            logger.error("The schedule “%s” cannot be read: %s", schedule.name, error)
            continue
        if slot != schedule.waits_for and schedules.move_on(schedule, slot):
            logger.info("The rules of %s have changed: the schedule “%s” follows.", schedule.zone, schedule.name)
