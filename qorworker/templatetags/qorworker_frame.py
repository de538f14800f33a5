"""The frame of every page of this app. Web."""

from __future__ import annotations

from typing import Any

from django import template
from django.http import HttpRequest

from qorworker import permissions
from qorworker.admin import links, navigation, notes
from qorworker.admin.texts import IN_SCRIPTS
from qorworker.definitions.registry import registry
from qorworker.models import PauseKind
from qorworker.queries import site

register = template.Library()


@register.inclusion_tag("admin/qorworker/frame.html", takes_context=True)
def qw_frame(context: template.Context) -> dict[str, Any]:
    """Render navigation, the pace of live updates, the keys, and a warning if no worker takes jobs.

    A page with ``obstacles`` of its own, or of its ``story``, replaces the warning by these.
    """
    request = context["request"]
    situation = site.situation(permissions.Visibility(request.user).jobs)
    return {
        "places": navigation.places(request, situation),
        "paces": navigation.PACES,
        "texts": IN_SCRIPTS,
        "situation": situation,
        "notes": notes.take(request),
        "paused": _paused(situation, request.user) if "paused_types" not in context else (),
        "queues_url": _queues_url(request),
        "page_explains": context.get("obstacles") or getattr(context.get("story"), "obstacles", ()),
    }


def _queues_url(request: HttpRequest) -> str:
    """Return the address of the page of the queues; empty if the user may not see it, or the admin site lacks it."""
    if not permissions.can_view_any(request.user):
        return ""
    return links.url_if_there(request, "qorworker_queue_changelist")


def _paused(situation: site.Situation, user: Any) -> list[site.Held]:
    """Return the paused queues, and the paused job types whose jobs the user may see."""
    return [
        held
        for held in situation.held
        if held.pause.kind == PauseKind.QUEUE or permissions.can(user, "view", registry.find(held.pause.name))
    ]


@register.simple_tag(takes_context=True)
def qw_list_url(context: template.Context, **changes: str) -> str:
    """Return the address of the list with other filters; an empty text removes one."""
    return str(context["filters"].url(**changes))
