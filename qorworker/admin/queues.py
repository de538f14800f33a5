"""The queues: what waits and runs in each, who serves it, and what is paused. Web."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from qorworker import metrics, pausing, permissions
from qorworker.admin import access
from qorworker.admin.as_json import iso
from qorworker.admin.bases import QueueAdminBase
from qorworker.admin.media import FORM_MEDIA, SCHEDULE_MEDIA, WORKERS_MEDIA
from qorworker.conf import settings
from qorworker.exceptions import QorWorkerError
from qorworker.models import Job, Origin, Pause, PauseKind, Queue, queue_page
from qorworker.models.clock import stored
from qorworker.models.pause import REASON_CHARS
from qorworker.records import clean_text
from qorworker.registry import JobType, registry
from qorworker.schedule_forms import PauseForm


class HoldForm(PauseForm):
    """What is to be paused, why, and until when."""

    what = forms.ChoiceField(label=gettext_lazy("What"))

    def __init__(self, user: Any, data: Any = None, chosen: str = "") -> None:
        super().__init__(data, zone=timezone.get_current_timezone_name())
        self.fields["what"].choices = choices_for(user)  # type: ignore[attr-defined]
        self.fields["what"].initial = chosen
        self.order_fields(["what", "reason", "until"])


def choices_for(user: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    """What *user* may pause, in groups: each as its kind and name."""
    queues = [(f"{PauseKind.QUEUE}:{name}", name) for name in settings.QUEUES]
    types = [
        (f"{PauseKind.JOB_TYPE}:{job_type.name}", str(job_type.title))
        for job_type in registry.all()
        if permissions.can(user, "pause", job_type)
    ]
    found = []
    if permissions.can(user, "pause_queue"):
        found.append((_("Queues"), queues))
    return [*found, (_("Job types"), types)] if types else found


@admin.register(Queue)
class QueueAdmin(QueueAdminBase):
    def get_urls(self) -> list[URLPattern]:
        site = self.admin_site
        pages = [("", "changelist", self.page), ("pause/", "pause", self.pause), ("resume/", "resume", self.resume)]
        for_scripts = [("live/", "live", self.live), ("list.json", "json", self.as_json)]
        return [
            *(path(route, site.admin_view(view), name=f"qorworker_queue_{name}") for route, name, view in pages),
            *(
                path(route, access.for_scripts(site, site.admin_view(view)), name=f"qorworker_queue_{name}")
                for route, name, view in for_scripts
            ),
        ]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return permissions.can_view_any(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return permissions.can_view_any(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # Looking

    def page(self, request: HttpRequest) -> HttpResponseBase:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            return access.deny(self, request, "view")
        return self._show(request, HoldForm(request.user, chosen=request.GET.get("pause", "")))

    def _show(self, request: HttpRequest, form: HoldForm, status: int = 200) -> HttpResponseBase:
        context = {
            **self.admin_site.each_context(request),
            **self._table(request),
            "title": _("Queues"),
            "opts": Queue._meta,
            "media": form.media + FORM_MEDIA + SCHEDULE_MEDIA + WORKERS_MEDIA,
            "form": form,
            "may_pause": bool(choices_for(request.user)),
            "is_asked": form.is_bound or bool(form.fields["what"].initial),
        }
        return TemplateResponse(request, "admin/qorworker/queue/list.html", context, status=status)

    def _table(self, request: HttpRequest) -> dict[str, Any]:
        user = request.user
        table, pace = self._figures(user)
        types = [
            (pause, permissions.can(user, "pause", job_type))
            for pause in table.paused_types
            if permissions.can(user, "view", job_type := registry.find(pause.name))
        ]
        return {
            "table": table,
            "rows": [(row, pace.get(row.name)) for row in table.rows],
            "paused_types": types,
            "may_pause_queues": permissions.can(user, "pause_queue"),
        }

    def _figures(self, user: Any) -> tuple[queue_page.Table, dict[str, metrics.Activity]]:
        """Of the jobs that *user* may see; how fast all of them go only for who sees all."""
        sees_all = permissions.sees_all(user) and permissions.can(user, "view")
        jobs = permissions.visible_jobs(user, Job.objects.all())
        return queue_page.table(jobs), metrics.activity() if sees_all else {}

    def live(self, request: HttpRequest) -> HttpResponseBase:
        """The table as it is now, for the page that shows it."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            return JsonResponse({}, status=403)
        html = render_to_string("admin/qorworker/queue/table.html", self._table(request), request=request)
        return JsonResponse({"html": html, "final": False})

    def as_json(self, request: HttpRequest) -> HttpResponseBase:
        """``queue/list.json``"""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            return JsonResponse({"error": "not allowed"}, status=403)
        table, pace = self._figures(request.user)
        return JsonResponse(
            {"queues": [_plain(row, pace.get(row.name)) for row in table.rows]},
            json_dumps_params={"ensure_ascii": False},
        )

    # Changing

    def pause(self, request: HttpRequest) -> HttpResponseBase:
        return self._change(request, self._pause)

    def resume(self, request: HttpRequest) -> HttpResponseBase:
        return self._change(request, self._resume)

    def _change(self, request: HttpRequest, perform: Any) -> HttpResponseBase:
        """Permission, verb, message, redirect. Only POST changes anything."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_view_permission(request):
            return access.deny(self, request, "view")
        kind, _colon, name = request.POST.get("qw-what", "").partition(":")
        job_type = access.visible_type(request, name) if kind == PauseKind.JOB_TYPE else None
        if kind == PauseKind.JOB_TYPE and job_type is None and not self._is_left(request, name):
            return access.not_found(request)
        if kind not in PauseKind.values:
            return access.not_found(request)
        action = "pause_queue" if kind == PauseKind.QUEUE else "pause"
        if not permissions.can(request.user, action, job_type):
            return access.deny(self, request, action, job_type=job_type)
        with access.on_record(request):
            return perform(request, kind, name, job_type)  # type: ignore[no-any-return]

    def _is_left(self, request: HttpRequest, name: str) -> bool:
        """Whether it is a type that has left the code, and is paused still."""
        return registry.find(name) is None and name in Pause.objects.paused().names

    def _pause(self, request: HttpRequest, kind: str, name: str, job_type: JobType[Any] | None) -> HttpResponseBase:
        form = HoldForm(request.user, request.POST)
        if not form.is_valid():
            return self._show(request, form, status=422)
        until = form.cleaned_data["until"]
        reason = " ".join(clean_text(form.cleaned_data["reason"], REASON_CHARS).split())
        options: dict[str, Any] = {"by": request.user, "reason": reason, "origin": Origin.ADMIN}
        try:
            options["until"] = until and stored(until)
            job_type.pause(**options) if job_type is not None else pausing.pause_queue(name, **options)
        except QorWorkerError as error:
            form.add_error(None, str(error))
            return self._show(request, form, status=422)
        messages.success(request, _("“%(name)s” is paused. What runs goes on.") % {"name": _title(name, job_type)})
        return _back()

    def _resume(self, request: HttpRequest, kind: str, name: str, job_type: JobType[Any] | None) -> HttpResponseBase:
        if Pause.objects.end(kind, name, by=request.user, origin=Origin.ADMIN):
            messages.success(request, _("“%(name)s” goes on.") % {"name": _title(name, job_type)})
        else:
            messages.warning(request, _("That was done already, or cannot be done now. Nothing was changed."))
        return _back()


def _title(name: str, job_type: JobType[Any] | None) -> str:
    return str(job_type.title) if job_type is not None else name


def _back() -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse("admin:qorworker_queue_changelist"))


def _plain(row: queue_page.Row, pace: metrics.Activity | None) -> dict[str, Any]:
    """A row of the table for scripts: counts stop at the same limits, durations are seconds."""
    pause, waits = row.pause, pace.waits if pace is not None else None
    return {
        "name": row.name,
        "backend": row.backend,
        "waiting": row.waiting,
        "oldest": iso(row.backlog.since),
        "running": row.backlog.running,
        "slots": row.slots,
        "scheduled": row.scheduled,
        "failed": row.failed,
        "per_minute": round(pace.per_minute, 2) if pace is not None else None,
        "wait_median": waits.median.total_seconds() if waits is not None else None,
        "wait_p95": waits.p95.total_seconds() if waits is not None else None,
        "weight": row.weight,
        "workers": [worker.name for worker in row.workers],
        "paused": pause is not None,
        "paused_until": iso(pause.until) if pause is not None else None,
        "paused_by": pause.paused_by.get_username() if pause is not None and pause.paused_by is not None else None,
        "reason": pause.reason if pause is not None else "",
    }
