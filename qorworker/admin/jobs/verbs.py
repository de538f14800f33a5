"""The verbs that users request of a job, their buttons, and the sentences before and after them. Web."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, npgettext_lazy, pgettext_lazy

from qorworker import permissions
from qorworker.admin import links
from qorworker.admin.display import look_of, qw_from_now
from qorworker.admin.forms import RescheduleForm, starts_at_once
from qorworker.admin.jobs.history import requester_of
from qorworker.admin.texts import BROKEN
from qorworker.admin.verbs import DELETED, NothingNew, Unclear, Verb, make_once, reason_in
from qorworker.exceptions import InvalidArguments, InvalidTransition, JobTypeError, QorWorkerError, UnknownJobType
from qorworker.models import AuditEntry, Job, Origin
from qorworker.queues import backend_of
from qorworker.status import JobStatus
from qorworker.text import moments


def _can_rerun(job: Job) -> bool:
    """Return whether a click can run it again: not if it waits, nor if a secret must be entered again."""
    return job.job_type is not None and not job.can_reschedule and not job.job_type.arguments.has_secrets(job.arguments)


def _rerun(request: HttpRequest, job: Job, form: None) -> Job:
    return make_once(request, job, partial(job.rerun, by=request.user, origin=Origin.ADMIN))


def _reschedule(request: HttpRequest, job: Job, form: RescheduleForm) -> str:
    """Move the job to another time; as in the run form, a time that is near means now."""
    if job.job_type is not None and not job.job_type.schedulable:
        raise NothingNew(_("No time can be chosen for this job. Nothing was changed."))
    if not form.is_valid():
        raise Unclear(form)
    when = form.cleaned_data["at"]
    if not starts_at_once(when):
        job.reschedule(when, by=request.user, origin=Origin.ADMIN)
        return _("{} is scheduled for {}.").format(job, clock(job.run_after))
    if job.status != JobStatus.NEW:  # a new job is queued already
        job.run_now(by=request.user, origin=Origin.ADMIN)
    return _("The chosen time is past or so near that it starts at once: it is queued.")


def _calls(method: str) -> Callable[[HttpRequest, Job, None], None]:
    def perform(request: HttpRequest, job: Job, form: None) -> None:
        getattr(job, method)(by=request.user, origin=Origin.ADMIN)

    return perform


def _calls_with_reason(method: str) -> Callable[[HttpRequest, Job, None], None]:
    def perform(request: HttpRequest, job: Job, form: None) -> None:
        reason = reason_in(request.POST.get("reason", ""))
        getattr(job, method)(by=request.user, origin=Origin.ADMIN, reason=reason)

    return perform


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="run-now",
            needs=("reschedule",),
            perform=_calls("run_now"),
            offered=lambda job: job.can_run_now,
            label=pgettext_lazy("verb", "Run now"),
            success=gettext_lazy("%(job)s is queued and starts as soon as a worker is free."),
            bulk=gettext_lazy("Run scheduled jobs now"),
            plural=npgettext_lazy("bulk", "%d job was queued", "%d jobs were queued"),
        ),
        Verb(
            name="retry",
            needs=("retry",),
            perform=_calls("retry"),
            offered=lambda job: job.can_retry and job.job_type is not None,
            label=pgettext_lazy("verb", "Retry"),
            success=gettext_lazy("%(job)s is queued for one more attempt."),
            bulk=gettext_lazy("Retry failed and aborted jobs"),
            plural=npgettext_lazy("bulk", "%d job is queued again", "%d jobs are queued again"),
        ),
        Verb(
            name="mark-failed",
            needs=("abort",),
            perform=_calls_with_reason("mark_failed"),
            offered=lambda job: job.can_mark_failed,
            label=pgettext_lazy("verb", "Mark as failed"),
            success=gettext_lazy("%(job)s was marked as failed."),
            question=gettext_lazy("Mark %(job)s as failed?"),
            warning=gettext_lazy(
                "If its process is still running somewhere, it continues until its worker notices. What it has "
                "already changed stays changed. It can be retried afterwards; while the old process is running, it "
                "would run twice."
            ),
            kind="danger",
            bulk=gettext_lazy("Mark jobs that do not respond as failed"),
            plural=npgettext_lazy("bulk", "%d job was marked as failed", "%d jobs were marked as failed"),
            takes_reason=True,
        ),
        Verb(
            name="abort",
            needs=("abort",),
            perform=_calls_with_reason("abort"),
            offered=lambda job: job.can_abort,
            label=pgettext_lazy("verb", "Abort"),
            success=gettext_lazy("%(job)s was asked to stop. It is ended by force if it does not stop in time."),
            question=gettext_lazy("Abort %(job)s?"),
            warning=gettext_lazy("Its process is ended. What it has already changed stays changed."),
            kind="danger",
            bulk=gettext_lazy("Abort running jobs"),
            plural=npgettext_lazy("bulk", "%d job was asked to stop", "%d jobs were asked to stop"),
            takes_reason=True,
        ),
        Verb(
            name="cancel",
            needs=("cancel",),
            perform=_calls("cancel"),
            offered=lambda job: job.can_cancel,
            label=pgettext_lazy("verb", "Cancel"),
            success=gettext_lazy("%(job)s was cancelled. It will not start."),
            question=gettext_lazy("Cancel %(job)s?"),
            warning=gettext_lazy("It will not start. You can run it again later."),
            kind="danger",
            bulk=gettext_lazy("Cancel waiting jobs"),
            plural=npgettext_lazy("bulk", "%d job was cancelled", "%d jobs were cancelled"),
        ),
        Verb(
            name="run-again",
            needs=("rerun",),
            perform=_rerun,
            offered=_can_rerun,
            label=pgettext_lazy("verb", "Run again"),
            success=gettext_lazy("%(new)s is queued, with the arguments of #%(number)s."),
            bulk=pgettext_lazy("verb", "Run again"),
            plural=npgettext_lazy("bulk", "%d new job is queued", "%d new jobs are queued"),
            makes_job=True,
        ),
    )
}
# This verb has a form of its own.
RESCHEDULE = Verb(
    name="reschedule",
    needs=("reschedule",),
    perform=_reschedule,
    offered=lambda job: job.can_reschedule and (job.job_type is None or job.job_type.schedulable),
    label=pgettext_lazy("verb", "Reschedule"),
    kind="primary",
    bulk=gettext_lazy("Reschedule waiting jobs…"),
    plural=npgettext_lazy("bulk", "%d job has another time", "%d jobs have another time"),
)


# The verb that users most likely want in each state. Running jobs have none.
PRIMARY: dict[str, str] = {
    "retrying": "run-now",
    "row_errors": "run-again",
    JobStatus.DONE: "run-again",
    JobStatus.EXCEPTION: "retry",
    JobStatus.KILLED: "run-again",
    JobStatus.CANCELLED: "run-again",
}


@dataclass(frozen=True)
class Button:
    """A verb as it is offered for one job. With a *question*, another step follows."""

    verb: Verb
    url: str
    question: str
    warning: str
    kind: str


def buttons(request: HttpRequest, job: Job) -> list[Button]:
    """Return the verbs that make sense in the job's status and that the user may use, the likeliest first."""
    primary = PRIMARY.get(look_of(job), "")
    offered = [verb for verb in VERBS.values() if verb.offered(job) and not verb.lacking(request.user, job=job)]
    return [
        Button(
            verb,
            links.url(request, f"qorworker_job_{verb.key}", job.pk),
            question_of(verb, job),
            warning_of(verb, job),
            "primary" if verb.name == primary else verb.kind,
        )
        for verb in sorted(offered, key=lambda verb: verb.name != primary)
    ]


def may_choose_time(user: Any, job: Job) -> bool:
    """Return whether *user* may move the job to another time: not if users choose no time for its type."""
    takes_time = job.job_type is None or job.job_type.schedulable
    return job.can_reschedule and takes_time and permissions.can(user, "reschedule", job=job)


def question_of(verb: Verb, job: Job) -> str:
    """Return what to ask before the verb; empty if nothing is to be asked."""
    if verb.question:
        return str(verb.question) % {"job": _named(job)}
    if verb.name not in ("retry", "run-again"):
        return ""
    if job.job_type is not None and job.job_type.confirm:
        return str(job.job_type.confirm)
    if job.status == JobStatus.RUNNING:
        return _("%(job)s is still running. Run it again in parallel?") % {"job": _named(job)}
    if job.started_at is None and job.run_after > job.enqueued_at:
        return _("%(job)s was meant for %(time)s. Run it now?") % {"job": _named(job), "time": clock(job.run_after)}
    if job.started_at is not None and job.max_attempts == 1:  # nothing says that it may run twice
        return _("Run %(job)s once more?") % {"job": _named(job)}
    return ""


SILENT = gettext_lazy(
    "Its worker does not respond, and only a living worker can end its processes. If that worker comes back, it ends "
    "the job. If not, another worker takes the job over as aborted, and what the job has started may keep running."
)


def warning_of(verb: Verb, job: Job) -> str:
    """Return what the user should know before the verb; empty if there is nothing."""
    if verb.name == "abort" and job.not_responding:
        return str(SILENT)
    if verb.name == "abort" and not backend_of(job.queue_name).supports_kill:
        return _("It stops only where its code checks for an abort. What it has already changed stays changed.")
    if verb.name in ("retry", "run-again") and job.max_attempts == 1 and job.started_at is not None:
        return _("It repeats everything it did before, such as sending emails.")
    return str(verb.warning)


def success_of(verb: Verb, job: Job, new: Job | None) -> str:
    """Return the message after *verb*; *new* is the job that it made, if it makes one."""
    if verb.name == "abort" and job.not_responding:
        return " ".join((_("%(job)s was asked to stop.") % {"job": _named(job)}, str(SILENT)))
    if verb.name == "abort" and not backend_of(job.queue_name).supports_kill:
        return _("%(job)s was asked to stop. It stops where its code checks for an abort.") % {"job": _named(job)}
    return str(verb.success) % {"job": _named(job), "new": _named(new) if new else "", "number": job.pk}


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
