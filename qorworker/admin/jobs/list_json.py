"""The list of jobs as JSON: narrowed like the page, under the same rights, from the newest number down. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from qorworker.admin.jobs.as_json import JobsAsJson, response
from qorworker.admin.jobs.changelist import filters_of
from qorworker.admin.jobs.filters import PARAMETERS
from qorworker.definitions.registry import registry
from qorworker.queries import job_list

USUAL, MOST = 50, 500  # jobs in one answer


def list_json(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Return the list at ``job/list.json``, or 400 with ``errors`` for parameters that cannot be understood."""
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
    in_tab = window.of(job_list.in_tab(narrowed, filters.tab, window, registry.names()))
    jobs = list(job_list.for_list(in_tab.newest_first())[: limit + 1])
    answer: dict[str, Any] = {"jobs": JobsAsJson(request, jobs[:limit]).rows, "next": None, "notes": filters.notes}
    before = jobs[limit - 1].pk if len(jobs) > limit else window.floor + 1 if window.has_older else None
    if before is not None:
        own = "" if limit == USUAL else f"&limit={limit}"
        answer["next"] = request.build_absolute_uri(filters.url(before=str(before)) + own)
    return response(answer)


def _limit(request: HttpRequest) -> int | None:
    text = request.GET.get("limit", str(USUAL))
    fits = text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST
    return int(text) if fits else None
