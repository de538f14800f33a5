"""The one way to a job from a request: visible or not found, allowed or refused and written down. Web."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.views.defaults import page_not_found

from qorworker import permissions
from qorworker.models import AuditEntry, Job, Origin, pages
from qorworker.models.audit import caller_address
from qorworker.registry import JobType, registry

DENIED = "denied"


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


def not_found(request: HttpRequest) -> HttpResponseBase:
    """The same page for what does not exist and for what the user may not see.

    Returned, not raised: an exception would roll back what was written down under ``ATOMIC_REQUESTS``.
    """
    return page_not_found(request, Http404())


def deny(
    model_admin: Any, request: HttpRequest, action: str, job: Job | None = None, job_type: JobType[Any] | None = None
) -> HttpResponse:
    """Answer 403 with the permission that is missing; an attempt to change something is written down."""
    job_type = job.job_type if job is not None else job_type
    if request.method == "POST":
        record(request, action, DENIED, job=job, job_name=job_type.name if job_type else "")
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Not allowed"),
        "opts": Job._meta,
        "job": job,
        "subject": str(job) if job is not None else (job_type.title if job_type else ""),
        "permission": permissions.told_permission(job_type, action),
    }
    return TemplateResponse(request, "admin/qorworker/job/denied.html", context, status=403).render()


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
