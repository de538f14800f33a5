"""The verbs that decide about a job that waits for approval. All processes.

These functions are methods of ``Job``. Whoever asked for the run, or has changed its arguments, cannot approve it,
through whatever door.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qorworker.definitions.approval import digest_of
from qorworker.exceptions import UnknownJobType
from qorworker.models import job_questions
from qorworker.models.alters import alters_data, begins_again
from qorworker.models.approval import REASON_CHARS, Approval, ApprovalState, check_approver, names_of, open_among
from qorworker.models.audit import Origin
from qorworker.models.job_pause import time_of_waiting
from qorworker.models.job_verbs import VerbResult, changing, row_of, withdraw
from qorworker.models.own import write_database

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.question import Question


@alters_data
@begins_again
def approve(self: Job, *, by: Any, approval: Approval | None = None, origin: str = Origin.CODE) -> None:
    """Approve a job that waits for it: it starts at once, or at its time. It counts for its arguments and its code.

    :param by: the user who approves it: another one than asked for it, with the permission that its type names.
    :param approval: which of its ``approvals`` the user has seen; None: the one that is open.
    :param origin: where the request comes from, for pages and the audit.
    :raises qorworker.exceptions.MayNotApprove: if *by* is not a user who may.
    :raises qorworker.exceptions.InvalidTransition: if it does not wait for approval, or has changed since *approval*.
    :raises qorworker.exceptions.UnknownJobType: if its code is gone.

    Example::

        job.approve(by=request.user)
    """

    def let_start(row: Job, open_one: Approval, result: VerbResult) -> None:
        if row.job_type is None:
            raise UnknownJobType(row.name)
        values = {"digest": digest_of(row.job_type, row.arguments), "origin": origin, **names_of(by, "decided_by")}
        rows = row_of(self).awaiting_approval()
        result.moved = rows.update(waits_for_approval=False, run_after=time_of_waiting())
        _pending(self).filter(pk=open_one.pk).close(ApprovalState.APPROVED, **values)
        row_of(self).promote_due()

    _decide(self, "approve", by, approval, origin, "", let_start)


@alters_data
def decline(
    self: Job, *, question: Question | None = None, approval: Approval | None = None, by: Any = None,
    reason: str = "", origin: str = Origin.CODE,
) -> None:  # fmt: skip
    """Decline to approve a job that waits for that: it is cancelled. Or decline to answer its question.

    In the second case its handler gets ``NotAnswered``, even if there is a default.

    :param question: which of its ``questions``; None: the one that is open, if it does not wait for approval.
    :param approval: which of its ``approvals`` the user has seen; None: the one that is open.
    :param by: the user who declines, for pages and the audit; to decline to approve needs the same as to approve.
    :param reason: the reason, for the handler, pages and the audit.
    :param origin: where the request comes from, for pages and the audit.
    :raises qorworker.exceptions.MayNotApprove: if it waits for approval and *by* is not a user who may approve it.
    :raises qorworker.exceptions.InvalidTransition: if there is nothing to decide, or it was decided before.
    """
    if question is not None or (approval is None and not row_of(self).awaiting_approval().exists()):
        job_questions.decline(self, question=question, by=by, reason=reason, origin=origin)
    else:
        _decline(self, by, approval, reason, origin)


@begins_again
def _decline(self: Job, by: Any, approval: Approval | None, reason: str, origin: str) -> None:
    def end(row: Job, open_one: Approval, result: VerbResult) -> None:
        values = {"reason": reason[:REASON_CHARS], "origin": origin, **names_of(by, "decided_by")}
        _pending(self).filter(pk=open_one.pk).close(ApprovalState.DECLINED, **values)
        result.moved = withdraw(self)

    _decide(self, "decline to approve", by, approval, origin, reason, end)


def _decide(
    job: Job, verb: str, by: Any, seen: Approval | None, origin: str, reason: str,
    decide: Callable[[Job, Approval, VerbResult], None],
) -> None:  # fmt: skip
    details = {"reason": reason[:REASON_CHARS]} if reason else {}
    with changing(job, verb, by, origin, **details) as result:
        row = row_of(job).select_for_update().first()
        if row is None or not row.awaits_approval:
            result.message = "" if row is None else f"Job {job.pk} does not wait for approval. Nothing was changed."
            return
        # Locked, so that they are read as they are now, even in a transaction that began before a change of the job.
        locked = _pending(job).select_for_update()
        open_one = open_among(locked)
        if open_one is None or open_one.pk not in locked.open().values_list("pk", flat=True):
            result.message = f"Job {job.pk} could be approved only until its time was over. Nothing was changed."
        elif seen is not None and seen.pk != open_one.pk:
            result.message = f"Job {job.pk} has been changed meanwhile: look at it again. Nothing was changed."
        else:
            check_approver(open_one, by, asked_by(row, open_one))
            decide(row, open_one, result)


def asked_by(job: Job, approval: Approval) -> set[str]:
    """Return the ids of the users who have asked for a run: who enqueued it, changed its arguments, or retried it."""
    return {str(job.created_by_id or ""), approval.asked_by, *approval.askers} - {""}


def _pending(job: Job) -> Any:
    return Approval.objects.using(write_database(job)).of_job(job.pk)
