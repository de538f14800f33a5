"""What users have to approve before it may run: single jobs, and schedules for all of their runs. All processes.

A flag in the row of the job says that it waits for the approval, and the database refuses to queue or run a job with
that flag. A row here says who asked for what, and who decided. As a job starts, the row must fit the type, the
arguments and the code that run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from qorworker.conf import settings
from qorworker.exceptions import MayNotApprove
from qorworker.models.audit import Origin, account_of
from qorworker.models.clock import DatabaseNow
from qorworker.models.fields import RemarkField
from qorworker.models.indexes import PartialIndex
from qorworker.models.own import OwnQuerySet

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.schedule import Schedule

PERMISSION_CHARS = 201
REASON_CHARS = 200
OPEN = "_open_approval"  # an attribute of a job, where a page keeps what it has read


class ApprovalState(models.TextChoices):
    """What became of a request for approval."""

    OPEN = "open", pgettext_lazy("approval", "Open")
    APPROVED = "approved", pgettext_lazy("approval", "Approved")
    DECLINED = "declined", pgettext_lazy("approval", "Declined")
    EXPIRED = "expired", pgettext_lazy("approval", "Expired")
    VOID = "void", pgettext_lazy("approval", "No longer valid")  # what it was for has changed


class ApprovalQuerySet(OwnQuerySet["Approval"]):
    def open(self) -> ApprovalQuerySet:
        """Return those that can still be decided, by the clock of the database."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=DatabaseNow()), state=ApprovalState.OPEN)

    def expired(self) -> ApprovalQuerySet:
        """Return those of jobs that nobody has decided in time."""
        return self.filter(state=ApprovalState.OPEN, job__isnull=False, expires_at__lte=DatabaseNow())

    def approved(self) -> ApprovalQuerySet:
        return self.filter(state=ApprovalState.APPROVED)

    def of_job(self, job_id: int) -> ApprovalQuerySet:
        return self.filter(job_id=job_id).order_by("pk")

    def of_schedule(self, schedule: Schedule) -> ApprovalQuerySet:
        """Return those of a schedule as it is now: a change of it needs another one."""
        return self.filter(schedule_id=schedule.pk, job=None, revision=schedule.revision).order_by("pk")

    def close(self, state: str, **values: Any) -> int:
        """Give these their end, and return how many of them were still open."""
        rows = self.filter(state__in=[ApprovalState.OPEN, ApprovalState.APPROVED])
        return rows.update(state=state, closed_at=DatabaseNow(), **values)


class Approval(models.Model):
    """One request for the approval of a job, or of a schedule as it was in one revision.

    It is deleted with its job or its schedule.
    """

    job = models.ForeignKey(
        "qorworker.Job", models.DO_NOTHING, null=True, related_name="approvals", db_constraint=False, db_index=False
    )
    schedule = models.ForeignKey(
        "qorworker.Schedule", models.DO_NOTHING, null=True, related_name="approvals", db_constraint=False,
        db_index=False,
    )  # fmt: skip
    revision = models.PositiveIntegerField(default=0)  # of the schedule
    permission = models.CharField(gettext_lazy("permission"), max_length=PERMISSION_CHARS)  # that is needed to decide
    digest = models.CharField(max_length=64, blank=True)  # of what was approved; see ``definitions.approval``
    state = models.CharField(
        gettext_lazy("state"), max_length=8, choices=ApprovalState.choices, default=ApprovalState.OPEN
    )
    asked_at = models.DateTimeField(gettext_lazy("asked"))
    expires_at = models.DateTimeField(gettext_lazy("until"), null=True, blank=True)
    closed_at = models.DateTimeField(gettext_lazy("decided"), null=True, blank=True)
    # Copied, so that they outlive the accounts. Empty: code.
    asked_by = models.CharField(max_length=64, blank=True)  # the id of the user
    asked_by_name = RemarkField(gettext_lazy("asked by"), max_length=254, blank=True)
    decided_by = models.CharField(max_length=64, blank=True)
    decided_by_name = RemarkField(gettext_lazy("decided by"), max_length=254, blank=True)
    reason = RemarkField(gettext_lazy("reason"), max_length=REASON_CHARS, blank=True)
    origin = models.CharField(gettext_lazy("origin"), max_length=10, choices=Origin.choices, blank=True)

    objects = ApprovalQuerySet.as_manager()

    askers: frozenset[str] = frozenset()  # the ids of all users who have asked for its job: see ``open_among``

    class Meta:
        verbose_name = gettext_lazy("approval")
        verbose_name_plural = gettext_lazy("approvals")
        default_permissions = ()
        ordering = ("id",)
        indexes = (
            models.Index(name="qorworker_approval_job", fields=("job",)),
            PartialIndex(name="qorworker_approval_schedule", fields=("schedule",), only=Q(schedule__isnull=False)),
            PartialIndex(name="qorworker_approval_open", fields=("expires_at",), only=Q(state="open")),
        )

    def __str__(self) -> str:
        return str(self.get_state_display())

    @property
    def is_approved(self) -> bool:
        return self.state == ApprovalState.APPROVED


def refusal_of(approval: Approval, by: Any, asked_by: Collection[str]) -> str:
    """Return why *by* may not decide about *approval*; empty if they may.

    :param asked_by: the ids of the users who have asked for it.
    """
    if by is None or by.pk is None or not by.is_active:
        return _("Only a user with an active account can decide about it.")
    if not by.has_perm(approval.permission):
        return _("Only users with the permission “%s” can decide about it.") % approval.permission
    if not settings.APPROVE_OWN and str(by.pk) in asked_by:
        return _("Another user than the one who asked for it must approve it.")
    return ""


def check_approver(approval: Approval, by: Any, asked_by: Collection[str]) -> None:
    """Raise ``MayNotApprove`` unless *by* may decide about *approval*; *asked_by* as for ``refusal_of``."""
    if refusal := refusal_of(approval, by, asked_by):
        raise MayNotApprove(refusal)


def open_approval_of(job: Job) -> Approval | None:
    """Return the request about a job that has not been decided; None if there is none. It is read once."""
    known = vars(job)
    if OPEN not in known:
        known[OPEN] = open_among(Approval.objects.using(job._state.db).of_job(job.pk))
    approval: Approval | None = known[OPEN]
    return approval


def note_open_approvals(jobs: Collection[Job], using: str) -> None:
    """Read for all of *jobs* what ``open_approval_of`` returns: one query, or none if none of them waits."""
    waiting = [job for job in jobs if job.awaits_approval and OPEN not in vars(job)]
    rows = Approval.objects.using(using).filter(job_id__in=[job.pk for job in waiting])
    of_job = defaultdict[Any, list[Approval]](list)
    for approval in rows.order_by("pk") if waiting else ():
        of_job[approval.job_id].append(approval)
    for job in waiting:
        vars(job)[OPEN] = open_among(of_job[job.pk])


def open_among(approvals: Iterable[Approval]) -> Approval | None:
    """Return the one that has not been decided of all *approvals* of a job, the oldest first; None if there is none.

    It knows who has ever asked: whoever retries a job is not the one who has chosen its arguments.
    """
    rows = list(approvals)
    newest = next((row for row in reversed(rows) if row.state == ApprovalState.OPEN), None)
    if newest is not None:
        newest.askers = frozenset(row.asked_by for row in rows)
    return newest


def names_of(user: Any, who: str) -> dict[str, str]:
    """Return the columns that name *user* in the role *who*: ``asked_by`` or ``decided_by``."""
    number, name = account_of(user)
    return {who: number, f"{who}_name": name}
