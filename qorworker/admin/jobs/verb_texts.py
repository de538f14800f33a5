"""What is said before a verb of a job, after it, and where it was refused. Web."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker.admin.display import qw_from_now
from qorworker.admin.jobs import failed_rows
from qorworker.admin.jobs.history import requester_of
from qorworker.admin.texts import BROKEN
from qorworker.admin.verbs import DELETED, Verb
from qorworker.exceptions import InvalidArguments, InvalidTransition, JobTypeError, QorWorkerError, UnknownJobType
from qorworker.models import AuditEntry, Job
from qorworker.queues import backend_of
from qorworker.status import FINISHED, WAITING, JobStatus
from qorworker.text import moments

SILENT = gettext_lazy(
    "Its worker does not respond, and only a living worker can end its processes. If that worker comes back, it ends "
    "the job. If not, another worker takes the job over as aborted, and what the job has started may keep running."
)


def question_of(verb: Verb, job: Job) -> str:
    """Return what to ask before the verb; empty if nothing is to be asked."""
    if verb.question:
        return str(verb.question) % {"job": _named(job)}
    if verb.name not in ("retry", "run-again", "run-for-real", failed_rows.NAME) or _rehearses(verb, job):
        return ""
    if job.job_type is not None and job.job_type.confirm:
        return str(job.job_type.confirm)
    if verb.name == "run-for-real":
        return ""
    if job.status == JobStatus.RUNNING:
        return _("%(job)s is still running. Run it again in parallel?") % {"job": _named(job)}
    if job.started_at is None and job.run_after > job.enqueued_at:
        return _("%(job)s was meant for %(time)s. Run it now?") % {"job": _named(job), "time": clock(job.run_after)}
    if verb.name == failed_rows.NAME and (job.max_attempts == 1 or warning_of(verb, job)):
        return _("Run %(job)s once more, only for rows with errors?") % {"job": _named(job)}
    if verb.name == failed_rows.NAME:
        return ""
    if job.started_at is not None and job.max_attempts == 1:  # nothing says that it may run twice
        return _("Run %(job)s once more?") % {"job": _named(job)}
    return ""


def _rehearses(verb: Verb, job: Job) -> bool:
    """Return whether the verb leads to another rehearsal, which does no harm."""
    return job.is_dry_run and verb.name != "run-for-real"


def warning_of(verb: Verb, job: Job) -> str:
    """Return what the user should know before the verb; empty if there is nothing."""
    if verb.name == "abort" and job.not_responding:
        return str(SILENT)
    if verb.name == "abort" and not backend_of(job.queue_name).supports_kill:
        return _("It stops only where its code checks for an abort. What it has already changed stays changed.")
    if verb.name == failed_rows.NAME:
        return " ".join(failed_rows.left_out(job))
    if verb.name in ("retry", "run-again") and job.max_attempts == 1 and job.started_at and not _rehearses(verb, job):
        return _("It repeats everything it did before, such as sending emails.")
    return str(verb.warning)


def success_of(verb: Verb, job: Job, new: Job | None) -> str:
    """Return the message after *verb*; *new* is the job that it made, if it makes one."""
    if verb.name == "abort" and job.not_responding:
        return " ".join((_("%(job)s was asked to stop.") % {"job": _named(job)}, str(SILENT)))
    if verb.name == "abort" and not backend_of(job.queue_name).supports_kill:
        return _("%(job)s was asked to stop. It stops where its code checks for an abort.") % {"job": _named(job)}
    if verb.name in ("pause", "resume"):
        return _after_pause(verb, job) % {"job": _named(job), "time": clock(job.run_after)}
    return str(verb.success) % {"job": _named(job), "new": _named(new) if new else "", "number": job.pk}


def _after_pause(verb: Verb, job: Job) -> str:
    """Return the message after *job* was paused or resumed, as it is now."""
    if verb.name == "resume" and job.status == JobStatus.RUNNING:
        return _("%(job)s goes on.")
    if verb.name == "resume" and job.status == JobStatus.SCHEDULED:
        return _("%(job)s was resumed. It is scheduled for %(time)s.")
    if verb.name == "resume":
        return _("%(job)s was resumed. It is queued and starts as soon as a worker is free.")
    if not job.is_pausing:
        return _("%(job)s is paused. It does not start until it is resumed.")
    if job.has_checkpoint:
        return _("%(job)s was asked to pause. It stops as soon as the current item is done.")
    return _(
        "%(job)s was asked to pause. It stops where it can go on later, and has not come to such a place yet. If it"
        " ends first, it just ends."
    )


def refusal(error: QorWorkerError, job: Job) -> str:
    """Explain why a verb changed nothing. *job* is as the database has it now."""
    if isinstance(error, UnknownJobType):
        return _("The code of this job is no longer part of the project. It can be read and deleted, not run.")
    if isinstance(error, JobTypeError):
        return str(BROKEN)
    if isinstance(error, InvalidArguments):
        return _("The arguments no longer fit: %s Use “Run again with changes”.") % _field_errors(error)
    if isinstance(error, InvalidTransition):
        return _too_late(error, job)
    return str(error)


def _too_late(error: InvalidTransition, job: Job) -> str:
    if error.status == "deleted":
        return str(DELETED)
    if error.verb == "mark failed" and error.status == JobStatus.RUNNING:
        return " ".join((_("Its worker answers."), _("Nothing was changed.")))
    if error.verb in ("pause", "resume") and job.is_aborting:
        return " ".join((_("It is already being aborted."), _("Nothing was changed.")))
    if error.verb == "resume" and error.status not in FINISHED:
        return " ".join((_("It is not paused."), _("Nothing was changed.")))
    if error.verb == "pause" and error.status == JobStatus.RUNNING:
        reason = _("It has not come to a place where it could stop and go on later.")
        return " ".join((reason, _("Nothing was changed.")))
    if error.verb == "update" and error.status in WAITING and job.has_questions:
        reason = _("It has asked a question: its arguments cannot be changed any more.")
        return " ".join((reason, _("Nothing was changed.")))
    if error.verb in ("run now", "reschedule") and job.is_asking:
        return " ".join((_("It waits for an answer."), _("Nothing was changed.")))
    if error.verb in ("approve", "decline to approve") and job.awaits_approval:
        reason = _("It has been changed since you saw it, or its time to be approved is over. Look at it again.")
        return " ".join((reason, _("Nothing was changed.")))
    if error.verb == "run now" and job.awaits_approval:
        return " ".join((_("It waits for approval."), _("Nothing was changed.")))
    if error.status == JobStatus.SCHEDULED and job.is_paused:
        return " ".join((_("It is paused."), _("Nothing was changed.")))
    sentences: dict[str, tuple[str, Any]] = {
        JobStatus.DONE: (_("It had already finished at %s."), job.finished_at),
        JobStatus.EXCEPTION: (_("It had already failed at %s."), job.finished_at),
        JobStatus.KILLED: (_("It was already aborted at %s."), job.finished_at),
        JobStatus.CANCELLED: (_("It was already cancelled at %s."), job.finished_at),
        JobStatus.RUNNING: (_("It was already started at %s."), job.last_attempted_at),
        JobStatus.SCHEDULED: (_("It is scheduled for %s and not running."), job.run_after),
        JobStatus.NEW: (_("It has been queued since %s and is not running."), job.run_after),
    }
    sentence, moment = sentences[error.status]
    return " ".join((sentence % clock(moment), _("Nothing was changed.")))


def earlier_request(entry: AuditEntry | None, job: Job) -> str:
    """Describe the earlier request to abort *job*: by its user and age if *entry* is known, else by its time."""
    if entry is None:
        return _("It was already asked to stop at %s.") % clock(job.abort_requested_at)
    return _("%(who)s asked to abort it %(ago)s.") % {"who": requester_of(entry), "ago": qw_from_now(entry.at)}


def clock(moment: Any) -> str:
    """Show a time of today as it is, any other with its date; with seconds, unless it is a full minute."""
    if moment is None:
        return "?"
    wall = moments.local(moment)
    today = timezone.localdate() if timezone.is_aware(moment) else timezone.now().date()
    return moments.clock(wall) if wall.date() == today else moments.date_and_clock(wall)


def _field_errors(error: InvalidArguments) -> str:
    return "; ".join(f"{name}: {' '.join(messages)}" for name, messages in error.errors.items())


def _named(job: Job | None) -> str:
    return str(job) if job is not None else ""
