"""The seven statuses of a job, every move between them, and how an attempt can end. Pure: no ORM, no process."""

from __future__ import annotations

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class JobStatus(TextChoices):
    """The values of ``Job.status``; the labels are what users see."""

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
        SCHEDULED: "moved to a later time, or paused",
        CANCELLED: "withdrawn before it started",
        EXCEPTION: "cannot start: arguments no longer valid, or crash limit reached",
    },
    SCHEDULED: {
        NEW: "due, a person said run now, or resumed",
        CANCELLED: "withdrawn before it started",
        EXCEPTION: "cannot start: arguments no longer valid, or crash limit reached",
    },
    RUNNING: {
        DONE: "the handler returned, and no results cell carries an error",
        EXCEPTION: "failed, crashed, lost, or over a limit, with no attempt left; or results cells carry errors",
        SCHEDULED: "the attempt failed and waits for its back-off; or the job is to be paused, or waits for an answer",
        NEW: "handed back before its handler was called, interrupted at shutdown and re-runnable, or between two items",
        KILLED: "an abort that was carried out",
    },
    EXCEPTION: {NEW: "retry: one more attempt of the same job was requested"},
    KILLED: {NEW: "retry: one more attempt of the same job was requested"},
    DONE: {},
    CANCELLED: {},
}

WAITING = frozenset({NEW, SCHEDULED})
ENDED_BADLY = frozenset({EXCEPTION, KILLED})
FINISHED = frozenset({DONE, EXCEPTION, KILLED, CANCELLED})
UNFINISHED = frozenset(JobStatus) - FINISHED


def can_move(source: str, target: str) -> bool:
    """Return whether a job can move from *source* to *target*."""
    return JobStatus(target) in TRANSITIONS[JobStatus(source)]


def sources_of(target: str) -> frozenset[JobStatus]:
    """Return the statuses from which a job can move to *target*."""
    return frozenset(source for source, targets in TRANSITIONS.items() if JobStatus(target) in targets)


class Outcome(TextChoices):
    """How one attempt ended."""

    DONE = "done", pgettext_lazy("outcome", "Done")
    ROW_ERRORS = "row_errors", _("Rows with errors")
    FAILED = "failed", pgettext_lazy("outcome", "Failed")
    CRASHED = "crashed", _("Process ended unexpectedly")
    LOST = "lost", _("Worker lost")
    TIMEOUT = "timeout", _("Time limit")
    MEMORY = "memory", _("Memory limit")
    ABORTED = "aborted", pgettext_lazy("outcome", "Aborted")
    INTERRUPTED = "interrupted", _("Interrupted by shutdown")
    SUSPENDED = "suspended", _("Suspended, to go on later")
    BUDGET = "budget", _("Over its budget")
    UNANSWERED = "unanswered", _("Question not answered")
    REFUSED = "refused", _("Could not start")


FAILURES = frozenset(Outcome) - {Outcome.DONE, Outcome.ABORTED, Outcome.INTERRUPTED, Outcome.SUSPENDED}
RETRIED = frozenset({Outcome.FAILED, Outcome.CRASHED, Outcome.LOST, Outcome.TIMEOUT, Outcome.MEMORY})
CRASH_LIMIT = 3  # attempts in a row that ended without a word; a job that does this harms its worker


def next_status(outcome: str, attempt: int, max_attempts: int, crashes: int) -> str:
    """Return the status to which the outcome of an attempt leads."""
    match outcome:
        case Outcome.DONE:
            return DONE
        case Outcome.ABORTED:
            return KILLED
        case Outcome.SUSPENDED:
            return NEW
        case Outcome.INTERRUPTED if max_attempts > 1:
            return NEW
    if outcome in RETRIED and attempt < max_attempts and crashes < CRASH_LIMIT:
        return SCHEDULED
    return EXCEPTION


def heeding(status: str, *, abort: bool, pause: bool, asks: bool = False, crashes: int = 0) -> str:
    """Return the status that a job gets in place of *status* if its abort or its pause was requested as it ran, or if
    it has asked a question.

    A job that has ended is left alone, except for one whose process ended, *crashes* times in a row, after it had
    asked: it still waits for the answer. A paused job is scheduled, as is one that asks: neither waits for a worker.
    """
    if status == EXCEPTION and asks and not abort and 0 < crashes < CRASH_LIMIT:
        return SCHEDULED
    if status not in WAITING:
        return status
    return KILLED if abort else SCHEDULED if pause or asks else status
