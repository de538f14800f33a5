"""What has changed in the rows of an open list since the browser last asked. Web."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseNotAllowed,
    HttpResponseNotModified,
    JsonResponse,
)
from django.utils.translation import ngettext

from qorworker.admin import tabs
from qorworker.admin.asked import number
from qorworker.admin.columns import Columns
from qorworker.admin.listing import filters_of, told_count
from qorworker.models import counting, lists
from qorworker.registry import registry

MOST_ROWS = 200
LEFT_OUT = ("number", "job")  # columns that never change; the number is a link that may have the focus


def list_live(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """``job/list/live/?ids=1,2&newest=2&whole=1`` and what narrows the list."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if not model_admin.has_view_permission(request):
        return JsonResponse({}, status=403)
    body = json.dumps(_news(model_admin, request))
    tag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == tag:
        return HttpResponseNotModified(headers={"ETag": tag})
    return HttpResponse(body, content_type="application/json", headers={"ETag": tag})


def _news(model_admin: Any, request: HttpRequest) -> dict[str, Any]:
    filters = filters_of(request)
    visible = model_admin.get_queryset(request)
    shown = [pk for text in request.GET.get("ids", "").split(",")[:MOST_ROWS] if (pk := number(text))]
    jobs = list(lists.for_list(lists.numbered(visible, shown)))
    columns = Columns(request.user, jobs)
    names = [name for name in tabs.columns_of(filters.tab) if name not in LEFT_OUT]
    narrowed, window = filters.narrow(visible)
    counts = lists.tab_counts(narrowed, window, registry.names())
    in_tab = lists.in_tab(narrowed, filters.tab, window, registry.names())
    since = number(request.GET.get("newest", "")) or 0
    newer = counting.capped_count(lists.newer(in_tab, since, shown, shows_all="whole" in request.GET))
    return {
        "rows": {job.pk: columns.cells(job, names) for job in jobs},
        "counts": {tab: told_count(count) for tab, count in counts.items()},
        "newer": ngettext("%s newer job", "%s newer jobs", newer) % _told(newer) if newer else "",
    }


def _told(number: int) -> str:
    return told_count(lists.TabCount(number, number > counting.CAP))
