"""The verbs that users request of a schedule. Web."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils.html import strip_tags
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, npgettext_lazy

from qorworker import permissions
from qorworker.admin.display import qw_from_now, qw_moment
from qorworker.admin.schedules.forms import PauseForm
from qorworker.admin.verbs import Unclear, Verb, make_once, reason_in
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


def _delete(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    schedule.remove(by=request.user, origin=Origin.ADMIN)
    return _("It was deleted.")


def _next(schedule: Schedule) -> str:
    if schedule.next_slot is None:
        return _("There is no next time.")
    return _("The next time is %(time)s.") % {"time": qw_from_now(schedule.next_slot)}


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


def question_of(verb: Verb, schedule: Schedule) -> str:
    """Return what the job type wants confirmed before it runs; empty if there is nothing."""
    return str(schedule.job_type.confirm) if verb.makes_job and schedule.job_type is not None else ""
