"""The list of jobs as JSON: narrowed like the page, under the same rights, from the newest number down. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, JsonResponse

from qorworker.admin.as_json import JobsAsJson
from qorworker.admin.filters import PARAMETERS
from qorworker.admin.listing import filters_of
from qorworker.models import lists
from qorworker.registry import registry

USUAL, MOST = 50, 500  # jobs in one answer


def list_json(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """``job/list.json``: 400 with ``errors`` for what cannot be understood; nothing is left out silently."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if not model_admin.has_view_permission(request):
        return JsonResponse({}, status=403)
    filters = filters_of(request)
    errors, limit = dict(filters.errors), _limit(request)
    if limit is None:
        errors["limit"] = f"limit must be a whole number from 1 to {MOST}."
    errors |= {
        name: f"There is no parameter “{name}”." for name in set(request.GET) - ({*PARAMETERS, "limit"} - {"per"})
    }
    if errors or limit is None:
        return JsonResponse({"errors": errors}, status=400)
    narrowed, window = filters.narrow(model_admin.get_queryset(request))
    in_tab = window.of(lists.in_tab(narrowed, filters.tab, window, registry.names()))
    jobs = list(lists.for_list(in_tab.newest_first())[: limit + 1])
    row = JobsAsJson(request).row
    answer: dict[str, Any] = {"jobs": [row(job) for job in jobs[:limit]], "next": None, "notes": filters.notes}
    before = jobs[limit - 1].pk if len(jobs) > limit else window.floor + 1 if window.has_older else None
    if before is not None:
        own = "" if limit == USUAL else f"&limit={limit}"
        answer["next"] = request.build_absolute_uri(filters.url(before=str(before)) + own)
    return JsonResponse(answer, json_dumps_params={"ensure_ascii": False})


def _limit(request: HttpRequest) -> int | None:
    text = request.GET.get("limit", str(USUAL))
    fits = text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST
    return int(text) if fits else None
