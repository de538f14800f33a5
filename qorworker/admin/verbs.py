"""What people can ask of a job, as data: label, right, when it is offered, what it does, what is said then. Web."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils import formats, timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, npgettext_lazy, pgettext_lazy

from qorworker import permissions
from qorworker.admin.events import who_asked
from qorworker.backends import backend_of
from qorworker.exceptions import InvalidArguments, InvalidTransition, JobTypeError, QorWorkerError, UnknownJobType
from qorworker.models import AuditEntry, Job, Origin
from qorworker.status import JobStatus
from qorworker.templatetags.qorworker_admin import look_of, qw_from_now

Text = str | Promise
BROKEN = gettext_lazy("The definition of this job has an error: see “manage.py check”.")


@dataclass(frozen=True)
class Verb:
    """``name`` is the end of its URL; ``action`` what ``permissions.can`` is asked for."""

    name: str
    action: str
    label: Text
    offered: Callable[[Job], bool]
    perform: Callable[..., Job | None]  # with the job, the user, and the reason if it takes one
    success: Text
    plural: Any  # of the bulk action's message
    bulk: Text
    question: Text = ""
    warning: Text = ""
    kind: str = ""
    makes_job: bool = False
    takes_reason: bool = False

    @property
    def url_name(self) -> str:
        return f"qorworker_job_{self.name.replace('-', '_')}"

    def allowed(self, user: Any, job: Job) -> bool:
        return permissions.can(user, self.action, job=job)


def _can_rerun(job: Job) -> bool:
    """Not if it waits, nor if a secret must be entered again: that takes the form."""
    return job.job_type is not None and not job.can_reschedule and not job.job_type.arguments.has_secrets(job.arguments)


def _rerun(job: Job, user: Any) -> Job:
    return job.rerun(by=user, origin=Origin.ADMIN)


def _asks(verb: str) -> Callable[..., None]:
    def perform(job: Job, user: Any, **reason: str) -> None:
        getattr(job, verb)(by=user, origin=Origin.ADMIN, **reason)

    return perform


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "run-now",
            "reschedule",
            pgettext_lazy("verb", "Run now"),
            lambda job: job.can_run_now,
            _asks("run_now"),
            gettext_lazy("%(job)s is queued and starts as soon as a worker is free."),
            npgettext_lazy("bulk", "%d job was queued", "%d jobs were queued"),
            gettext_lazy("Run scheduled jobs now"),
        ),
        Verb(
            "retry",
            "retry",
            pgettext_lazy("verb", "Retry"),
            lambda job: job.can_retry and job.job_type is not None,
            _asks("retry"),
            gettext_lazy("%(job)s is queued for one more attempt."),
            npgettext_lazy("bulk", "%d job is queued again", "%d jobs are queued again"),
            gettext_lazy("Retry failed and aborted jobs"),
        ),
        Verb(
            "mark-failed",
            "abort",
            pgettext_lazy("verb", "Mark as failed"),
            lambda job: job.can_mark_failed,
            _asks("mark_failed"),
            gettext_lazy("%(job)s was marked as failed."),
            npgettext_lazy("bulk", "%d job was marked as failed", "%d jobs were marked as failed"),
            gettext_lazy("Mark jobs that do not respond as failed"),
            gettext_lazy("Mark %(job)s as failed?"),
            gettext_lazy(
                "If its process still runs somewhere, it goes on until its worker notices. What it has already changed"
                " stays changed. It can be retried afterwards; while the old process goes on, it would run twice."
            ),
            "danger",
            takes_reason=True,
        ),
        Verb(
            "abort",
            "abort",
            pgettext_lazy("verb", "Abort"),
            lambda job: job.can_abort,
            _asks("abort"),
            gettext_lazy("%(job)s was asked to stop. It is ended by force if it does not stop in time."),
            npgettext_lazy("bulk", "%d job was asked to stop", "%d jobs were asked to stop"),
            gettext_lazy("Abort running jobs"),
            gettext_lazy("Abort %(job)s?"),
            gettext_lazy("Its process is ended. What it has already changed stays changed."),
            "danger",
            takes_reason=True,
        ),
        Verb(
            "cancel",
            "cancel",
            pgettext_lazy("verb", "Cancel"),
            lambda job: job.can_cancel,
            _asks("cancel"),
            gettext_lazy("%(job)s was cancelled. It will not start."),
            npgettext_lazy("bulk", "%d job was cancelled", "%d jobs were cancelled"),
            gettext_lazy("Cancel waiting jobs"),
            gettext_lazy("Cancel %(job)s?"),
            gettext_lazy("It will not start. You can run it again later."),
            "danger",
        ),
        Verb(
            "run-again",
            "rerun",
            pgettext_lazy("verb", "Run again"),
            _can_rerun,
            _rerun,
            gettext_lazy("%(new)s is queued, with the arguments of #%(number)s."),
            npgettext_lazy("bulk", "%d new job is queued", "%d new jobs are queued"),
            pgettext_lazy("verb", "Run again"),
            makes_job=True,
        ),
    )
}


# What people most likely want in a state; the other verbs stand beside it. Running jobs have none.
PRIMARY: dict[str, str] = {
    "retrying": "run-now",
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


def buttons(user: Any, job: Job) -> list[Button]:
    """The verbs that make sense in the job's status and that *user* may use, the likeliest first."""
    primary = PRIMARY.get(look_of(job), "")
    found = [verb for verb in VERBS.values() if verb.offered(job) and verb.allowed(user, job)]
    return [
        Button(
            verb,
            reverse(f"admin:{verb.url_name}", args=(job.pk,)),
            question_of(verb, job),
            warning_of(verb, job),
            "primary" if verb.name == primary else verb.kind,
        )
        for verb in sorted(found, key=lambda verb: verb.name != primary)
    ]


def may_choose_time(user: Any, job: Job) -> bool:
    """Whether *user* may move the job to another time: not if its type is none for which people choose one."""
    takes_time = job.job_type is None or job.job_type.schedulable
    return job.can_reschedule and takes_time and permissions.can(user, "reschedule", job=job)


def question_of(verb: Verb, job: Job) -> str:
    """What to ask before; empty if nothing is to be asked."""
    if verb.question:
        return str(verb.question) % {"job": _named(job)}
    if verb.name not in ("retry", "run-again"):
        return ""
    if job.job_type is not None and job.job_type.confirm:
        return str(job.job_type.confirm)
    if job.status == JobStatus.RUNNING:
        return _("%(job)s is still running. Run it a second time beside it?") % {"job": _named(job)}
    return ""


def warning_of(verb: Verb, job: Job) -> str:
    """What to know before; empty if there is nothing."""
    if verb.name == "abort" and not backend_of(job.queue_name).supports_kill:
        return _("It ends where it looks for this, and only there. What it has already changed stays changed.")
    return str(verb.warning)


def success_of(verb: Verb, job: Job, new: Job | None) -> str:
    if verb.name == "abort" and not backend_of(job.queue_name).supports_kill:
        return _("%(job)s was asked to stop. It ends where it looks for this.") % {"job": _named(job)}
    return str(verb.success) % {"job": _named(job), "new": _named(new) if new else "", "number": job.pk}


def refusal(error: QorWorkerError, job: Job) -> str:
    """Why a verb changed nothing, in words for the person who asked for it. *job* is as the database has it now."""
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
        return _("It was deleted meanwhile.")
    if error.verb == "mark failed" and error.status == JobStatus.RUNNING:
        return " ".join((_("Its worker answers."), _("Nothing was changed.")))
    told: dict[str, tuple[str, Any]] = {
        JobStatus.DONE: (_("It had already finished at %s."), job.finished_at),
        JobStatus.EXCEPTION: (_("It had already failed at %s."), job.finished_at),
        JobStatus.KILLED: (_("It was already aborted at %s."), job.finished_at),
        JobStatus.CANCELLED: (_("It was already cancelled at %s."), job.finished_at),
        JobStatus.RUNNING: (_("It was already started at %s."), job.last_attempted_at),
        JobStatus.SCHEDULED: (_("It is scheduled for %s and not running."), job.run_after),
        JobStatus.NEW: (_("It has been queued since %s and is not running."), job.run_after),
    }
    sentence, moment = told[error.status]
    return " ".join((sentence % clock(moment), _("Nothing was changed.")))


def asked_before(entry: AuditEntry | None, job: Job) -> str:
    """That somebody asked to abort it, and how long ago; *entry* is that request, if it is on record."""
    if entry is None:
        return _("It was already asked to stop at %s.") % clock(job.abort_requested_at)
    return _("%(who)s asked to abort it %(ago)s.") % {"who": who_asked(entry), "ago": qw_from_now(entry.at)}


def clock(moment: Any) -> str:
    """A time of today as it is, any other with its date; with seconds, unless it is a full minute."""
    if moment is None:
        return "?"
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    today = timezone.localdate() if timezone.is_aware(moment) else timezone.now().date()
    time = local.strftime("%H:%M:%S" if local.second else "%H:%M")
    return time if local.date() == today else f"{formats.date_format(local, 'DATE_FORMAT')} {time}"


def _field_errors(error: InvalidArguments) -> str:
    return "; ".join(f"{name}: {' '.join(messages)}" for name, messages in error.errors.items())


def _named(job: Job | None) -> str:
    return f"{job.title} #{job.pk}" if job is not None else ""
