"""The catalogue: every job type the user may see, as cards or as a table, and what became of the others. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from qorworker import housekeeping, permissions
from qorworker.admin import access, once
from qorworker.admin.cards import Card, add_story, cards_for, grouped
from qorworker.admin.media import CATALOGUE_MEDIA
from qorworker.conf import settings
from qorworker.models import Job
from qorworker.models import catalogue as rows
from qorworker.registry import registry

VIEWS = ("cards", "table")
COOKIE, REMEMBERED = "qorworker_catalogue", 365 * 24 * 3600  # seconds
RECENT = 5
FEW = 6  # cards among which nobody needs help to find what they used last


def catalogue(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    everything = cards_for(request.user)
    if not everything and not permissions.can_view_any(request.user) and registry.names():
        return access.deny(model_admin, request, "run")
    if (name := request.GET.get("job")) and access.visible_type(request, name) is not None:
        return HttpResponseRedirect(reverse("admin:qorworker_job_run", args=(name,)))
    if len(everything) == 1 and everything[0].may_run and not everything[0].is_broken and not request.GET:
        return HttpResponseRedirect(reverse("admin:qorworker_job_run", args=(everything[0].job_type.name,)))
    view = _view(request)
    response = TemplateResponse(
        request, "admin/qorworker/job/catalogue.html", _context(model_admin, request, everything, view)
    )
    if request.GET.get("view") in VIEWS:
        response.set_cookie(COOKIE, view, max_age=REMEMBERED, path=request.path, httponly=True, samesite="Lax")
    return response


def _context(model_admin: Any, request: HttpRequest, everything: list[Card], view: str) -> dict[str, Any]:
    cards = _narrowed(everything, request)
    own = rows.last_of_user(Job.objects.all(), request.user)
    newest = _newest(request.user, own)
    add_story(cards, request.user, newest, own)
    query, group = request.GET.get("q", "").strip(), request.GET.get("group", "")
    is_narrowed = bool(query or group)
    return {
        **model_admin.admin_site.each_context(request),
        "title": _("Run a job"),
        "opts": Job._meta,
        "media": CATALOGUE_MEDIA,
        "groups": grouped(cards),
        "count": len(cards),
        "is_empty": set(registry.names()) <= {housekeeping.NAME},
        "query": query,
        "group": group,
        "is_narrowed": is_narrowed,
        "view": view,
        "views": [(name, _link(request, view=name)) for name in VIEWS],
        "recent": [] if is_narrowed else _recent(cards, own),
        "removed": [] if is_narrowed else _removed(request, newest),
        "unavailable": [] if is_narrowed else _unavailable(everything),
        "token": once.token_after(max(own.values(), default=0)),
    }


def _newest(user: Any, own: dict[str, int]) -> dict[str, Job]:
    """The newest job of each name, as far as the user may know of it."""
    if permissions.sees_all(user):
        return rows.newest_of_each_name(Job.objects.all())
    return rows.by_name(Job.objects.of_user(user), own.values())


def _view(request: HttpRequest) -> str:
    """As cards or as a table: as the link says, else as it was the last time."""
    asked = request.GET.get("view") or request.COOKIES.get(COOKIE, "")
    return asked if asked in VIEWS else VIEWS[0]


def _link(request: HttpRequest, **changes: str) -> str:
    query = request.GET.copy()
    for name, value in changes.items():
        query[name] = value
    return "?" + query.urlencode()


def _narrowed(cards: list[Card], request: HttpRequest) -> list[Card]:
    if group := request.GET.get("group"):
        cards = [card for card in cards if str(card.job_type.group or "") == group]
    if query := " ".join(request.GET.get("q", "").casefold().split()):
        cards = [card for card in cards if query in card.searched]
    return cards


def _recent(cards: list[Card], own: dict[str, int]) -> list[Card]:
    """What the user ran last, where there is enough to lose sight of it."""
    known = {card.job_type.name: card for card in cards if card.may_run and not card.is_broken}
    return [known[name] for name in own if name in known][:RECENT] if len(cards) > FEW else []


def _removed(request: HttpRequest, newest: dict[str, Job]) -> list[Job]:
    """The last job of each type that is no longer part of the project."""
    if not permissions.can(request.user, "view"):
        return []
    return [job for name, job in sorted(newest.items()) if registry.find(name) is None]


def _unavailable(everything: list[Card]) -> list[str]:
    """The titles of what the user may neither run nor see, if the project wants them to be known."""
    if not settings.SHOW_UNAVAILABLE:
        return []
    seen = {card.job_type.name for card in everything}
    return [str(job_type.title) for job_type in registry.all() if job_type.name not in seen]
