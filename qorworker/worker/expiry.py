"""Cancels jobs of schedules that did not start in time. Parent process, ticks of cron, tasks of Celery."""

from __future__ import annotations

from contextlib import suppress

from django.utils.translation import gettext as _

from qorworker.exceptions import InvalidTransition
from qorworker.models import Job, Origin, Schedule

AT_ONCE = 500  # jobs of a schedule in one go


def expire(using: str) -> int:
    """Withdraw what should have started and did not; how many jobs. What people started by hand waits on."""
    number = 0
    for pk, name, seconds in Schedule.objects.using(using).that_expire():
        reason = _("It did not start in the time that the schedule “%(name)s” gives it.") % {"name": name}
        for job in Job.objects.using(using).overdue_of(pk, seconds)[:AT_ONCE]:
            with suppress(InvalidTransition):  # it has started meanwhile
                job.cancel(reason=reason, origin=Origin.WORKER)
                number += 1
    return number
