"""Pauses of single jobs: what their rows say of them, and the two verbs. All processes.

A pause is a time in the row. A job that waits is then scheduled, and nothing queues it until it is resumed. A job that
runs is asked to end its attempt between two items of a loop: whatever would queue it afterwards schedules it instead.
If it ends first, it has ended. So a pause is refused where it could come to nothing else: the job has no attempt left,
and has not come to a loop.

The first functions are methods of ``JobQuerySet``, the verbs are those of ``Job``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Case, F, Q, Value, When

from qorworker.models.alters import alters_data, begins_again
from qorworker.models.audit import Origin
from qorworker.models.clock import DatabaseNow
from qorworker.models.job_verbs import changing, row_of
from qorworker.queues import backend_of
from qorworker.status import NEW, RUNNING, SCHEDULED, WAITING

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.job_queries import JobQuerySet

PAUSED = Q(status=SCHEDULED, pause_requested_at__isnull=False)
NOT_PAUSED = Q(status=SCHEDULED, pause_requested_at__isnull=True)  # scheduled for a time, or for another attempt


def can_be_paused(self: JobQuerySet) -> JobQuerySet:
    """Return jobs that wait, or run and can stop, and that nobody has paused or asked to end, as ``can_pause``."""
    can_stop = Q(checkpoint__isnull=False) | Q(attempt__lt=F("max_attempts"))
    runs = Q(status=RUNNING, abort_requested_at__isnull=True) & can_stop
    return self.filter(Q(status__in=sorted(WAITING)) | runs, pause_requested_at__isnull=True)


def can_be_resumed(self: JobQuerySet) -> JobQuerySet:
    """Return jobs that are paused, and running ones that were asked to pause and not to end."""
    unfinished = Q(status=SCHEDULED) | Q(status=RUNNING, abort_requested_at__isnull=True)
    return self.filter(unfinished, pause_requested_at__isnull=False)


def request_pause(self: JobQuerySet) -> int:
    """Pause those that can be paused, and return how many. One statement, so no claim comes between."""
    status = Case(When(status=NEW, then=Value(SCHEDULED.value)), default=F("status"))
    return self.can_be_paused().update(status=status, pause_requested_at=DatabaseNow())


def end_pause(self: JobQuerySet) -> int:
    """Queue paused jobs, or schedule those whose time is still to come. Return how many pauses have ended.

    The time of a job that is due becomes the present: it could not have started before.
    """
    ended = self.can_be_resumed().update(run_after=time_of_waiting(), pause_requested_at=None)
    self.promote_due()
    return ended


def time_of_waiting() -> Case:
    """Return the time of a job that something else has held up: one that is due could not have started before."""
    is_late = When(status=SCHEDULED, run_after__lt=DatabaseNow(), then=DatabaseNow())
    return Case(is_late, default=F("run_after"))


def can_pause(self: Job) -> bool:
    """Whether it waits; or runs, and has come to a loop, or has another attempt that would wait."""
    if self.status in WAITING:
        return not self.is_paused
    if self.status != RUNNING or self.is_aborting or self.is_pausing:
        return False
    can_stop = self.attempt < self.max_attempts or self.has_checkpoint
    return can_stop and backend_of(self.queue_name).supports_pause


# The verbs.


@alters_data
@begins_again
def pause(self: Job, *, by: Any = None, reason: str = "", origin: str = Origin.CODE) -> None:
    """Keep a job from starting, or let one that runs stop at the next item of its loop, until it is resumed.

    A job that runs is suspended where ``context.iterate()`` comes to its next item, and goes on there once it is
    resumed; no attempt is used up. If it ends first, in whatever way, it has ended; an attempt that would follow a
    failed one waits until the job is resumed. A second request changes nothing.

    :param by: the user who pauses it, for pages and the audit.
    :param reason: the reason, for pages and the audit.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidTransition: if it has ended, was asked to end, or has no attempt left and has
        not come to a loop.
    :raises qorworker.exceptions.UnsupportedByBackend: if it runs, and the queue's backend cannot pause running jobs.

    Example::

        job.pause(by=request.user, reason="The shop is busy until six.")
        job.resume(by=request.user)
    """
    backend = backend_of(self.queue_name)
    with changing(self, "pause", by, origin, reason=reason) as result:
        rows = row_of(self)
        if not backend.supports_pause and rows.running().exists():
            backend.check_pause()
        result.moved = (rows if backend.supports_pause else rows.waiting()).request_pause()
        if not result.moved and (row := rows.first()) is not None:
            result.repeated = row.can_resume
            result.message = _refusal(row)


@alters_data
@begins_again
def resume(self: Job, *, by: Any = None, origin: str = Origin.CODE) -> None:
    """Let a paused job go on: behind its last checkpoint if it has one, at its time if that is still to come.

    A pause that was requested of a running job, and has not come about yet, is withdrawn.

    :param by: the user who resumes it, for the audit.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidTransition: if it is not paused, or was asked to end.
    """
    with changing(self, "resume", by, origin) as result:
        result.moved = row_of(self).end_pause()
        if not result.moved:
            is_aborting = row_of(self).running().filter(abort_requested_at__isnull=False).exists()
            why = "is being aborted" if is_aborting else "is not paused"
            result.message = f"Job {self.pk} {why}. Nothing was changed."


def _refusal(row: Job) -> str:
    """Return why a running job cannot be paused; empty for any other one."""
    if row.status != RUNNING:
        return ""
    if row.is_aborting:
        return f"Job {row.pk} is being aborted: it cannot be paused."
    return (
        f"Job {row.pk} has not come to a loop with context.iterate(), and has no attempt left that could wait:"
        " it cannot be paused."
    )
