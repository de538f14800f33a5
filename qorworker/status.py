"""The seven statuses of a job and every move between them. Pure: no ORM, no process."""

from __future__ import annotations

from django.db.models import TextChoices
from django.utils.translation import pgettext_lazy


class JobStatus(TextChoices):
    """What is stored in ``Job.status``; the labels are what people see."""

    NEW = "new", pgettext_lazy("job status", "Queued")
    SCHEDULED = "scheduled", pgettext_lazy("job status", "Scheduled")
    RUNNING = "running", pgettext_lazy("job status", "Running")
    DONE = "done", pgettext_lazy("job status", "Done")
    EXCEPTION = "exception", pgettext_lazy("job status", "Failed")
    KILLED = "killed", pgettext_lazy("job status", "Aborted")
    CANCELLED = "cancelled", pgettext_lazy("job status", "Cancelled")


NEW, SCHEDULED, RUNNING = JobStatus.NEW, JobStatus.SCHEDULED, JobStatus.RUNNING
DONE, EXCEPTION, KILLED, CANCELLED = JobStatus.DONE, JobStatus.EXCEPTION, JobStatus.KILLED, JobStatus.CANCELLED

# from -> to -> what causes the move. Every pair that is not here is forbidden.
TRANSITIONS: dict[JobStatus, dict[JobStatus, str]] = {
    NEW: {
        RUNNING: "claimed by a worker",
        SCHEDULED: "moved to a later time",
        CANCELLED: "withdrawn before it started",
        EXCEPTION: "cannot start: arguments no longer valid, or crash limit reached",
    },
    SCHEDULED: {
        NEW: "due, or a person said run now",
        CANCELLED: "withdrawn before it started",
        EXCEPTION: "cannot start: arguments no longer valid, or crash limit reached",
    },
    RUNNING: {
        DONE: "the handler returned, and no results cell carries an error",
        EXCEPTION: "failed, crashed, lost, or over a limit, with no attempt left; or results cells carry errors",
        SCHEDULED: "the attempt failed and waits for its back-off",
        NEW: "handed back before its handler was called, or interrupted at shutdown and re-runnable",
        KILLED: "an abort that was carried out",
    },
    EXCEPTION: {NEW: "retry: one more attempt of the same job was asked for"},
    KILLED: {NEW: "retry: one more attempt of the same job was asked for"},
    DONE: {},
    CANCELLED: {},
}

WAITING = frozenset({NEW, SCHEDULED})
ENDED_BADLY = frozenset({EXCEPTION, KILLED})
FINISHED = frozenset({DONE, EXCEPTION, KILLED, CANCELLED})


def can_move(source: str, target: str) -> bool:
    """Whether a job may go from *source* to *target*."""
    return JobStatus(target) in TRANSITIONS[JobStatus(source)]


def sources_of(target: str) -> frozenset[JobStatus]:
    """The statuses from which a job may reach *target*."""
    return frozenset(source for source, targets in TRANSITIONS.items() if JobStatus(target) in targets)
