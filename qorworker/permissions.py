"""Which user may do what: one rule for every page, button and endpoint. Web."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from django.db.models import QuerySet
from django.utils.functional import cached_property
from django.utils.translation import ngettext

from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.exceptions import TooManyJobs
from qorworker.models import Job, JobQuerySet, Question
from qorworker.models.approval import open_approval_of, refusal_of
from qorworker.models.job_approval import asked_by
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_approval import makers_of
from qorworker.models.schedule_queries import ScheduleQuerySet
from qorworker.models.unique import replaceable

logger = logging.getLogger(__name__)

# What one does with a job or its type -> the permission of Django that allows it, for types without their own.
PERMISSIONS: dict[str, str] = {
    "view": "qorworker.view_job",
    "run": "qorworker.run_job",
    "schedule": "qorworker.run_job",
    "rerun": "qorworker.run_job",
    "abort": "qorworker.abort_job",
    "cancel": "qorworker.abort_job",
    "reschedule": "qorworker.reschedule_job",
    "retry": "qorworker.retry_job",
    "answer": "qorworker.run_job",
    "choose_queue": "qorworker.choose_job_queue",
    "share": "qorworker.share_preset",
    "manage_schedule": "qorworker.manage_schedule",
    "pause": "qorworker.pause_job_type",
    "pause_queue": "qorworker.pause_queue",
    "manage_worker": "qorworker.manage_worker",
    "view_message": "qorworker.view_message",
    "view_rule": "qorworker.view_messagerule",
    "manage_rule": "qorworker.manage_messagerule",
    "view_arguments": "qorworker.view_job_arguments",
    "view_log": "qorworker.view_job_log",
    "delete": "qorworker.delete_job",
}
# These need Django's permission, whatever the type says, and the right in the second column.
ALWAYS = {"delete": "view", "choose_queue": "run", "share": "run", "manage_schedule": "schedule", "pause": "view"}
# What takes several rights, each by its own rule.
TOGETHER = {"update": ("reschedule", "run", "view_arguments")}
ALL_JOBS = "qorworker.view_all_jobs"
LOOKING = frozenset({"view", "view_arguments", "view_log"})


def can(user: Any, action: str, job_type: JobType[..., Any] | None = None, job: Job | None = None) -> bool:
    """Return whether *user* may do *action* with *job*, or with jobs of *job_type*. The rule, in its order:

    1. Inactive and anonymous users may do nothing; superusers may do everything.
    2. Deleting needs ``qorworker.delete_job``, and the job must be visible (4). Choosing queue and priority of a run,
       and sharing saved arguments, need Django's permission for that and the right to run the type (3). Creating,
       changing and pausing schedules of a type needs ``qorworker.manage_schedule`` and the right to schedule it (3).
       Pausing a type needs ``qorworker.pause_job_type`` and the right to see its jobs (4). Queues, workers,
       messages and their rules belong to no type: Django's permissions alone decide.
    3. A job type's own ``permission`` alone decides about running, scheduling, running again, aborting (and so marking
       as failed), cancelling, rescheduling, retrying and answering. A text is the name of a Django permission; a
       callable is called with ``(user, job_type, action)``. A type without one needs the Django permission in
       ``PERMISSIONS``.
    4. Seeing (job, arguments, log) is allowed by the type's own permission or by Django's. Users with neither the
       right to use a type nor ``qorworker.view_job`` see nothing of its jobs. Arguments and log need a visible job,
       too.
    5. Any verb for an existing job needs that job to be visible. Running one again also needs the right to see its
       arguments, because these would be run. Changing one that waits needs the right to choose another time for it,
       to run its type, and to see its arguments.
    6. Approving and declining need the right that the job type names for that run, the right to see the job and its
       arguments, and that another user has asked for it: superusers, too.
    7. With the setting ``OWN_JOBS_ONLY``, a job of another user is visible only with ``qorworker.view_all_jobs``,
       besides all other rights.

    Commands and code are not checked: they are trusted.
    """
    if not user.is_active or user.is_anonymous:
        return False
    if action == "approve":
        return may_approve(user, job) if job is not None else _may_approve_any(user, job_type)
    if user.is_superuser:
        return True
    if job is not None and job.created_by_id != user.pk and not sees_all(user):
        return False
    job_type = job.job_type if job is not None else job_type
    if action in TOGETHER:
        return lacking(user, action, job_type, job) == action
    if not _granted(user, action, job_type):
        return False
    needs = {**ALWAYS, "view_arguments": "view", "view_log": "view", "rerun": "view_arguments"}.get(action)
    if needs is None and job is not None and action != "view":
        needs = "view"
    return needs is None or can(user, needs, job_type, job)


def lacking(user: Any, action: str, job_type: JobType[..., Any] | None = None, job: Job | None = None) -> str:
    """Return the first right that *user* lacks for an action that takes several; *action* itself if none is missing."""
    return next((part for part in TOGETHER.get(action, ()) if not can(user, part, job_type, job)), action)


def _granted(user: Any, action: str, job_type: JobType[..., Any] | None) -> bool:
    general = PERMISSIONS[action]
    own = job_type.permission if job_type is not None else None
    if own is None or action in ALWAYS:
        return bool(user.has_perm(general))
    allowed = _allows(own, user, cast("JobType[..., Any]", job_type), action) if callable(own) else user.has_perm(own)
    return bool(allowed) or (action in LOOKING and bool(user.has_perm(general)))


def _allows(rule: Any, user: Any, job_type: JobType[..., Any], action: str) -> bool:
    """Return what a type's own function says. If it fails, access is denied, and pages of other types still work."""
    try:
        answer = rule(user, job_type, action)
        if inspect.isawaitable(answer):  # as an object it would be true
            raise TypeError(f"The answer must be True or False, not a {type(answer).__name__}.")
        return bool(answer)
    except Exception:
        logger.exception("The permission of %s failed; “%s” is refused.", job_type.name, action)
        return False


def may_answer(user: Any, job: Job, question: Question) -> bool:
    """Return whether *user* may answer a question: by its own permission, or else by the right to answer for the job.

    Its own permission alone decides about a job that the user may see.
    """
    if not question.permission:
        return can(user, "answer", job=job)
    return can(user, "view", job=job) and bool(user.has_perm(question.permission))


def may_approve(user: Any, job: Job) -> bool:
    """Return whether *user* may approve a job that waits for that, or decline to; if it does not, one like it."""
    if not can(user, "view_arguments", job=job):
        return False
    approval = open_approval_of(job) if job.awaits_approval else None
    if approval is None:
        return _may_approve_any(user, job.job_type)
    return refusal_of(approval, user, asked_by(job, approval)) == ""


def why_not_approve(user: Any, job: Job) -> str:
    """Return why *user* may not approve a job that they may see; empty if there is no more to say than that."""
    approval = open_approval_of(job) if job.awaits_approval else None
    return refusal_of(approval, user, asked_by(job, approval)) if approval is not None else ""


def may_approve_schedule(user: Any, schedule: Schedule) -> bool:
    """Return whether *user* may approve a schedule that waits for that, or decline to."""
    approval = schedule.open_approval
    if approval is None or not can(user, "view_arguments", schedule.job_type):
        return False
    return refusal_of(approval, user, makers_of(schedule, approval)) == ""


def _may_approve_any(user: Any, job_type: JobType[..., Any] | None) -> bool:
    """Return whether *user* may approve some jobs of a type. If a callable names the right, each job decides."""
    rule = job_type.approval if job_type is not None else None
    return bool(user.has_perm(rule)) if isinstance(rule, str) else rule is not None


def may_replace(user: Any, job: Job) -> bool:
    """Return whether *user*, when enqueueing a job like *job*, may replace its arguments.

    The job must be their own, or visible to them.
    """
    is_own = user.pk is not None and job.created_by_id == user.pk
    return is_own or can(user, "view", job=job)


@contextmanager
def enqueueing_for(user: Any) -> Iterator[None]:
    """Keep jobs that are enqueued in this block from replacing arguments that *user* may not replace."""
    before = replaceable.set(partial(may_replace, user))
    try:
        yield
    finally:
        replaceable.reset(before)


class Visibility:
    """What one user may see. Pages and JSON take everything about jobs and schedules from this.

    It answers each question about a type once, not for each row. No answer depends on rows that the user may not see:
    no row, no count, no place in a queue, no duration.
    """

    def __init__(self, user: Any) -> None:
        self.user = user
        self._known: dict[tuple[str, str], bool] = {}

    @cached_property
    def sees_everything(self) -> bool:
        """Whether no job is hidden, so that figures about all jobs may be shown."""
        return sees_all(self.user) and can(self.user, "view")

    @property
    def jobs(self) -> JobQuerySet:
        """The jobs that the user may see."""
        return visible_jobs(self.user, Job.objects.all())

    @property
    def jobs_unless_all(self) -> JobQuerySet | None:
        """The jobs that the user may see; None if these are all jobs."""
        return None if self.sees_everything else self.jobs

    @property
    def schedules(self) -> ScheduleQuerySet:
        """The schedules that the user may see."""
        return visible_schedules(self.user, Schedule.objects.all())

    @property
    def creator(self) -> Any:
        """The user to whose jobs all figures are limited; None if jobs of other users are visible as well."""
        return None if sees_all(self.user) else self.user

    def can(self, action: str, job: Job) -> bool:
        """Return whether the user may do *action* with *job*, which must be visible."""
        key = (action, job.name)
        if key not in self._known:
            self._known[key] = can(self.user, action, job=job)
        return self._known[key]

    def sees(self, job: Job) -> bool:
        """Return whether the user may see *job*, whatever job it is."""
        return can(self.user, "view", job=job)

    def sees_schedule(self, schedule: Schedule) -> bool:
        """Return whether the user may see *schedule*, by the same rule as ``schedules``."""
        makers = (schedule.created_by_id, schedule.answerable_id)
        return (self.creator is None or self.user.pk in makers) and can(self.user, "view", schedule.job_type)

    def job_numbers(self, numbers: Iterable[int | None]) -> set[int]:
        """Return those of these job ids that the user may see."""
        if self.sees_everything:
            return {number for number in numbers if number is not None}
        return _among(self.jobs, numbers)

    def schedule_numbers(self, numbers: Iterable[int | None]) -> set[int]:
        """Return those of these schedule ids that the user may see."""
        return _among(self.schedules, numbers)


def _among(rows: QuerySet[Any], numbers: Iterable[int | None]) -> set[int]:
    given = {number for number in numbers if number is not None}
    return set(rows.filter(pk__in=given).values_list("pk", flat=True)) if given else set()


def visible_jobs(user: Any, jobs: JobQuerySet) -> JobQuerySet:
    """Return those of *jobs* that *user* may see."""
    jobs = jobs if sees_all(user) else jobs.of_user(user)
    if can(user, "view"):
        return jobs
    return jobs.for_types(job_type.name for job_type in registry.all() if can(user, "view", job_type))


def visible_schedules(user: Any, schedules: ScheduleQuerySet) -> ScheduleQuerySet:
    """Return those of *schedules* whose jobs *user* may see."""
    schedules = schedules if sees_all(user) else schedules.of_user(user)
    if can(user, "view"):
        return schedules
    return schedules.for_types(job_type.name for job_type in registry.all() if can(user, "view", job_type))


def sees_all(user: Any) -> bool:
    """Return whether *user* may see jobs of other users: always, unless ``OWN_JOBS_ONLY`` is on."""
    return not settings.OWN_JOBS_ONLY or bool(user.has_perm(ALL_JOBS))


def has_most_jobs(user: Any) -> bool:
    """Return whether *user* has as many unfinished jobs as the setting ``JOBS_PER_USER`` allows."""
    return jobs_left(user) <= 0


def jobs_left(user: Any) -> float:
    """Return how many more jobs the setting ``JOBS_PER_USER`` allows *user* now: any number without an account."""
    limit = settings.JOBS_PER_USER
    if not limit or user.is_superuser or user.pk is None:
        return math.inf
    return limit - Job.objects.of_user(user).unfinished_up_to(limit)  # type: ignore[no-any-return]


def check_number(user: Any) -> None:
    """Raise ``TooManyJobs`` if *user* has as many unfinished jobs as the setting ``JOBS_PER_USER`` allows."""
    limit = settings.JOBS_PER_USER
    if has_most_jobs(user):
        raise TooManyJobs(
            ngettext(
                "You already have %d job waiting or running, and more are not allowed at a time. Wait until it has"
                " ended, or cancel it.",
                "You already have %d jobs waiting or running, and more are not allowed at a time. Wait until one has"
                " ended, or cancel one.",
                limit,
            )
            % limit
        )


def can_view_any(user: Any) -> bool:
    """Return whether *user* may see or start any jobs at all."""
    return can(user, "view") or any(
        can(user, "view", job_type) or can(user, "run", job_type) for job_type in registry.all()
    )


def sees_rules(user: Any) -> bool:
    """Return whether *user* may see the rules of messages: with the right to see them, or to manage them."""
    return can(user, "view_rule") or can(user, "manage_rule")


def sees_messages(user: Any) -> bool:
    """Return whether *user* may see the rules of messages, or what became of messages."""
    return sees_rules(user) or can(user, "view_message")


def may_see_calendars(user: Any) -> bool:
    """Return whether *user* may see the pages of calendars, by Django's permission to view or to change them."""
    return bool(user.has_perm("qorworker.view_calendar") or user.has_perm("qorworker.change_calendar"))


def required_permission(job_type: JobType[..., Any] | None, action: str) -> str:
    """Return the name of the permission that *action* needs, for users who lack it; empty if code decides."""
    own = job_type.permission if job_type is not None else None
    if own is None or action in ALWAYS:
        return PERMISSIONS[action]
    return own if isinstance(own, str) else ""
