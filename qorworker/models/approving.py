"""How jobs and schedules come to wait for an approval. All processes."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model

from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.definitions.approval import digest_of, right_for
from qorworker.models.approval import Approval, ApprovalState, names_of
from qorworker.models.clock import database_now
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet
    from qorworker.models.schedule import Schedule

AT_ONCE = 500  # jobs in one statement
RIGHT = "_right_to_approve"  # an attribute of a job: see ``note_right``
COPIED = ("permission", "digest", "state", "asked_at", "closed_at", "asked_by", "asked_by_name", "decided_by",
          "decided_by_name", "reason", "origin")  # fmt: skip


def approval_right(job_type: JobType[..., Any] | None, by: Any, stored: Mapping[str, Any]) -> str:
    """Return the permission that somebody needs to approve a run; empty if it needs no approval.

    :param by: the user who asks for the run; None for code.
    :param stored: the arguments as the table stores them.
    :raises qorworker.exceptions.InvalidArguments: if the rule of the type fails.
    """
    return right_for(job_type, by, stored) if job_type is not None and job_type.approval is not None else ""


def note_right(job: Job, by: Any) -> None:
    """Note with *job* which right its approval needs, before it is stored or queued: empty if it needs none.

    A callable is asked about the user who has enqueued it, too: it is asked about that one again as the job starts.

    :param by: the user who asks for the run; None for code.
    :raises qorworker.exceptions.InvalidArguments: if the rule of its type fails.
    """
    if job.is_dry_run:  # it changes nothing
        vars(job)[RIGHT] = ""
        return
    right = approval_right(job.job_type, by, job.arguments)
    rule = job.job_type.options.approval if job.job_type is not None else None
    if not right and callable(rule) and job.created_by_id != getattr(by, "pk", None):
        right = approval_right(job.job_type, user_of(job.created_by_id), job.arguments)
    vars(job)[RIGHT] = right


def user_of(number: Any) -> Any:
    """Return the user with this id; None if there is none: for code, or without an account."""
    return get_user_model()._default_manager.filter(pk=number).first() if number is not None else None


def hold_unapproved(rows: JobQuerySet, jobs: Sequence[Job], by: Any = None) -> None:
    """Let those of *jobs* that nobody has approved wait for that. In the transaction that stores or queues them.

    :param rows: all jobs of their database.
    :param jobs: jobs for which ``note_right`` was called, with their ids.
    :param by: the user who asks; None for code, and for a schedule, whose approval counts for the jobs that it makes.
    """
    needy = [job for job in jobs if vars(job).get(RIGHT)]
    if not needy:
        return
    own = _own_digests(needy, rows.db)
    held = [job for job in needy if not _is_approved(job, own[job.pk], by, rows.db)]
    if not held:
        return
    now = database_now(rows.db)
    Approval.objects.using(rows.db).bulk_create(
        [_request(vars(job)[RIGHT], now, by, job_id=job.pk) for job in held], batch_size=AT_ONCE
    )
    for start in range(0, len(held), AT_ONCE):
        rows.filter(pk__in=[job.pk for job in held[start : start + AT_ONCE]]).hold_for_approval()
    for job in held:
        job.status, job.waits_for_approval = JobStatus.SCHEDULED, True


def ask_again(rows: JobQuerySet, job: Job, by: Any) -> None:
    """Void the approvals of a job that waits, whose arguments have changed, and let it wait for another one if needed.

    In the transaction that changes it, with its row locked.

    :param job: with its new arguments, and what ``note_right`` has noted about them.
    """
    if not job.waits_for_approval and (job.job_type is None or job.job_type.approval is None):
        return
    Approval.objects.using(rows.db).of_job(job.pk).close(ApprovalState.VOID)
    released = rows.filter(pk=job.pk, waits_for_approval=True).update(waits_for_approval=False)
    hold_unapproved(rows, [job], by)
    if released:
        rows.filter(pk=job.pk).promote_due()


def withdraw_requests(jobs: Iterable[Job], using: str) -> None:
    """Close the open requests about *jobs*, which are cancelled. In the transaction that does so."""
    needy = [job.pk for job in jobs if job.waits_for_approval or (job.job_type and job.job_type.approval is not None)]
    if needy:
        rows = Approval.objects.using(using).filter(job_id__in=needy, state=ApprovalState.OPEN)
        rows.close(ApprovalState.VOID)


def ask_for_schedule(schedule: Schedule, right: str, by: Any, using: str) -> None:
    """Ask for the approval of a schedule as it is now. In the transaction that stores it.

    :param right: what ``right_for`` has returned; empty if it needs no approval.
    """
    Approval.objects.using(using).filter(schedule_id=schedule.pk, job=None).close(ApprovalState.VOID)
    if right:
        ask_for_code(schedule, right, by, using)


def ask_for_code(schedule: Schedule, right: str, by: Any, using: str) -> None:
    """Ask for the approval of a schedule with the code of this process. Approvals of other code stay valid for that."""
    request = _request(right, database_now(using), by, schedule_id=schedule.pk, revision=schedule.revision)
    request.expires_at = None  # it makes no jobs meanwhile
    request.save(using=using, force_insert=True)


def approval_of_schedule(schedule: Schedule, using: str) -> Approval | None:
    """Return the latest request for the approval of a schedule as it is now; None if there was none."""
    return Approval.objects.using(using).of_schedule(schedule).last()


def is_schedule_approved(schedule: Schedule, using: str) -> bool:
    """Return whether somebody has approved what *schedule* would run now with the code of this process."""
    given = Approval.objects.using(using).of_schedule(schedule).approved()
    return given.filter(digest=digest_of_schedule(schedule)).exists()


def digest_of_schedule(schedule: Schedule) -> str:
    """Return what an approval of a schedule is for: that of the jobs that it makes."""
    assert schedule.job_type is not None
    return digest_of(schedule.job_type, files.lend(schedule.current_arguments, schedule.pk))


def forget_approvals(schedules: Sequence[int], using: str) -> None:
    """Delete the approvals of schedules that are deleted, given by their ids. Those of their jobs stay."""
    Approval.objects.using(using).filter(schedule_id__in=list(schedules), job=None).delete()


def _request(right: str, now: dt.datetime, by: Any, **about: Any) -> Approval:
    lasts = settings.APPROVAL_EXPIRES
    ends = now + dt.timedelta(seconds=lasts) if lasts else None
    return Approval(permission=right, asked_at=now, expires_at=ends, **names_of(by, "asked_by"), **about)


def _own_digests(jobs: Sequence[Job], using: str) -> defaultdict[int, set[str]]:
    """Return what has been approved of each of *jobs*, by their ids."""
    digests = defaultdict[int, set[str]](set)
    for start in range(0, len(jobs), AT_ONCE):
        rows = Approval.objects.using(using).filter(job_id__in=[job.pk for job in jobs[start : start + AT_ONCE]])
        for job_id, digest in rows.approved().values_list("job_id", "digest"):
            digests[job_id or 0].add(digest)
    return digests


def _is_approved(job: Job, own: set[str], by: Any, using: str) -> bool:
    """Return whether a job that is stored or queued again has an approval: its *own*, or that of its schedule."""
    schedule_id = job.schedule_id if by is None else None
    if job.job_type is None or (not own and schedule_id is None):
        return False
    digest = digest_of(job.job_type, job.arguments)
    if digest in own or schedule_id is None:
        return digest in own
    # Those of earlier revisions are void.
    approved = Approval.objects.using(using).approved().filter(schedule_id=schedule_id, job=None)
    given = approved.filter(digest=digest).order_by("pk").last()
    if given is None:
        return False
    copied = {name: getattr(given, name) for name in COPIED}
    Approval(job_id=job.pk, schedule_id=job.schedule_id, revision=given.revision, **copied).save(using=using)
    return True
