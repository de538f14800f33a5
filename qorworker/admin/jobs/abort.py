"""The request to abort a job, as its page shows it. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from qorworker.admin.jobs.history import requester_of
from qorworker.conf import settings
from qorworker.models import AuditEntry, Job
from qorworker.queues import backend_of


@dataclass(frozen=True)
class AbortRequest:
    """A request to abort a job, which may have been carried out."""

    at: dt.datetime | None
    by: str  # empty if that is not recorded
    reason: str
    forced_at: dt.datetime | None  # when the processes are ended by force; None if they are not


def abort_request(job: Job, audit: Sequence[AuditEntry]) -> AbortRequest | None:
    """Return the last request to abort *job* by *audit*, its entries, the oldest first; None if there is none."""
    requests = (entry for entry in reversed(audit) if (entry.action, entry.outcome) == ("abort", "ok"))
    if (entry := next(requests, None)) is not None:
        return AbortRequest(entry.at, requester_of(entry), str(entry.details.get("reason", "")), _forced_at(job))
    return AbortRequest(job.abort_requested_at, "", "", _forced_at(job)) if job.is_aborting else None


def _forced_at(job: Job) -> dt.datetime | None:
    requested_at = job.abort_requested_at if job.is_aborting else None
    if requested_at is None or not backend_of(job.queue_name).supports_kill:
        return None
    return requested_at + dt.timedelta(seconds=settings.ABORT_GRACE)
