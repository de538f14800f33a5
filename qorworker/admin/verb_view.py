"""The views behind the buttons of a job: permission, verb, message, redirect. Only POST changes anything. Web."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access, conflict, once
from qorworker.admin.detail import show
from qorworker.admin.media import MEDIA
from qorworker.admin.verbs import VERBS, Verb, asked_before, clock, question_of, refusal, success_of, warning_of
from qorworker.exceptions import AlreadyEnqueued, InvalidTransition, QorWorkerError
from qorworker.forms import RescheduleForm, starts_at_once
from qorworker.models import Job, Origin, job_page
from qorworker.records import clean_text
from qorworker.status import JobStatus

REASON_CHARS = 200


def verb(model_admin: Any, request: HttpRequest, name: str, pk: int) -> HttpResponseBase:
    asked = VERBS[name]
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    job = access.visible_job(request, pk)
    if job is None:
        return access.not_found(request)
    if not asked.allowed(request.user, job):
        return access.deny(model_admin, request, asked.action, job=job)
    if question_of(asked, job) and "confirmed" not in request.POST and asked.offered(job):
        return _confirm(model_admin, request, asked, job)
    return _perform(request, asked, job)


def _confirm(model_admin: Any, request: HttpRequest, asked: Verb, job: Job) -> HttpResponseBase:
    """The page that asks first, for browsers without script; with it the question is a dialog on the job's page."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": question_of(asked, job),
        "opts": Job._meta,
        "media": MEDIA,
        "job": job,
        "verb": asked,
        "warning": warning_of(asked, job),
        "token": request.POST.get("qw-token", ""),
    }
    return TemplateResponse(request, "admin/qorworker/job/confirm.html", context)


def _perform(request: HttpRequest, asked: Verb, job: Job) -> HttpResponseBase:
    if asked.name == "abort" and job.is_aborting:
        messages.info(request, asked_before(job_page.last_abort(job), job))
        return back(job)
    try:
        new, is_first = perform_once(asked, job, request)
    except AlreadyEnqueued as error:
        messages.warning(request, conflict.told(request.user, error.job, error.message))
        return back(job)
    except QorWorkerError as error:
        messages.warning(request, refusal(error, job))
        return gone() if is_deleted(error) else back(job)
    if new is not None and new.is_existing:
        messages.warning(request, conflict.told_instead(request.user, new))
        return back(job)
    first = job_page.last_abort(job) if asked.name == "abort" else None
    if first is not None and first.user_id != str(request.user.pk):
        messages.info(request, asked_before(first, job))  # both at the same moment
    elif is_first:
        messages.success(request, success_of(asked, job, new))
    else:
        messages.warning(request, _("This run was already started."))
    return back(new if new is not None else job)


def perform_once(asked: Verb, job: Job, request: HttpRequest) -> tuple[Job | None, bool]:
    """Do it; of the same click only the first counts. All verbs but one change a status, and that only once anyway."""
    if asked.takes_reason:
        return asked.perform(job, request.user, reason=_reason(request)), True
    if not asked.makes_job:
        return asked.perform(job, request.user), True
    repeat = cast("Callable[[], Job]", partial(asked.perform, job, request.user))
    return once.repeat_once(request.user, request.POST.get("qw-token", ""), job, repeat)


def _reason(request: HttpRequest) -> str:
    return " ".join(clean_text(request.POST.get("reason", ""), REASON_CHARS).split())


def reschedule(model_admin: Any, request: HttpRequest, pk: int) -> HttpResponseBase:
    """Move a job that has not started to another time; by the rule of the run form a near one means now."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    job = access.visible_job(request, pk)
    if job is None:
        return access.not_found(request)
    if not permissions.can(request.user, "reschedule", job=job):
        return access.deny(model_admin, request, "reschedule", job=job)
    if job.job_type is not None and not job.job_type.schedulable:
        messages.warning(request, _("No time can be chosen for this job. Nothing was changed."))
        return back(job)
    form = RescheduleForm(request.POST)
    if not form.is_valid():
        return show(model_admin, request, job, form if job.can_reschedule else None, status=422)
    try:
        messages.success(request, move(job, form.cleaned_data["at"], request.user))
    except QorWorkerError as error:
        messages.warning(request, refusal(error, job))
        return gone() if is_deleted(error) else back(job)
    return back(job)


def move(job: Job, when: Any, user: Any) -> str:
    """To another time, by the rule of the run form; what became of it, as a sentence."""
    if not starts_at_once(when):
        job.reschedule(when, by=user, origin=Origin.ADMIN)
        return _("{} is scheduled for {}.").format(f"{job.title} #{job.pk}", clock(job.run_after))
    if job.status != JobStatus.NEW:  # which is queued already
        job.run_now(by=user, origin=Origin.ADMIN)
    return _("The chosen time is past or so near that it starts at once: it is queued.")


def is_deleted(error: QorWorkerError) -> bool:
    return isinstance(error, InvalidTransition) and error.status == "deleted"


def back(job: Job) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("admin:qorworker_job_change", args=(job.pk,)))


def gone() -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("admin:qorworker_job_changelist"))
