"""The catalogue: every job type the user may see, as a card with its last run. Web."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from qorworker import permissions
from qorworker.admin import access, once
from qorworker.admin.media import MEDIA
from qorworker.models import Job, pages
from qorworker.registry import JobType, registry


@dataclass
class Card:
    job_type: JobType[Any]
    may_run: bool
    may_view: bool
    last: Job | None = None

    @property
    def summary(self) -> str:
        """The first paragraph of the description."""
        return first_paragraph(self.job_type)

    @property
    def is_broken(self) -> bool:
        """Its definition cannot work; ``manage.py check`` says why, but not every deployment runs that."""
        return bool(self.job_type.arguments.problems())

    @property
    def is_one_click(self) -> bool:
        """Nothing to fill in and nothing to confirm: a click is enough."""
        return not self.job_type.arguments.fields and not self.job_type.confirm


def catalogue(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    everything = _cards(request)
    if not everything and not permissions.can_view_any(request.user) and registry.names():
        return access.deny(model_admin, request, "run")
    if (name := request.GET.get("job")) and access.visible_type(request, name) is not None:
        return HttpResponseRedirect(reverse("admin:qorworker_job_run", args=(name,)))
    if len(everything) == 1 and everything[0].may_run and not everything[0].is_broken and not request.GET:
        return HttpResponseRedirect(reverse("admin:qorworker_job_run", args=(everything[0].job_type.name,)))
    cards = _narrowed(everything, request)
    _add_last_runs(cards)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Run a job"),
        "opts": Job._meta,
        "media": MEDIA,
        "groups": _grouped(cards),
        "count": len(cards),
        "is_empty": not registry.names(),
        "query": request.GET.get("q", ""),
        "group": request.GET.get("group", ""),
        "token": once.new_token(),
        "has_list": permissions.can_view_any(request.user),
    }
    return TemplateResponse(request, "admin/qorworker/job/catalogue.html", context)


def first_paragraph(job_type: JobType[Any]) -> str:
    return " ".join(str(job_type.description or "").strip().split("\n\n")[0].split())


def _cards(request: HttpRequest) -> list[Card]:
    user = request.user
    cards = [Card(t, permissions.can(user, "run", t), permissions.can(user, "view", t)) for t in registry.all()]
    return [card for card in cards if card.may_run or card.may_view]


def _narrowed(cards: list[Card], request: HttpRequest) -> list[Card]:
    if group := request.GET.get("group"):
        cards = [card for card in cards if str(card.job_type.group or "") == group]
    if query := request.GET.get("q", "").strip().casefold():
        cards = [card for card in cards if query in _searched(card.job_type)]
    return cards


def _searched(job_type: JobType[Any]) -> str:
    texts = (job_type.title, job_type.name, job_type.group or "", job_type.description or "")
    return "\n".join(str(text) for text in texts).casefold()


def _add_last_runs(cards: list[Card]) -> None:
    last = pages.last_of_types(Job.objects.all(), [card.job_type.name for card in cards if card.may_view])
    for card in cards:
        card.last = last.get(card.job_type.name)


def _grouped(cards: list[Card]) -> list[tuple[str, list[Card]]]:
    """By group, in the order of the alphabet; types without a group at the end."""

    def key(card: Card) -> tuple[bool, str, str]:
        group = str(card.job_type.group or "")
        return (not group, group.casefold(), str(card.job_type.title).casefold())

    groups = groupby(sorted(cards, key=key), key=lambda card: str(card.job_type.group or ""))
    return [(group or _("Other"), list(members)) for group, members in groups]
