"""The verbs that users request of a schedule. Web."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils.html import strip_tags
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, npgettext_lazy, pgettext_lazy

from qorworker import permissions
from qorworker.admin.display import qw_from_now, qw_moment
from qorworker.admin.schedules.forms import PauseForm
from qorworker.admin.verbs import Unclear, Verb, make_once, reason_in, seen_in
from qorworker.exceptions import InvalidArguments, QorWorkerError
from qorworker.models import Origin
from qorworker.models.clock import stored
from qorworker.models.schedule import Schedule


def refusal(user: Any, schedule: Schedule, error: QorWorkerError) -> str:
    """Explain why a verb changed nothing, without arguments that *user* may not see."""
    if isinstance(error, InvalidArguments) and not permissions.can(user, "view_arguments", schedule.job_type):
        return _("Its arguments no longer fit.")
    return str(error)


def _run_now(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    job = make_once(request, schedule, partial(schedule.run_now, by=request.user, origin=Origin.ADMIN))
    return _("Job #%(number)s was queued. The next time stays as it is.") % {"number": job.pk}


def _skip_next(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    left_out = strip_tags(qw_moment(stored(schedule.skip_next(by=request.user, origin=Origin.ADMIN))))
    return _("The time %(moment)s is left out.") % {"moment": left_out} + " " + _next(schedule)


def _resume(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    schedule.resume(by=request.user, origin=Origin.ADMIN)
    return _("It was resumed. What it missed meanwhile is not made up for.") + " " + _next(schedule)


def _pause(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    if not form.is_valid():
        raise Unclear(form)
    until = form.cleaned_data["until"]
    reason = reason_in(form.cleaned_data["reason"])
    schedule.pause(by=request.user, reason=reason, until=until and stored(until), origin=Origin.ADMIN)
    return _("It is paused.")


def _approve(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    schedule.approve(by=request.user, approval=seen_in(request), origin=Origin.ADMIN)
    return _("It is approved: it makes its jobs from now on.") + " " + _next(schedule)


def _decline(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    reason = reason_in(request.POST.get("reason", ""))
    schedule.decline(by=request.user, approval=seen_in(request), reason=reason, origin=Origin.ADMIN)
    return _("It was declined: it makes no jobs until it is changed and approved.")


def _delete(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    schedule.remove(by=request.user, origin=Origin.ADMIN)
    return _("It was deleted.")


def _next(schedule: Schedule) -> str:
    if (moment := schedule.next_run) is None:
        return _("There is no next time.")
    return _("The next time is %(time)s.") % {"time": qw_from_now(moment)}


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            name="run-now",
            needs=("manage_schedule", "run"),
            perform=_run_now,
            offered=lambda schedule: schedule.job_type is not None,
            label=gettext_lazy("Run now"),
            kind="primary",
            bulk=gettext_lazy("Run schedules now"),
            plural=npgettext_lazy("bulk schedules", "%d job was queued", "%d jobs were queued"),
            makes_job=True,
        ),
        Verb(
            name="skip-next",
            needs=("manage_schedule",),
            perform=_skip_next,
            offered=lambda schedule: schedule.next_slot is not None,
            label=gettext_lazy("Skip the next time"),
            kind="primary",
        ),
        Verb(
            name="resume",
            needs=("manage_schedule",),
            perform=_resume,
            offered=lambda schedule: schedule.is_paused,
            label=gettext_lazy("Resume"),
            warning=gettext_lazy("What they missed meanwhile is not made up for."),
            kind="primary",
            bulk=gettext_lazy("Resume schedules"),
            plural=npgettext_lazy("bulk schedules", "%d schedule was resumed", "%d schedules were resumed"),
        ),
        Verb(
            name="pause",
            needs=("manage_schedule",),
            perform=_pause,
            offered=lambda schedule: schedule.enabled and not schedule.is_paused,
            label=gettext_lazy("Pause"),
            kind="primary",
            bulk=gettext_lazy("Pause schedules…"),
            plural=npgettext_lazy("bulk schedules", "%d schedule is paused", "%d schedules are paused"),
        ),
    )
}
# Who may decide depends on the schedule: see ``lacking``.
APPROVAL_VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            name="approve",
            needs=("approve",),
            perform=_approve,
            offered=lambda schedule: schedule.open_approval is not None,
            label=pgettext_lazy("verb", "Approve"),
            kind="primary",
        ),
        Verb(
            name="decline",
            needs=("approve",),
            perform=_decline,
            offered=lambda schedule: schedule.open_approval is not None,
            label=pgettext_lazy("verb", "Decline"),
            question=gettext_lazy("Decline the schedule “%(schedule)s”?"),
            warning=gettext_lazy("It makes no jobs until it is changed and approved."),
            kind="danger",
            takes_reason=True,
        ),
    )
}
ALL_VERBS = (*VERBS.values(), *APPROVAL_VERBS.values())
DELETE = Verb(
    name="delete",
    needs=("manage_schedule",),
    perform=_delete,
    offered=lambda schedule: not (schedule.declared_in_code and schedule.enabled),  # a worker would make it again
    label=gettext_lazy("Delete"),
    warning=gettext_lazy("Their jobs stay. This cannot be undone."),
    kind="danger",
    bulk=gettext_lazy("Delete schedules…"),
    plural=npgettext_lazy("bulk schedules", "%d schedule was deleted", "%d schedules were deleted"),
)


def lacking(verb: Verb, user: Any, schedule: Schedule) -> str:
    """Return the right that *user* lacks to do this with *schedule*; empty if none is lacking."""
    if "approve" in verb.needs:
        return "" if permissions.may_approve_schedule(user, schedule) else "approve"
    return verb.lacking(user, schedule.job_type)


def question_of(verb: Verb, schedule: Schedule) -> str:
    """Return what to ask before the verb: for a run what the job type wants confirmed; empty if there is nothing."""
    if verb.question:
        return str(verb.question) % {"schedule": schedule}
    return str(schedule.job_type.confirm) if verb.makes_job and schedule.job_type is not None else ""
