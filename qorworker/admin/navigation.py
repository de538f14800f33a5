"""The line at the top of every page: the places there are, who may go there, what is told beside their names. Web."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.models.pages import Situation
from qorworker.templatetags.qorworker_admin import qw_capped

PACES = (0, 1, 2, 5, 10, 30)  # seconds between two looks for news, as offered to people; 0: off


@dataclass(frozen=True)
class Place:
    """``pages`` are the names of the URLs that belong to it; one that ends in "_" stands for all that begin so."""

    url_name: str
    label: str | Promise
    key: str  # pressed after "g"
    pages: tuple[str, ...]
    allowed: Callable[[Any], bool]
    told: Callable[[Situation], str] = lambda situation: ""

    def closeness(self, url_name: str) -> int:
        """How well a page fits; 0 if it is somewhere else."""
        fitting = (p for p in self.pages if url_name == p or (p.endswith("_") and url_name.startswith(p)))
        return max(map(len, fitting), default=0)


def _running(situation: Situation) -> str:
    return _("%s running") % qw_capped(situation.running) if situation.running else ""


PLACES = [
    Place(
        "qorworker_job_changelist", gettext_lazy("Jobs"), "j", ("qorworker_job_",), permissions.can_view_any, _running
    ),
    Place(
        "qorworker_job_catalogue",
        gettext_lazy("Run a job"),
        "c",
        ("qorworker_job_catalogue", "qorworker_job_run", "qorworker_job_save_arguments", "qorworker_job_delete_preset"),
        permissions.can_view_any,
    ),
    Place(
        "qorworker_schedule_changelist",
        gettext_lazy("Schedules"),
        "s",
        ("qorworker_schedule_",),
        permissions.can_view_any,
    ),
    Place("qorworker_queue_changelist", gettext_lazy("Queues"), "q", ("qorworker_queue_",), permissions.can_view_any),
    Place(
        "qorworker_worker_changelist",
        gettext_lazy("Workers"),
        "w",
        ("qorworker_worker_",),
        lambda user: bool(user.has_perm("qorworker.view_worker")),
        lambda situation: str(situation.workers),
    ),
]


def places(request: HttpRequest, situation: Situation) -> list[dict[str, Any]]:
    """Those that the user may go to, for the template."""
    here = (request.resolver_match.url_name or "") if request.resolver_match else ""
    current = max(PLACES, key=lambda place: place.closeness(here))
    return [
        {
            "url": reverse(f"admin:{place.url_name}"),
            "label": place.label,
            "key": place.key,
            "told": place.told(situation),
            "is_current": place is current and place.closeness(here) > 0,
        }
        for place in PLACES
        if place.allowed(request.user)
    ]
