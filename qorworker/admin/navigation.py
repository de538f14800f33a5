"""The line at the top of every page: its places, the rights that they need, and the figures beside their names. Web."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.html import escape
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker import permissions
from qorworker.admin import links
from qorworker.admin.display import qw_capped
from qorworker.models import Job
from qorworker.queries import site
from qorworker.queries.site import Situation

PACES = (0, 1, 2, 5, 10, 30)  # seconds between two looks for news, as offered to people; 0: off


@dataclass(frozen=True)
class Place:
    """One entry of the navigation.

    ``pages`` are the names of the URLs that belong to it; one that ends in "_" stands for all that begin with it.
    """

    url_name: str
    label: str | Promise
    key: str  # pressed after "g"
    pages: tuple[str, ...]
    allowed: Callable[[Any], bool]
    figure: Callable[[Situation], str] = lambda situation: ""
    args: tuple[str, ...] = ()  # of the URL

    def closeness(self, url_name: str) -> int:
        """Return how well a page fits; 0 if it belongs to another place."""
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
        ("qorworker_schedule_", "qorworker_calendar_"),
        permissions.can_view_any,
    ),
    Place("qorworker_batch_changelist", gettext_lazy("Batches"), "b", ("qorworker_batch_",), permissions.can_view_any),
    Place("qorworker_queue_changelist", gettext_lazy("Queues"), "q", ("qorworker_queue_",), permissions.can_view_any),
    Place(
        "qorworker_worker_changelist",
        gettext_lazy("Workers"),
        "w",
        ("qorworker_worker_",),
        lambda user: bool(user.has_perm("qorworker.view_worker")),
        lambda situation: str(situation.workers),
    ),
    Place(
        "qorworker_message_changelist",
        gettext_lazy("Messages"),
        "m",
        ("qorworker_message_", "qorworker_messagerule_"),
        permissions.sees_messages,
    ),
    Place(
        "app_list",
        gettext_lazy("Dashboard"),
        "d",
        ("app_list", "qorworker_job_failures"),
        permissions.can_view_any,
        args=("qorworker",),
    ),
]


def parts(request: HttpRequest) -> dict[str, str]:
    """Return the figures beside the names of the places, as parts of ``live.News``."""
    situation = site.figures(permissions.visible_jobs(request.user, Job.objects.all()))
    return {f"place-{place.key}": escape(place.figure(situation)) for place in PLACES if place.allowed(request.user)}


def places(request: HttpRequest, situation: Situation) -> list[dict[str, Any]]:
    """Return the places to which the user may go, for the template."""
    here = (request.resolver_match.url_name or "") if request.resolver_match else ""
    current = max(PLACES, key=lambda place: place.closeness(here))
    return [
        {
            "url": address,
            "label": place.label,
            "key": place.key,
            "figure": place.figure(situation),
            "is_current": place is current and place.closeness(here) > 0,
        }
        for place in PLACES
        if place.allowed(request.user) and (address := links.url_if_there(request, place.url_name, *place.args))
    ]
