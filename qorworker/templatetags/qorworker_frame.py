"""What every page of ours begins with. Web."""

from __future__ import annotations

from typing import Any

from django import template

from qorworker import permissions
from qorworker.admin import navigation
from qorworker.models import Job, PauseKind, pages
from qorworker.registry import registry

register = template.Library()


@register.inclusion_tag("admin/qorworker/frame.html", takes_context=True)
def qw_frame(context: template.Context) -> dict[str, Any]:
    """Where one can go, how often the page looks for news, which keys do what, and whether nobody works.

    The last is left to the page if that tells more: by ``obstacles``, of its own or of its ``story``.
    """
    request = context["request"]
    situation = pages.situation(permissions.visible_jobs(request.user, Job.objects.all()))
    return {
        "places": navigation.places(request, situation),
        "paces": navigation.PACES,
        "situation": situation,
        "paused": _paused(situation, request.user) if "paused_types" not in context else (),
        "may_see_queues": permissions.can_view_any(request.user),
        "is_told": context.get("obstacles") or getattr(context.get("story"), "obstacles", ()),
    }


def _paused(situation: pages.Situation, user: Any) -> list[pages.Held]:
    """Queues are told to everybody, job types to those who may see their jobs."""
    return [
        held
        for held in situation.held
        if held.pause.kind == PauseKind.QUEUE or permissions.can(user, "view", registry.find(held.pause.name))
    ]


@register.simple_tag(takes_context=True)
def qw_list_url(context: template.Context, **changes: str) -> str:
    """The address of the list with other filters; an empty text takes one away."""
    return str(context["filters"].url(**changes))
