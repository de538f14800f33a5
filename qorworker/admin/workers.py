"""The workers: their rows are written by themselves, and people only ask something of them. Web."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, JsonResponse
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker import permissions
from qorworker.admin import access, worker_verbs
from qorworker.admin.bases import WorkerAdminBase
from qorworker.admin.media import WORKERS_MEDIA
from qorworker.admin.worker_cards import cards, general_warnings, state_of
from qorworker.models import Worker, worker_page
from qorworker.registry import registry
from qorworker.templatetags.qorworker_admin import qw_moment


class WorkerChangeList(ChangeList):
    """A page of workers as cards."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        now = worker_page.now()
        self.cards = cards(request.user, self.result_list, now)
        self.warnings = general_warnings(request.user, now)
        self.alive = sum(card.state == "alive" for card in self.cards)
        self.gone = sum(card.state == "gone" for card in self.cards)
        self.may_manage = permissions.can(request.user, "manage_worker")


@admin.register(Worker)
class WorkerAdmin(WorkerAdminBase):
    change_list_template = "admin/qorworker/worker/list.html"
    change_form_template = "admin/qorworker/worker/detail.html"
    list_display = ("name",)
    list_per_page = 50
    show_full_result_count = False
    actions = None
    fields = (
        "name", "state", "host", "process_id", "version", "shown_queues", "shown_types", "slots", "shown_memory",
        "started", "seen", "stopped",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> Any:
        return worker_page.in_order().select_related("requested_by")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Worker | None:
        """Of its job types only those that the user may see."""
        worker = super().get_object(request, object_id, from_field)
        if worker is not None:
            known = ((name, registry.find(name)) for name in worker.job_types)
            worker.job_types = [name for name, found in known if permissions.can(request.user, "view", found)]
        return worker

    def get_ordering(self, request: HttpRequest) -> Any:
        return ("place", "-pk")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return WorkerChangeList

    def get_urls(self) -> list[URLPattern]:
        live = access.for_scripts(self.admin_site, self.admin_site.admin_view(self.live))
        return [
            path("live/", live, name="qorworker_worker_live"),
            *(
                path(f"<int:pk>/{name}/", self.admin_site.admin_view(self._verb(name)), name=f"qorworker_worker_{name}")
                for name in worker_verbs.VERBS
            ),
            *super().get_urls(),
        ]

    def _verb(self, name: str) -> Callable[..., HttpResponseBase]:
        def view(request: HttpRequest, pk: int) -> HttpResponseBase:
            with access.on_record(request):
                return worker_verbs.verb(self, request, name, pk)

        return view

    def live(self, request: HttpRequest) -> HttpResponseBase:
        """The cards as they are now, for the page that shows them."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            return JsonResponse({}, status=403)
        context = {"cl": self.get_changelist_instance(request)}
        html = render_to_string("admin/qorworker/worker/cards.html", context, request=request)
        return JsonResponse({"html": html, "final": False})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"title": _("Workers"), **(extra_context or {})})

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return False

    @admin.display(description=pgettext_lazy("worker", "State"))
    def state(self, worker: Worker) -> SafeString:
        context = {"state": state_of(worker, worker_page.now()), "worker": worker}
        return render_to_string("admin/qorworker/worker/state.html", context)

    @admin.display(description=_("Queues"))
    def shown_queues(self, worker: Worker) -> str:
        return ", ".join(map(str, worker.queues)) or "—"

    @admin.display(description=_("Job types"))
    def shown_types(self, worker: Worker) -> str:
        return ", ".join(map(str, worker.job_types)) or "—"

    @admin.display(description=_("Memory"))
    def shown_memory(self, worker: Worker) -> str:
        return filesizeformat(worker.memory) if worker.memory else "—"

    @admin.display(description=_("Started"))
    def started(self, worker: Worker) -> Any:
        return qw_moment(worker.started_at, "seconds")

    @admin.display(description=_("Last sign of life"))
    def seen(self, worker: Worker) -> Any:
        return qw_moment(worker.heartbeat_at, "seconds")

    @admin.display(description=pgettext_lazy("worker", "Stopped"))
    def stopped(self, worker: Worker) -> Any:
        return qw_moment(worker.stopped_at, "seconds")

    @property
    def media(self) -> Any:
        return super().media + WORKERS_MEDIA
