"""The verbs that decide about a schedule that waits for approval. All processes.

These functions are methods of ``Schedule``. An approval counts for the schedule as it is: a change needs another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qorworker.exceptions import InvalidSchedule
from qorworker.models.alters import alters_data, begins_again
from qorworker.models.approval import REASON_CHARS, Approval, ApprovalState, check_approver, names_of
from qorworker.models.approving import digest_of_schedule
from qorworker.models.audit import Origin
from qorworker.models.own import write_database
from qorworker.models.schedule_verbs import changing

if TYPE_CHECKING:
    from qorworker.models.schedule import Schedule


@alters_data
@begins_again
def approve(self: Schedule, *, by: Any, approval: Approval | None = None, origin: str = Origin.CODE) -> None:
    """Approve a schedule that waits for it: from now on its jobs start without further approvals.

    :param by: the user who approves it: another one than made it, with the permission that its job type names.
    :param approval: which request the user has seen; None: the one that is open.
    :param origin: where the request comes from, for pages and the audit.
    :raises qorworker.exceptions.MayNotApprove: if *by* is not a user who may.
    :raises qorworker.exceptions.InvalidSchedule: if it waits for no approval, or has changed since *approval*.
    """
    with changing(self, "approve schedule", by, origin):
        open_one = _open(self, by, approval)
        if self.job_type is None:
            raise InvalidSchedule("The code of its job type is gone. Nothing was changed.")
        values = {"digest": digest_of_schedule(self), "origin": origin, **names_of(by, "decided_by")}
        _rows(self).filter(pk=open_one.pk).close(ApprovalState.APPROVED, **values)
        self.needs_attention = ""


@alters_data
@begins_again
def decline(
    self: Schedule, *, by: Any, approval: Approval | None = None, reason: str = "", origin: str = Origin.CODE
) -> None:
    """Decline to approve a schedule: it makes no jobs until it is changed, and then asks again.

    :param by: the user who declines; that needs the same as to approve.
    :param approval: which request the user has seen; None: the one that is open.
    :param reason: the reason, for pages and the audit.
    :param origin: where the request comes from, for pages and the audit.
    :raises qorworker.exceptions.MayNotApprove: if *by* is not a user who may.
    :raises qorworker.exceptions.InvalidSchedule: if it waits for no approval, or has changed since *approval*.
    """
    reason = reason[:REASON_CHARS]
    with changing(self, "decline schedule", by, origin, reason=reason):
        open_one = _open(self, by, approval)
        values = {"reason": reason, "origin": origin, **names_of(by, "decided_by")}
        _rows(self).filter(pk=open_one.pk).close(ApprovalState.DECLINED, **values)


def _open(schedule: Schedule, by: Any, seen: Approval | None) -> Approval:
    """Return the request that is open, for *by* to decide."""
    # Locked, so that it is read as it is now: see ``job_approval``.
    newest: Approval | None = _rows(schedule).of_schedule(schedule).select_for_update().last()
    if newest is None or newest.state != ApprovalState.OPEN:
        raise InvalidSchedule("The schedule does not wait for approval. Nothing was changed.")
    if seen is not None and seen.pk != newest.pk:
        raise InvalidSchedule("The schedule has been changed meanwhile: look at it again. Nothing was changed.")
    check_approver(newest, by, makers_of(schedule, newest))
    return newest


def makers_of(schedule: Schedule, approval: Approval) -> set[str]:
    """Return the ids of the users who have made the schedule, or have last changed it."""
    return {str(pk or "") for pk in (schedule.created_by_id, schedule.answerable_id)} | {approval.asked_by}


def _rows(schedule: Schedule) -> Any:
    return Approval.objects.using(write_database(schedule))
