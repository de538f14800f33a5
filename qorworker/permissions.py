"""Who may do what: one rule, asked by every page, button and endpoint. Web."""

from __future__ import annotations

import logging
from typing import Any, cast

from django.utils.translation import ngettext

from qorworker.conf import settings
from qorworker.exceptions import TooManyJobs
from qorworker.models import Job, JobQuerySet
from qorworker.models.schedule import ScheduleQuerySet
from qorworker.registry import JobType, registry

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
    "choose_queue": "qorworker.choose_job_queue",
    "share": "qorworker.share_preset",
    "manage_schedule": "qorworker.manage_schedule",
    "pause": "qorworker.pause_job_type",
    "pause_queue": "qorworker.pause_queue",
    "manage_worker": "qorworker.manage_worker",
    "view_arguments": "qorworker.view_job_arguments",
    "view_log": "qorworker.view_job_log",
    "delete": "qorworker.delete_job",
}
# For these Django's permission is needed whatever the type says, beside the right to what it is done with.
ALWAYS = {"delete": "view", "choose_queue": "run", "share": "run", "manage_schedule": "schedule", "pause": "view"}
# What takes several rights, each by its own rule.
TOGETHER = {"update": ("reschedule", "run", "view_arguments")}
ALL_JOBS = "qorworker.view_all_jobs"
LOOKING = frozenset({"view", "view_arguments", "view_log"})


def can(user: Any, action: str, job_type: JobType[Any] | None = None, job: Job | None = None) -> bool:
    """Whether *user* may do *action* with *job*, or with jobs of *job_type*. The rule, in the order it is applied:

    1. Inactive and anonymous users may nothing; superusers may everything.
    2. Deleting needs ``qorworker.delete_job``, and the job must be visible (4). Choosing queue and priority of a run,
       and sharing saved arguments, need their permission of Django and the right to run the type (3). Making, changing
       and pausing schedules of a type needs ``qorworker.manage_schedule`` and the right to schedule it (3). Pausing a
       type needs ``qorworker.pause_job_type`` and the right to look at its jobs (4). Queues and workers are of no type:
       ``qorworker.pause_queue`` and ``qorworker.manage_worker`` decide alone.
    3. A job type's own ``permission`` decides alone about running, scheduling, running again, aborting (which is also
       what marking as failed needs), cancelling, rescheduling and retrying. A text is the name of a Django
       permission; a callable is asked with ``(user, job_type, action)``. A type without one needs the permission of
       Django named in ``PERMISSIONS``.
    4. Looking (job, arguments, log) is allowed by the type's own permission or by Django's. Who has neither the right
       to use a type nor ``qorworker.view_job`` sees nothing of its jobs; arguments and log need a visible job too.
    5. What is done with an existing job needs that job to be visible; running one again also needs a look at its
       arguments, because that is what would be run. Changing one that waits needs the right to choose another time
       for it, to run its type, and to look at its arguments.
    6. With the setting ``OWN_JOBS_ONLY``, a job that somebody else made is visible only with
       ``qorworker.view_all_jobs``, beside all that is needed otherwise.

    Commands and code ask nothing: whoever has a shell, or writes the code, is trusted.
    """
    if not user.is_active or user.is_anonymous:
        return False
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


def lacking(user: Any, action: str, job_type: JobType[Any] | None = None, job: Job | None = None) -> str:
    """Of an action that takes several rights the first that *user* lacks; *action* itself if there is no such."""
    return next((part for part in TOGETHER.get(action, ()) if not can(user, part, job_type, job)), action)


def _granted(user: Any, action: str, job_type: JobType[Any] | None) -> bool:
    general = PERMISSIONS[action]
    own = job_type.permission if job_type is not None else None
    if own is None or action in ALWAYS:
        return bool(user.has_perm(general))
    allowed = _asked(own, user, cast("JobType[Any]", job_type), action) if callable(own) else user.has_perm(own)
    return bool(allowed) or (action in LOOKING and bool(user.has_perm(general)))


def _asked(rule: Any, user: Any, job_type: JobType[Any], action: str) -> bool:
    """What a type's own function says. If it fails nobody is let in, and the pages of the other types stay."""
    try:
        return bool(rule(user, job_type, action))
    except Exception:
        logger.exception("The permission of %s failed; “%s” is refused.", job_type.name, action)
        return False


class Answers:
    """What one user may do with the jobs of a page: one question for each type there, not for each row.

    The rule looks at nothing else of a visible job.
    """

    def __init__(self, user: Any) -> None:
        self.user = user
        self._known: dict[tuple[str, str], bool] = {}

    def can(self, action: str, job: Job) -> bool:
        key = (action, job.name)
        if key not in self._known:
            self._known[key] = can(self.user, action, job=job)
        return self._known[key]


def visible_jobs(user: Any, jobs: JobQuerySet) -> JobQuerySet:
    """Those of *jobs* that *user* may see."""
    jobs = jobs if sees_all(user) else jobs.of_user(user)
    if can(user, "view"):
        return jobs
    return jobs.for_types(job_type.name for job_type in registry.all() if can(user, "view", job_type))


def visible_schedules(user: Any, schedules: ScheduleQuerySet) -> ScheduleQuerySet:
    """Those of *schedules* whose jobs *user* may see."""
    schedules = schedules if sees_all(user) else schedules.of_user(user)
    if can(user, "view"):
        return schedules
    return schedules.for_types(job_type.name for job_type in registry.all() if can(user, "view", job_type))


def sees_all(user: Any) -> bool:
    """Whether *user* may see jobs of others as well: always, unless the setting ``OWN_JOBS_ONLY`` says otherwise."""
    return not settings.OWN_JOBS_ONLY or bool(user.has_perm(ALL_JOBS))


def check_number(user: Any) -> None:
    """Raise ``TooManyJobs`` if *user* has as many unfinished jobs as the setting ``JOBS_PER_USER`` allows."""
    limit = settings.JOBS_PER_USER
    if limit and not user.is_superuser and Job.objects.of_user(user).unfinished_up_to(limit) >= limit:
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
    """Whether there is anything about jobs that *user* may see or start."""
    return can(user, "view") or any(
        can(user, "view", job_type) or can(user, "run", job_type) for job_type in registry.all()
    )


def told_permission(job_type: JobType[Any] | None, action: str) -> str:
    """The name of the permission that *action* needs, to be shown to somebody who lacks it; empty if code decides."""
    own = job_type.permission if job_type is not None else None
    if own is None or action in ALWAYS:
        return PERMISSIONS[action]
    return own if isinstance(own, str) else ""
