"""Checks, as a job starts, that what was approved is what runs. Wherever a job runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from qorworker.definitions.approval import digest_of, right_for
from qorworker.exceptions import NotApproved
from qorworker.models import Job
from qorworker.models.approval import Approval
from qorworker.models.approving import user_of

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.execution.messages import Work


def check(work: Work, job_type: JobType[..., Any]) -> None:
    """Raise ``NotApproved`` if the job needs an approval and has none for its arguments and the code that would run.

    A deployment may have changed the code since, or the rule that says which runs need one.
    """
    stored = json.loads(work.arguments)
    approvals = Approval.objects.using(work.database).of_job(work.id).approved()
    digests = set(approvals.values_list("digest", flat=True))
    if digest_of(job_type, stored) in digests or not right_for(job_type, _requester(work), stored):
        return
    if digests:
        reason = _("Its code has changed since it was approved.")
    else:
        reason = _("Nobody has approved it, and by now its code asks for that.")
    raise NotApproved(" ".join((reason, _("It was not started. Retry it to ask for the approval."))))


def _requester(work: Work) -> Any:
    """Return the user for whom the job was enqueued; None for code."""
    number = Job.objects.using(work.database).filter(pk=work.id).values_list("created_by_id", flat=True).first()
    return user_of(number)
