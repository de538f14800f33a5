"""The verbs that users request of a job, and their buttons. Web."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, npgettext_lazy, pgettext_lazy

from qorworker import permissions
from qorworker.admin import links
from qorworker.admin.display import look_of
from qorworker.admin.forms import RescheduleForm, starts_at_once
from qorworker.admin.jobs import failed_rows
from qorworker.admin.jobs.verb_texts import clock, question_of, warning_of
from qorworker.admin.parameters import number
from qorworker.admin.verbs import NothingNew, Unclear, Verb, make_once, reason_in, seen_in
from qorworker.models import Approval, Job, Origin
from qorworker.models.approval import open_approval_of
from qorworker.status import JobStatus


def _can_rerun(job: Job) -> bool:
    """Return whether a click can run it again: not if it waits, nor if a secret must be entered again."""
    return job.job_type is not None and not job.can_reschedule and not job.job_type.arguments.has_secrets(job.arguments)


def _rerun(request: HttpRequest, job: Job, form: None) -> Job:
    return make_once(request, job, partial(job.rerun, by=request.user, origin=Origin.ADMIN))


def _can_run_for_real(job: Job) -> bool:
    return job.can_run_for_real and _can_rerun(job)


def _run_for_real(request: HttpRequest, job: Job, form: None) -> Job:
    return make_once(request, job, partial(job.run_for_real, by=request.user, origin=Origin.ADMIN))


def _reschedule(request: HttpRequest, job: Job, form: RescheduleForm) -> str:
    """Move the job to another time; as in the run form, a time that is near means now."""
    if job.job_type is not None and not job.job_type.schedulable:
        raise NothingNew(_("No time can be chosen for this job. Nothing was changed."))
    if not form.is_valid():
        raise Unclear(form)
    when = form.cleaned_data["at"]
    if job.is_paused:
        job.reschedule(when, by=request.user, origin=Origin.ADMIN)
        return _("{} has another time, {}. It is still paused.").format(job, clock(job.run_after))
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


def _seen(request: HttpRequest, job: Job) -> Approval | None:
    """Return the request for approval that the page showed. A list shows many, and knows the newest of them."""
    newest, approval = number(request.POST.get("qw-asked", "")), open_approval_of(job)
    if newest is None or approval is None:
        return seen_in(request)
    return approval if approval.pk <= newest else Approval(pk=newest)  # not that of this job, which has changed


def _approve(request: HttpRequest, job: Job, form: None) -> None:
    job.approve(by=request.user, approval=_seen(request, job), origin=Origin.ADMIN)


def _decline(request: HttpRequest, job: Job, form: None) -> None:
    reason = reason_in(request.POST.get("reason", ""))
    # The request is named even if no page showed it: without one, this would be about a question.
    approval = _seen(request, job) or open_approval_of(job)
    job.decline(by=request.user, approval=approval, reason=reason, origin=Origin.ADMIN)


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="approve",
            needs=("approve",),
            perform=_approve,
            offered=lambda job: job.awaits_approval,
            label=pgettext_lazy("verb", "Approve"),
            success=gettext_lazy("%(job)s is approved."),
            bulk=gettext_lazy("Approve jobs"),
            plural=npgettext_lazy("bulk", "%d job was approved", "%d jobs were approved"),
        ),
        Verb(
            name="decline",
            needs=("approve",),
            perform=_decline,
            offered=lambda job: job.awaits_approval,
            label=pgettext_lazy("verb", "Decline"),
            success=gettext_lazy("%(job)s was declined and is cancelled. It will not start."),
            question=gettext_lazy("Decline %(job)s?"),
            warning=gettext_lazy("It is cancelled and never starts."),
            kind="danger",
            bulk=gettext_lazy("Decline jobs"),
            plural=npgettext_lazy("bulk", "%d job was declined", "%d jobs were declined"),
            takes_reason=True,
        ),
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
            name="resume",
            needs=("abort",),
            perform=_calls("resume"),
            offered=lambda job: job.can_resume,
            label=gettext_lazy("Resume"),
            bulk=gettext_lazy("Resume paused jobs"),
            plural=npgettext_lazy("bulk", "%d job was resumed", "%d jobs were resumed"),
        ),
        Verb(
            name="pause",
            needs=("abort",),
            perform=_calls("pause"),
            offered=lambda job: job.can_pause,
            label=gettext_lazy("Pause"),
            bulk=gettext_lazy("Pause jobs"),
            plural=npgettext_lazy(
                "bulk", "%d job was paused or asked to pause", "%d jobs were paused or asked to pause"
            ),
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
            name="show-stack",
            needs=("view_log",),
            perform=_calls("request_stack"),
            offered=lambda job: job.can_request_stack,
            label=pgettext_lazy("verb", "Show stack"),
            success=gettext_lazy("%(job)s was asked where it is. Its stack appears on this page in a moment."),
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
        Verb(
            name="run-for-real",
            needs=("rerun",),
            perform=_run_for_real,
            offered=_can_run_for_real,
            label=pgettext_lazy("verb", "Run it for real"),
            success=gettext_lazy("%(new)s is queued, with the arguments of the rehearsal #%(number)s."),
            makes_job=True,
        ),
        Verb(
            name=failed_rows.NAME,
            needs=("rerun", "view_log"),  # the new job shows keys from the results
            perform=failed_rows.rerun,
            offered=lambda job: _can_rerun(job) and job.repeatable_rows > 0,
            label=gettext_lazy("Run again for the rows with errors"),
            success=gettext_lazy("%(new)s is queued: it repeats the rows with errors of #%(number)s."),
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
    "awaiting": "approve",
    "retrying": "run-now",
    "paused": "resume",
    "row_errors": failed_rows.NAME,  # else run-again
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
    label: str
    question: str
    warning: str
    kind: str
    seen: int | None = None  # the request for approval that the page shows


def buttons(request: HttpRequest, job: Job) -> list[Button]:
    """Return the verbs that make sense in the job's status and that the user may use, the likeliest first."""
    offered = [verb for verb in VERBS.values() if verb.offered(job) and not verb.lacking(request.user, job=job)]
    primary = "run-for-real" if job.can_run_for_real else PRIMARY.get(look_of(job), "")
    if primary == failed_rows.NAME and primary not in (verb.name for verb in offered):
        primary = "run-again"
    return [
        Button(
            verb,
            links.url(request, f"qorworker_job_{verb.key}", job.pk),
            _label(verb, job),
            question_of(verb, job),
            warning_of(verb, job),
            "primary" if verb.name == primary else verb.kind,
            open_approval_pk(job) if "approve" in verb.needs else None,
        )
        for verb in sorted(offered, key=lambda verb: verb.name != primary)
    ]


def _label(verb: Verb, job: Job) -> str:
    if verb.name == failed_rows.NAME:
        return failed_rows.label(job)
    return _("Rehearse again") if verb.name == "run-again" and job.is_dry_run else str(verb.label)


def open_approval_pk(job: Job) -> int | None:
    """Return the number of the request for approval that waits for a decision; None if there is none."""
    approval = open_approval_of(job)
    return approval.pk if approval is not None else None


def may_choose_time(user: Any, job: Job) -> bool:
    """Return whether *user* may move the job to another time: not if users choose no time for its type."""
    takes_time = job.job_type is None or job.job_type.schedulable
    return job.can_reschedule and takes_time and permissions.can(user, "reschedule", job=job)
