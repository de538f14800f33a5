"""The one way to a job from a request: visible or not found, allowed or refused and written down. Web."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from ipaddress import ip_address
from typing import Any

from django.contrib import messages
from django.contrib.admin import site
from django.contrib.auth.models import Permission
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    JsonResponse,
)
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.admin.media import MEDIA
from qorworker.admin.verbs import BROKEN
from qorworker.models import AuditEntry, Job, Origin, pages
from qorworker.models.audit import caller_address
from qorworker.registry import JobType, registry

DENIED = "denied"
# What a person is told who may not do something; where nothing fits, a sentence for everything.
REFUSALS: dict[str, Any] = {
    "run": gettext_lazy("You may not run “%s”."),
    "rerun": gettext_lazy("You may not run “%s” again."),
    "abort": gettext_lazy("You may not abort “%s”."),
    "cancel": gettext_lazy("You may not cancel “%s”."),
    "reschedule": gettext_lazy("You may not choose another time for “%s”."),
    "update": gettext_lazy("You may not change “%s”."),
    "retry": gettext_lazy("You may not retry “%s”."),
    "delete": gettext_lazy("You may not delete “%s”."),
    "manage_schedule": gettext_lazy("You may not make or change schedules of “%s”."),
    "view_arguments": gettext_lazy("You may not see the arguments of “%s”."),
    "view_log": gettext_lazy("You may not see the log and the results of “%s”."),
}


def visible_job(request: HttpRequest, pk: int) -> Job | None:
    """The job, if there is one and the user may see it: nothing tells the two cases apart."""
    job = pages.one_job(Job.objects.all(), pk) if pk < 2**63 else None
    return job if job is not None and permissions.can(request.user, "view", job=job) else None


def visible_type(request: HttpRequest, name: str) -> JobType[Any] | None:
    """The job type, if there is one and the user may run it or see its jobs."""
    job_type = registry.find(name)
    if job_type is None:
        return None
    user = request.user
    return job_type if any(permissions.can(user, action, job_type) for action in ("run", "view")) else None


def chosen_type(
    model_admin: Any, request: HttpRequest, name: str, action: str, methods: list[str], landing: str
) -> JobType[Any] | HttpResponseBase:
    """The type, if the user may do *action* with it and its form can be shown; else the answer that says why not.

    *landing* is the name of the page to which a type leads whose definition has an error.
    """
    job_type = visible_type(request, name)
    if job_type is None:
        return not_found(request)
    if request.method not in methods:
        return HttpResponseNotAllowed(methods)
    if not permissions.can(request.user, action, job_type):
        return deny(model_admin, request, action, job_type=job_type)
    if job_type.arguments.problems():
        messages.error(request, BROKEN)
        return HttpResponseRedirect(reverse(f"admin:{landing}"))
    return job_type


def not_found(request: HttpRequest) -> HttpResponseBase:
    """The same page for what does not exist and for what the user may not see.

    Returned, not raised: an exception would roll back what was written down under ``ATOMIC_REQUESTS``.
    """
    context = {**site.each_context(request), "title": _("Not found"), "opts": Job._meta, "media": MEDIA}
    return TemplateResponse(request, "admin/qorworker/missing.html", context, status=404).render()


def for_scripts(site: Any, view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A page of *site* that only scripts ask for: who is not signed in gets a status, not the page to sign in."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if site.has_permission(request):
            return view(request, *args, **kwargs)
        status = 403 if request.user.is_authenticated else 401
        return JsonResponse({}, status=status, headers={"Cache-Control": "no-store"})

    return answer


def deny(
    model_admin: Any,
    request: HttpRequest,
    action: str,
    job: Job | None = None,
    job_type: JobType[Any] | None = None,
    reason: str = "",
) -> HttpResponse:
    """Answer 403 with the permission that is missing, or *reason*; an attempt to change something is written down."""
    job_type = job.job_type if job is not None else job_type
    if request.method == "POST":
        record(request, action, DENIED, job=job, job_name=job_type.name if job_type else "")
    subject = str(job) if job is not None else (job_type.title if job_type else "")
    lacking = permissions.lacking(request.user, action, job_type, job)
    codename = "" if reason else permissions.told_permission(job_type, lacking)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Not allowed"),
        "opts": model_admin.opts,
        "media": MEDIA,
        "job": job,
        "refusal": _refusal(action, str(subject)),
        "reason": reason,
        "permission": codename,
        "permission_name": _permission_name(codename),
    }
    return TemplateResponse(request, "admin/qorworker/job/denied.html", context, status=403).render()


def _refusal(action: str, subject: str) -> str:
    if not subject:
        return _("You may not do this.")
    return str(REFUSALS.get(action, gettext_lazy("You may not do this with “%s”."))) % subject


def _permission_name(permission: str) -> str:
    """How the pages of users and groups call a permission; empty if it is none of Django's."""
    app_label, _dot, codename = permission.partition(".")
    known = Permission.objects.filter(content_type__app_label=app_label, codename=codename).first()
    return f"{app_label} | {known.name}" if known is not None else ""


def record(request: HttpRequest, action: str, outcome: str, **about: Any) -> None:
    AuditEntry.objects.record(action, user=request.user, origin=Origin.ADMIN, outcome=outcome, **about)


@contextmanager
def on_record(request: HttpRequest) -> Iterator[None]:
    """Within it, whatever is done is written down with the address of who asked for it."""
    before = caller_address.set(address(request))
    try:
        yield
    finally:
        caller_address.reset(before)


def address(request: HttpRequest) -> str | None:
    """Where the request came from, as the web server says; no header that a client could forge is believed."""
    try:
        return str(ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0]))
    except ValueError:
        return None  # behind a Unix socket servers give no address, or the name of the socket
