"""The one way to a job from a request: visible or not found, allowed or refused and recorded. Web."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import Permission
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.admin import links, rendering
from qorworker.admin.media import MEDIA
from qorworker.admin.texts import BROKEN
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.models import AuditEntry, Job, Origin, Schedule
from qorworker.models.audit import caller_address
from qorworker.queries import site
from qorworker.text.cleaning import visible

logger = logging.getLogger("qorworker.access")

DENIED = "denied"
PATH_CHARS = 500  # of a path in the audit
# The sentence for a user who is refused, by action; another one serves for all other actions.
REFUSALS: dict[str, Any] = {
    "run": gettext_lazy("You may not run “%s”."),
    "rerun": gettext_lazy("You may not run “%s” again."),
    "abort": gettext_lazy("You may not abort “%s”."),
    "cancel": gettext_lazy("You may not cancel “%s”."),
    "reschedule": gettext_lazy("You may not choose another time for “%s”."),
    "update": gettext_lazy("You may not change “%s”."),
    "retry": gettext_lazy("You may not retry “%s”."),
    "answer": gettext_lazy("You may not answer the questions of “%s”."),
    "approve": gettext_lazy("You may not decide about the approval of “%s”."),
    "delete": gettext_lazy("You may not delete “%s”."),
    "manage_schedule": gettext_lazy("You may not make or change schedules of “%s”."),
    "view_arguments": gettext_lazy("You may not see the arguments of “%s”."),
    "view_log": gettext_lazy("You may not see the log and the results of “%s”."),
}


def visible_job(request: HttpRequest, pk: int) -> Job | None:
    """Return the job *pk*, or None if it does not exist or the user may not see it: the two look the same."""
    job = site.one_job(Job.objects.all(), pk) if pk < 2**63 else None
    return job if job is not None and permissions.can(request.user, "view", job=job) else None


def visible_type(request: HttpRequest, name: str) -> JobType[..., Any] | None:
    """Return the job type *name*, or None if it does not exist or the user may neither run it nor see its jobs."""
    job_type = registry.find(name)
    if job_type is None:
        return None
    user = request.user
    return job_type if any(permissions.can(user, action, job_type) for action in ("run", "view")) else None


def chosen_type(
    model_admin: Any, request: HttpRequest, name: str, action: str, methods: list[str], landing: str
) -> JobType[..., Any] | HttpResponseBase:
    """Return the job type *name* if the user may do *action* with it and its form can be shown; else the answer.

    *landing* names the URL of the page that is shown for a type whose definition has an error.
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
        return HttpResponseRedirect(links.url(request, landing))
    return job_type


def not_found(request: HttpRequest) -> HttpResponseBase:
    """Return the same page for what does not exist and for what the user may not see.

    It is returned, not raised: an exception would roll back what was recorded under ``ATOMIC_REQUESTS``.
    """
    return rendering.page(request, "missing.html", Job._meta, title=_("Not found"), media=MEDIA, status=404).render()


def deny(
    model_admin: Any,
    request: HttpRequest,
    action: str,
    job: Job | None = None,
    job_type: JobType[..., Any] | None = None,
    reason: str = "",
    schedule: Schedule | None = None,
) -> HttpResponse:
    """Answer 403 with the permission that is missing, or *reason*, and record an attempt to change something.

    An empty *action* stands for a page of Django's, which refuses by itself: its name and path are recorded.
    """
    job_type = job.job_type if job is not None else job_type
    if request.method == "POST":
        about: dict[str, Any] = {"job": job, "job_name": job_type.name if job_type else "", "schedule": schedule}
        if action:
            record(request, action, DENIED, **about)
        else:
            record(request, _page_name(request), DENIED, path=visible(request.path)[:PATH_CHARS], **about)
    subject = str(job) if job is not None else (job_type.title if job_type else "")
    lacking = permissions.lacking(request.user, action, job_type, job)
    needs_permission = lacking in permissions.PERMISSIONS and not reason
    codename = permissions.required_permission(job_type, lacking) if needs_permission else ""
    return rendering.page(
        request,
        "job/denied.html",
        model_admin.opts,
        title=_("Not allowed"),
        media=MEDIA,
        status=403,
        job=job,
        refusal=_refusal(action, str(subject)),
        reason=reason,
        permission=codename,
        permission_name=_permission_name(codename),
        is_up_to_code=needs_permission and not codename,
        back=_way_back(model_admin, request, job),
    ).render()


def _page_name(request: HttpRequest) -> str:
    """Return the name of the page, such as "job add", as an action of the audit."""
    name = (request.resolver_match.url_name if request.resolver_match else None) or ""
    return name.removeprefix("qorworker_").replace("_", " ")


def _refusal(action: str, subject: str) -> str:
    if not subject:
        return _("You may not do this.")
    return str(REFUSALS.get(action, gettext_lazy("You may not do this with “%s”."))) % subject


def _way_back(model_admin: Any, request: HttpRequest, job: Job | None) -> tuple[str, str]:
    """Return address and label of the nearest page that the user may see."""
    if job is not None:
        return links.url(request, "qorworker_job_change", job.pk), _("Back to the job")
    if model_admin.has_view_permission(request):
        name = f"qorworker_{model_admin.opts.model_name}_changelist"
        return links.url(request, name), _("Back to the list")
    return links.url_in(links.site_of(request), "index"), _("Back to the start page")


def _permission_name(permission: str) -> str:
    """Return how Django's pages of users and groups call a permission; empty if it is none of Django's."""
    app_label, _dot, codename = permission.partition(".")
    named = Permission.objects.select_related("content_type").filter(
        content_type__app_label=app_label, codename=codename
    )
    return str(named.first() or "")


def record(request: HttpRequest, action: str, outcome: str, **about: Any) -> None:
    """Add *action* to the audit, with the user and the address of *request*, and with *about*, fields of the entry.

    A refusal that repeats one of the last minute is only logged: a script that tries again and again fills no table.
    """
    entry: dict[str, Any] = {"user": request.user, "origin": Origin.ADMIN, "outcome": outcome, **about}
    if outcome == DENIED and AuditEntry.objects.was_recorded_lately(action, **entry):
        logger.warning("%r is refused “%s” again: %s.", request.user.get_username(), action, visible(request.path))
        return
    AuditEntry.objects.record(action, address=address(request), **entry)


@contextmanager
def on_record(request: HttpRequest) -> Iterator[None]:
    """Record the actions within it with the address of the request, and keep them within the rights of its user."""
    before = caller_address.set(address(request))
    try:
        with permissions.enqueueing_for(request.user):
            yield
    finally:
        caller_address.reset(before)


def address(request: HttpRequest) -> str | None:
    """Return the address of the client as the web server states it; headers that a client could forge are ignored."""
    try:
        return str(ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0]))
    except ValueError:
        return None  # behind a Unix socket servers give no address, or the name of the socket
