"""The buttons of a schedule: permission, verb, message, redirect. Only POST changes anything. Web."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import strip_tags
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, npgettext_lazy

from qorworker import permissions
from qorworker.admin import access, conflict, once
from qorworker.admin.schedule_form import to_schedule, visible_schedule
from qorworker.exceptions import QorWorkerError
from qorworker.models import Origin
from qorworker.models.clock import stored
from qorworker.models.schedule import Schedule
from qorworker.records import clean_text
from qorworker.schedule_forms import PauseForm
from qorworker.templatetags.qorworker_admin import qw_from_now, qw_moment


@dataclass(frozen=True)
class ScheduleVerb:
    """``name`` is the end of its URL."""

    name: str
    label: str | Promise
    offered: Callable[[Schedule], bool]
    perform: Callable[[HttpRequest, Schedule, PauseForm], str]  # returns what is said then
    plural: Any = ""  # of the message for many; without it there is no action in the list
    bulk: str | Promise = ""
    warning: str | Promise = ""
    kind: str = "primary"
    makes_job: bool = False


class NothingNew(Exception):
    """No job was made; *message* tells people why not, *reason* is for many in a word."""

    def __init__(self, message: str, reason: str) -> None:
        self.message, self.reason = message, reason


def _run_now(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    run = partial(schedule.run_now, by=request.user, origin=Origin.ADMIN)
    job, is_first = once.repeat_once(request.user, request.POST.get("qw-token", ""), schedule, run)
    if job.is_existing:
        raise NothingNew(conflict.told_instead(request.user, job), _("another job like it is there already"))
    if not is_first:
        raise NothingNew(_("This run was already started."), _("done before"))
    return _("Job #%(number)s was queued. The next time stays as it is.") % {"number": job.pk}


def _skip_next(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    left_out = strip_tags(qw_moment(stored(schedule.skip_next(by=request.user, origin=Origin.ADMIN))))
    return _("The time %(moment)s is left out.") % {"moment": left_out} + " " + _next(schedule)


def _resume(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    schedule.resume(by=request.user, origin=Origin.ADMIN)
    return _("It goes on. What it missed meanwhile is not made up for.") + " " + _next(schedule)


def _pause(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    if not form.is_valid():
        raise _Unclear(form)
    until = form.cleaned_data["until"]
    reason = " ".join(clean_text(form.cleaned_data["reason"], 200).split())
    schedule.pause(by=request.user, reason=reason, until=until and stored(until), origin=Origin.ADMIN)
    return _("It is paused.")


def _delete(request: HttpRequest, schedule: Schedule, form: PauseForm) -> str:
    schedule.remove(by=request.user, origin=Origin.ADMIN)
    return _("It was deleted.")


def _next(schedule: Schedule) -> str:
    if schedule.next_slot is None:
        return _("There is no next time.")
    return _("The next time is %(time)s.") % {"time": qw_from_now(schedule.next_slot)}


class _Unclear(Exception):
    def __init__(self, form: PauseForm) -> None:
        self.form = form


VERBS = {
    verb.name: verb
    for verb in (
        ScheduleVerb(
            "run-now",
            gettext_lazy("Run now"),
            lambda schedule: schedule.job_type is not None,
            _run_now,
            npgettext_lazy("bulk schedules", "%d job was queued", "%d jobs were queued"),
            gettext_lazy("Run schedules now"),
            makes_job=True,
        ),
        ScheduleVerb(
            "skip-next", gettext_lazy("Skip the next time"), lambda schedule: schedule.next_slot is not None, _skip_next
        ),
        ScheduleVerb(
            "resume",
            gettext_lazy("Resume"),
            lambda schedule: schedule.is_paused,
            _resume,
            npgettext_lazy("bulk schedules", "%d schedule goes on", "%d schedules go on"),
            gettext_lazy("Resume schedules"),
            gettext_lazy("What they missed meanwhile is not made up for."),
        ),
        ScheduleVerb(
            "pause",
            gettext_lazy("Pause"),
            lambda schedule: schedule.enabled and not schedule.is_paused,
            _pause,
            npgettext_lazy("bulk schedules", "%d schedule is paused", "%d schedules are paused"),
            gettext_lazy("Pause schedules…"),
        ),
    )
}
DELETE = ScheduleVerb(
    "delete",
    gettext_lazy("Delete"),
    lambda schedule: not (schedule.declared_in_code and schedule.enabled),  # else the next worker would make it again
    _delete,
    npgettext_lazy("bulk schedules", "%d schedule was deleted", "%d schedules were deleted"),
    gettext_lazy("Delete schedules…"),
    gettext_lazy("Their jobs stay. This cannot be undone."),
    "danger",
)


def verb(model_admin: Any, request: HttpRequest, name: str, pk: int) -> HttpResponseBase:
    from qorworker.admin.schedule_detail import show

    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    schedule = visible_schedule(request, pk)
    if schedule is None:
        return access.not_found(request)
    if not permissions.can(request.user, "manage_schedule", schedule.job_type):
        return access.deny(model_admin, request, "manage_schedule", job_type=schedule.job_type)
    asked = VERBS[name]
    if not asked.offered(schedule):
        messages.warning(request, _("That was done already, or cannot be done now. Nothing was changed."))
        return to_schedule(schedule)
    try:
        messages.success(request, asked.perform(request, schedule, PauseForm(request.POST, zone=schedule.zone)))
    except _Unclear as unclear:
        return show(model_admin, request, schedule, unclear.form, status=422)
    except NothingNew as nothing:
        messages.warning(request, nothing.message)
    except QorWorkerError as error:
        messages.error(request, str(error))
    except Schedule.DoesNotExist:
        messages.warning(request, _("It was deleted meanwhile."))
        return HttpResponseRedirect(reverse("admin:qorworker_schedule_changelist"))
    return to_schedule(schedule)
