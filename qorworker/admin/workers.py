"""The workers, to look at only: their rows are written by themselves. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from qorworker.admin.bases import WorkerAdminBase
from qorworker.admin.media import MEDIA
from qorworker.models import Worker
from qorworker.models.worker import SILENT_AFTER
from qorworker.templatetags.qorworker_admin import qw_moment


def state_of(worker: Worker) -> str:
    """Judged by this process's clock, for display only."""
    if worker.stopped_at is not None:
        return "stopped"
    silent = (timezone.now() - worker.heartbeat_at).total_seconds() > SILENT_AFTER
    return "gone" if silent else "alive"


@admin.register(Worker)
class WorkerAdmin(WorkerAdminBase):
    change_list_template = "admin/qorworker/worker/list.html"
    change_form_template = "admin/qorworker/worker/detail.html"
    list_display = ("name", "state", "shown_queues", "slots", "shown_memory", "version", "started", "seen")
    list_per_page = 50
    show_full_result_count = False
    actions = None
    fields = (
        "name", "state", "host", "process_id", "version", "shown_queues", "shown_types", "slots", "shown_memory",
        "started_at", "heartbeat_at", "stopped_at",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> Any:
        return Worker.objects.all()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"title": _("Workers"), **(extra_context or {})})

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return False

    @admin.display(description=_("State"))
    def state(self, worker: Worker) -> SafeString:
        return render_to_string("admin/qorworker/worker/state.html", {"state": state_of(worker)})

    @admin.display(description=_("Queues"))
    def shown_queues(self, worker: Worker) -> str:
        return ", ".join(map(str, worker.queues)) or "—"

    @admin.display(description=_("Job types"))
    def shown_types(self, worker: Worker) -> str:
        return ", ".join(map(str, worker.job_types)) or "—"

    @admin.display(description=_("Memory"))
    def shown_memory(self, worker: Worker) -> str:
        return filesizeformat(worker.memory) if worker.memory else "—"

    @admin.display(description=_("Started"), ordering="started_at")
    def started(self, worker: Worker) -> Any:
        return qw_moment(worker.started_at)

    @admin.display(description=_("Last sign of life"), ordering="heartbeat_at")
    def seen(self, worker: Worker) -> Any:
        return qw_moment(worker.heartbeat_at, "seconds")

    @property
    def media(self) -> Any:
        return super().media + MEDIA
