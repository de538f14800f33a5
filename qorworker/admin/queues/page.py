"""The page of the queues: their waiting and running jobs, their workers, and what is paused; also as JSON. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from qorworker import metrics, permissions
from qorworker.admin import navigation, rendering
from qorworker.admin.jobs.as_json import iso
from qorworker.admin.live import News, answer
from qorworker.admin.media import FORM_MEDIA, QUEUES_MEDIA
from qorworker.admin.queues.forms import HoldForm, choices_for
from qorworker.definitions.registry import registry
from qorworker.models import Queue
from qorworker.queries import queue_list


def queues(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Show ``queue/``; with ``?pause=queue:name`` the form is open and has that choice."""
    return show(request, HoldForm(request.user, chosen=request.GET.get("pause", "")))


def show(request: HttpRequest, form: HoldForm, status: int = 200) -> HttpResponseBase:
    """Return the page, with *form* to pause something."""
    return rendering.page(
        request,
        "queue/list.html",
        Queue._meta,
        title=_("Queues"),
        media=form.media + FORM_MEDIA + QUEUES_MEDIA,
        status=status,
        form=form,
        may_pause=bool(choices_for(request.user)),
        is_open=form.is_bound or bool(form.fields["what"].initial),
        **_table(request.user),
    )


def live(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Return the table as it is now, for the page that shows it."""
    html = render_to_string("admin/qorworker/queue/table.html", _table(request.user), request=request)
    return answer(News(parts={"queues": html, **navigation.parts(request)}))


def list_json(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Return the queues as JSON, at ``queue/list.json``."""
    if not model_admin.has_view_permission(request):
        return JsonResponse({"error": "not allowed"}, status=403)
    table, activity = _figures(request.user)
    return JsonResponse(
        {"queues": [_plain(row, activity.get(row.name)) for row in table.rows]},
        json_dumps_params={"ensure_ascii": False},
    )


def _table(user: Any) -> dict[str, Any]:
    table, activity = _figures(user)
    types = [
        (pause, permissions.can(user, "pause", job_type))
        for pause in table.paused_types
        if permissions.can(user, "view", job_type := registry.find(pause.name))
    ]
    return {
        "table": table,
        "rows": [(row, activity.get(row.name)) for row in table.rows],
        "paused_types": types,
        "may_pause_queues": permissions.can(user, "pause_queue"),
    }


def _figures(user: Any) -> tuple[queue_list.Table, dict[str, metrics.Activity]]:
    """Return the figures of the jobs that *user* may see. How fast jobs start is only for users who see all of them."""
    visibility = permissions.Visibility(user)
    return queue_list.table(visibility.jobs), metrics.activity() if visibility.sees_everything else {}


def _plain(row: queue_list.Row, activity: metrics.Activity | None) -> dict[str, Any]:
    """Return a row of the table for scripts: counts stop at the same limits, durations are seconds."""
    pause, waits = row.pause, activity.waits if activity is not None else None
    return {
        "name": row.name,
        "backend": row.backend,
        "waiting": row.waiting,
        "oldest": iso(row.backlog.since),
        "running": row.backlog.running,
        "slots": row.slots,
        "scheduled": row.scheduled,
        "paused_jobs": row.backlog.paused,
        "failed": row.failed,
        "per_minute": round(activity.per_minute, 2) if activity is not None else None,
        "wait_median": waits.median.total_seconds() if waits is not None else None,
        "wait_p95": waits.p95.total_seconds() if waits is not None else None,
        "weight": row.weight,
        "workers": [worker.name for worker in row.workers],
        "paused": pause is not None,
        "paused_until": iso(pause.until) if pause is not None else None,
        "paused_by": pause.paused_by.get_username() if pause is not None and pause.paused_by is not None else None,
        "reason": pause.reason if pause is not None else "",
    }
