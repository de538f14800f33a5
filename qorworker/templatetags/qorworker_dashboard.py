"""The dashboard on the page of the whole app, and a box that a project can put on the first page of its admin. Web."""

from __future__ import annotations

from typing import Any

from django import template
from django.http import HttpRequest

from qorworker import permissions
from qorworker.admin import links
from qorworker.admin.dashboard import box, page
from qorworker.admin.media import DASHBOARD_MEDIA

register = template.Library()


@register.simple_tag
def qw_dashboard_media() -> Any:
    """Return the style and script that the dashboard and the box need."""
    return DASHBOARD_MEDIA


@register.simple_tag(takes_context=True)
def qw_dashboard(context: template.Context) -> dict[str, Any] | None:
    """Return what the dashboard shows; None if the user may see nothing, or the admin site has no pages of jobs."""
    request = context["request"]
    return page.board(request) if _has_pages(request) else None


@register.inclusion_tag("admin/qorworker/dashboard/box.html", takes_context=True)
def qw_box(context: template.Context) -> dict[str, Any]:
    """Show in a box what is now and what needs attention, with a link to the dashboard.

    Nothing is shown to users who may see no jobs, and in an admin site without the pages of jobs.
    """
    request = context["request"]
    return {"box": box.box(request) if _has_pages(request) else None}


def _has_pages(request: HttpRequest) -> bool:
    site = getattr(request.resolver_match and request.resolver_match.func, "admin_site", None)
    if site is not None:  # a page of Django's does not say so to ours
        links.enter(request, site)
    is_there = bool(links.url_if_there(request, "qorworker_job_changelist"))
    return is_there and permissions.can_view_any(request.user)
