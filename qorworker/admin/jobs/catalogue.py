"""The catalogue: every job type that the user may see, as cards or as a table, and hints at the others. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access, links, rendering, tokens
from qorworker.admin.jobs.cards import Card, add_story, cards_for, grouped
from qorworker.admin.media import CATALOGUE_MEDIA
from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.maintenance import jobs
from qorworker.models import Job
from qorworker.queries import catalogue as rows

VIEWS = ("cards", "table")
COOKIE, REMEMBERED = "qorworker_catalogue", 365 * 24 * 3600  # seconds
RECENT = 5
FEW = 6  # cards among which people find what they used last without help


def catalogue(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Show ``job/catalogue/``, or the form at once if the user can run only one type."""
    everything = cards_for(request.user)
    if not everything and not permissions.can_view_any(request.user) and registry.all():
        return access.deny(model_admin, request, "run")
    if (name := request.GET.get("job")) and access.visible_type(request, name) is not None:
        return HttpResponseRedirect(links.url(request, "qorworker_job_run", name))
    if len(everything) == 1 and everything[0].may_run and not everything[0].is_broken and not request.GET:
        return HttpResponseRedirect(links.url(request, "qorworker_job_run", everything[0].job_type.name))
    view = _view(request)
    response = rendering.page(
        request,
        "job/catalogue.html",
        Job._meta,
        title=_("Run a job"),
        media=CATALOGUE_MEDIA,
        **_context(request, everything, view),
    )
    if request.GET.get("view") in VIEWS:
        response.set_cookie(COOKIE, view, max_age=REMEMBERED, path=request.path, httponly=True, samesite="Lax")
    return response


def _context(request: HttpRequest, everything: list[Card], view: str) -> dict[str, Any]:
    cards = _narrowed(everything, request)
    own = rows.last_of_user(Job.objects.all(), request.user)
    newest = _newest(request.user, own)
    add_story(cards, request.user, newest, own)
    query, group = request.GET.get("q", "").strip(), request.GET.get("group", "")
    is_narrowed = bool(query or group)
    return {
        "groups": grouped(cards),
        "count": len(cards),
        "is_empty": {each.name for each in registry.all()} <= {jobs.NAME},
        "query": query,
        "group": group,
        "is_narrowed": is_narrowed,
        "view": view,
        "views": [(name, _link(request, view=name)) for name in VIEWS],
        "recent": [] if is_narrowed else _recent(cards, own),
        "removed": [] if is_narrowed else _removed(request, newest),
        "unavailable": [] if is_narrowed else _unavailable(everything),
        "texts": {"shown": _("{} shown"), "nothing": _("Nothing found")},
        "token": tokens.token_after(max(own.values(), default=0)),
    }


def _newest(user: Any, own: dict[str, int]) -> dict[str, Job]:
    """Return the newest job of each name, as far as the user may know of it."""
    if permissions.Visibility(user).creator is None:
        return rows.newest_of_each_name(Job.objects.all())
    return rows.by_name(Job.objects.of_user(user), own.values())


def _view(request: HttpRequest) -> str:
    """Return whether to show cards or a table: as the link says, else as last time."""
    view = request.GET.get("view") or request.COOKIES.get(COOKIE, "")
    return view if view in VIEWS else VIEWS[0]


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
    """Return what the user ran last, if there are enough cards to make it hard to find."""
    usable = {card.job_type.name: card for card in cards if card.may_run and not card.is_broken}
    return [usable[name] for name in own if name in usable][:RECENT] if len(cards) > FEW else []


def _removed(request: HttpRequest, newest: dict[str, Job]) -> list[Job]:
    """Return the last job of each type that is no longer part of the project."""
    if not permissions.can(request.user, "view"):
        return []
    return [job for name, job in sorted(newest.items()) if registry.find(name) is None]


def _unavailable(everything: list[Card]) -> list[str]:
    """Return the titles of types that the user may neither run nor see, if ``SHOW_UNAVAILABLE`` is set."""
    if not settings.SHOW_UNAVAILABLE:
        return []
    seen = {card.job_type.name for card in everything}
    return [str(job_type.title) for job_type in registry.all() if job_type.name not in seen]
