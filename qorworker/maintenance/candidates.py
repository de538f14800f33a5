"""Checks due schedules before they fire: whose rights count, and whether they can make jobs.

Code of the project runs here, so no transaction is open. Parents, cron, Celery's beat.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.files import File
from django.db import InterfaceError, OperationalError, transaction
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.definitions.unique import key_of, rule_of
from qorworker.exceptions import InvalidArguments, JobTypeError, SecretsUnavailable, UploadsUnavailable
from qorworker.models import Approval, ApprovalState, Schedule
from qorworker.models.approving import approval_of_schedule, approval_right, ask_for_code, is_schedule_approved
from qorworker.models.locks import short_waits
from qorworker.models.schedule_queries import with_holidays
from qorworker.models.schedule_verbs import calendar_problem
from qorworker.text.cleaning import visible

logger = logging.getLogger(__name__)


@dataclass
class Candidate:
    """A schedule that waits for a time, as it was read."""

    schedule: Schedule
    job_type: JobType[..., Any]
    person: Any  # see ``_people_of``
    problem: str  # why it cannot make jobs; empty if it can


def candidates(ids: Sequence[int], using: str) -> Iterator[tuple[int, Candidate | None]]:
    """Yield schedules in the order of *ids*, each with its id; None for one that is no longer due."""
    rows = Schedule.objects.using(using).due().in_bulk(ids)
    with_holidays(rows.values())
    people = _people_of(rows.values())
    for pk in ids:
        if (schedule := rows.get(pk)) is None:
            yield pk, None
            continue
        job_type, person = registry.get(schedule.job_name), people[schedule.answerable_id]
        yield pk, Candidate(schedule, job_type, person, _problem_of(schedule, job_type, person))


def _people_of(schedules: Collection[Schedule]) -> dict[int | None, Any]:
    """Return, by id, the users who last changed schedules in the admin. None for code, anonymous without an account."""
    ids = {schedule.answerable_id for schedule in schedules if schedule.answerable_id is not None}
    users: dict[Any, Any] = get_user_model()._default_manager.in_bulk(ids) if ids else {}
    return {None: None, **{pk: users.get(pk) or AnonymousUser() for pk in ids}}


def _problem_of(schedule: Schedule, job_type: JobType[..., Any], person: Any) -> str:
    """Return why a schedule cannot make jobs; empty if it can.

    It may lack rights, valid arguments, its queue or its calendar.
    """
    if problem := _lacks_right(person, job_type):
        return problem
    if problem := calendar_problem(schedule):
        return problem
    if (queue := job_type.queue_name) not in settings.QUEUES:
        return _("The queue “%(name)s” no longer exists.") % {"name": queue}
    try:
        if problem := _lacks_approval(schedule, job_type, person):
            return problem
        loaded = job_type.arguments.load(schedule.current_arguments)
        if (rule := rule_of(job_type)) is not None:
            key_of(job_type, rule, schedule.current_arguments)
    except UploadsUnavailable:
        return ""  # the job waits for its storage, like a job that code enqueues
    except (InvalidArguments, JobTypeError, SecretsUnavailable) as error:
        return str(error)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # a form's own code, which gets the secrets, too
        mask = job_type.arguments.mask_of(json.dumps(schedule.arguments))
        text = mask(f"{type(error).__name__}: {error}")
        cause = None if mask else error
        logger.error(
            "The arguments of the schedule “%s” could not be checked: %s", schedule.name, visible(text), exc_info=cause
        )
        return text
    for value in loaded.values():
        if isinstance(value, File):
            value.close()
    return ""


def _lacks_approval(schedule: Schedule, job_type: JobType[..., Any], person: Any) -> str:
    """Return that nobody has approved a schedule that needs it, as it is now; and ask for it if nobody has."""
    if job_type.approval is None:
        return ""
    using = schedule._state.db or "default"
    if is_schedule_approved(schedule, using):
        return ""
    approval = approval_of_schedule(schedule, using)
    if approval is not None and approval.state == ApprovalState.DECLINED:
        return _("A user has declined to approve it. A change of it asks again.")
    if approval is not None and approval.state == ApprovalState.OPEN:  # whatever the rule says by now
        right = approval.permission
    elif right := approval_right(job_type, person, schedule.current_arguments):
        _ask_anew(schedule, approval, right, person, using)
    return _("It waits for approval by a user with the permission “%s”.") % right if right else ""


def _ask_anew(schedule: Schedule, seen: Approval | None, right: str, person: Any, using: str) -> None:
    """Ask for the approval of a schedule: *seen* was of other code, or its type asks for one only by now.

    While a new version of the code is deployed, workers with the old one go on by what was approved for that.
    Unless it has been changed since it was read, or another worker was faster: what they have asked for counts.
    """
    with transaction.atomic(using=using), short_waits(using):
        locked = Schedule.objects.using(using).select_for_update().filter(pk=schedule.pk, revision=schedule.revision)
        if locked.exists() and approval_of_schedule(schedule, using) == seen:
            ask_for_code(schedule, right, person, using)


def _lacks_right(user: Any, job_type: JobType[..., Any]) -> str:
    """Return why the responsible *user* may no longer run the job. Empty if they may, and for code."""
    if user is None or settings.RECHECK_PERMISSIONS == "never":
        return ""
    if user.is_anonymous:
        return _(
            "The user who last changed it no longer has an account. A user who is allowed to run the job has to save "
            "it again."
        )
    if permissions.can(user, "run", job_type):
        return ""
    sentence = _("%(user)s, who last changed it, may not run this job. A user who is allowed to has to save it again.")
    return sentence % {"user": user.get_username()}
