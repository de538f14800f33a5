"""Who may do what: one rule, asked by every page, button and endpoint. Web."""

from __future__ import annotations

import logging
from typing import Any, cast

from qorworker.models import Job, JobQuerySet
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
    "view_arguments": "qorworker.view_job_arguments",
    "view_log": "qorworker.view_job_log",
    "delete": "qorworker.delete_job",
}
LOOKING = frozenset({"view", "view_arguments", "view_log"})


def can(user: Any, action: str, job_type: JobType[Any] | None = None, job: Job | None = None) -> bool:
    """Whether *user* may do *action* with *job*, or with jobs of *job_type*. The rule, in the order it is applied:

    1. Inactive and anonymous users may nothing; superusers may everything.
    2. Deleting needs ``qorworker.delete_job``, and the job must be visible (4).
    3. A job type's own ``permission`` decides alone about running, scheduling, running again, aborting, cancelling,
       rescheduling and retrying. A text is the name of a Django permission; a callable is asked with
       ``(user, job_type, action)``. A type without one needs the permission of Django named in ``PERMISSIONS``.
    4. Looking (job, arguments, log) is allowed by the type's own permission or by Django's. Who has neither the right
       to use a type nor ``qorworker.view_job`` sees nothing of its jobs; arguments and log need a visible job too.
    5. What is done with an existing job needs that job to be visible; running one again also needs a look at its
       arguments, because that is what would be run.
    """
    if not user.is_active or user.is_anonymous:
        return False
    if user.is_superuser:
        return True
    job_type = job.job_type if job is not None else job_type
    if not _granted(user, action, job_type):
        return False
    needs = {"view_arguments": "view", "view_log": "view", "rerun": "view_arguments", "delete": "view"}.get(action)
    if needs is None and job is not None and action != "view":
        needs = "view"
    return needs is None or can(user, needs, job_type, job)


def _granted(user: Any, action: str, job_type: JobType[Any] | None) -> bool:
    general = PERMISSIONS[action]
    own = job_type.permission if job_type is not None else None
    if own is None or action == "delete":
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


def visible_jobs(user: Any, jobs: JobQuerySet) -> JobQuerySet:
    """Those of *jobs* that *user* may see."""
    if can(user, "view"):
        return jobs
    return jobs.for_types(job_type.name for job_type in registry.all() if can(user, "view", job_type))


def can_view_any(user: Any) -> bool:
    """Whether there is anything about jobs that *user* may see or start."""
    return can(user, "view") or any(
        can(user, "view", job_type) or can(user, "run", job_type) for job_type in registry.all()
    )


def told_permission(job_type: JobType[Any] | None, action: str) -> str:
    """The name of the permission that *action* needs, to be shown to somebody who lacks it; empty if code decides."""
    own = job_type.permission if job_type is not None else None
    if own is None or action == "delete":
        return PERMISSIONS[action]
    return own if isinstance(own, str) else ""
