"""Cancels jobs of schedules that did not start in time, and jobs that nobody has approved in time.

Parent process, ticks of cron, tasks of Celery.
"""

from __future__ import annotations

import math

from django.db import transaction
from django.utils.translation import gettext as _

from qorworker.definitions.registry import registry
from qorworker.models import Approval, ApprovalState, Job, Origin, Schedule, bulk
from qorworker.system.processes import monotonic

BATCH = 500  # jobs of a schedule in one call


def expire(using: str) -> int:
    """Cancel jobs that did not start, or were not approved, in time; return how many. Others are left waiting."""
    return Expiry(using).run()


class Expiry:
    """Does this in rounds of limited length, so that a worker with very many schedules renews its leases in time."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.last = 0  # the schedule with which the last round ended; 0 if all had their turn

    def run(self, seconds: float = math.inf) -> int:
        """Go on for up to *seconds*, and return how many jobs were cancelled."""
        expired, end = self._unapproved(), monotonic() + seconds
        for pk, name, expires in Schedule.objects.using(self.using).that_expire(after=self.last):
            expired += self._cancel(pk, name, expires)
            self.last = pk
            if monotonic() >= end:
                return expired
        self.last = 0
        return expired

    def _cancel(self, pk: int, name: str, expires: int) -> int:
        overdue = Job.objects.using(self.using).overdue_of(pk, expires)
        ids = list(overdue.values_list("pk", flat=True)[:BATCH])
        if not ids:
            return 0
        reason = _("It did not start in the time that the schedule “%(name)s” gives it.") % {"name": name}
        with transaction.atomic(using=self.using):
            # Together: one by one they would take longer than the leases of the worker that does this.
            free = self._unlocked(ids)
            still = set(overdue.filter(pk__in=[job.pk for job in free]).values_list("pk", flat=True))
            free = [job for job in free if job.pk in still]  # the others have moved on since they were found
            return len(bulk.cancel(free, self.using, reason=reason, origin=Origin.WORKER)) if free else 0

    def _unapproved(self) -> int:
        """Cancel jobs that nobody has approved in time. Where no job type asks for approval, nothing is looked up."""
        if all(job_type.approval is None for job_type in registry.all()):
            return 0
        expired = Approval.objects.using(self.using).expired()
        ids = list(expired.order_by("expires_at").values_list("job_id", flat=True)[:BATCH])
        if not ids:
            return 0
        with transaction.atomic(using=self.using):
            free = self._unlocked(ids)
            gone = {*ids} - set(Job.objects.using(self.using).filter(pk__in=ids).values_list("pk", flat=True))
            # Looked at again under the lock: a change of the job may have asked anew.
            over = expired.filter(job_id__in=[*gone, *(job.pk for job in free)])
            whose = set(over.values_list("job_id", flat=True))
            over.close(ApprovalState.EXPIRED)
            waiting = [job for job in free if job.pk in whose and job.awaits_approval]
            reason = _("Nobody approved it in time.")
            return len(bulk.cancel(waiting, self.using, reason=reason, origin=Origin.WORKER)) if waiting else 0

    def _unlocked(self, ids: list[int]) -> list[Job]:
        """Lock those of these jobs that no other transaction has locked, and return them: the others wait for later."""
        rows = Job.objects.using(self.using).filter(pk__in=ids)
        if transaction.get_connection(self.using).features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        return list(rows)
