"""The pages of the workers. Their rows are written by themselves; users only make requests. Web."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.urls import URLPattern
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker import permissions
from qorworker.admin import navigation
from qorworker.admin.bases import WorkerAdminBase
from qorworker.admin.display import qw_moment
from qorworker.admin.live import News, answer
from qorworker.admin.media import WORKERS_MEDIA
from qorworker.admin.pages import READING, Pages
from qorworker.admin.workers.cards import cards, general_warnings, state_of
from qorworker.admin.workers.verbs import VERBS, WorkerVerbView
from qorworker.definitions.registry import registry
from qorworker.models import Worker
from qorworker.queries import worker_list


class WorkerChangeList(ChangeList):
    """A page of workers as cards."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        now = worker_list.now()
        self.cards = cards(request.user, self.result_list, now)
        self.warnings = general_warnings(request.user, now)
        self.alive = sum(card.state == "alive" for card in self.cards)
        self.gone = sum(card.state == "gone" for card in self.cards)
        self.may_manage = permissions.can(request.user, "manage_worker")


def live(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Return the cards as they are now, for the page that shows them."""
    context = {"cl": model_admin.get_changelist_instance(request)}
    html = render_to_string("admin/qorworker/worker/cards.html", context, request=request)
    return answer(News(parts={"workers": html, **navigation.parts(request)}))


@admin.register(Worker)
class WorkerAdmin(Pages, WorkerAdminBase):
    """The pages of workers. Their rows are written by the workers alone."""

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
        return worker_list.in_order().select_related("requested_by")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Worker | None:
        """Return the worker, with only those of its job types that the user may see."""
        worker = super().get_object(request, object_id, from_field)
        if worker is not None:
            job_types = ((name, registry.find(name)) for name in worker.job_types)
            worker.job_types = [name for name, job_type in job_types if permissions.can(request.user, "view", job_type)]
        return worker

    def get_ordering(self, request: HttpRequest) -> Any:
        return ("place", "-pk")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return WorkerChangeList

    def get_urls(self) -> list[URLPattern]:
        own = [
            self.page("live/", "live", live, methods=READING, viewers_only=True, for_scripts=True),
            *(self.page(f"<int:pk>/{verb.name}/", verb.key, WorkerVerbView.view, verb) for verb in VERBS),
        ]
        return self.in_site(own + super().get_urls())

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"title": _("Workers"), **(extra_context or {})})

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        """Show the history of a worker. Users who may see none are refused before the worker is looked for."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return super().history_view(request, object_id, *args, **kwargs)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        return False

    @admin.display(description=pgettext_lazy("worker", "State"))
    def state(self, worker: Worker) -> SafeString:
        """Show whether the worker is alive, gone or stopped, and what was requested of it."""
        context = {"state": state_of(worker, worker_list.now()), "worker": worker}
        return render_to_string("admin/qorworker/worker/state.html", context)

    @admin.display(description=_("Queues"))
    def shown_queues(self, worker: Worker) -> str:
        """Show the names of the queues that it serves."""
        return ", ".join(map(str, worker.queues)) or "—"

    @admin.display(description=_("Job types"))
    def shown_types(self, worker: Worker) -> str:
        """Show the names of the job types whose code it has."""
        return ", ".join(map(str, worker.job_types)) or "—"

    @admin.display(description=_("Memory"))
    def shown_memory(self, worker: Worker) -> str:
        """Show the memory that its processes use."""
        return filesizeformat(worker.memory) if worker.memory else "—"

    @admin.display(description=_("Started"))
    def started(self, worker: Worker) -> Any:
        """Show when it started."""
        return qw_moment(worker.started_at, "seconds")

    @admin.display(description=_("Last sign of life"))
    def seen(self, worker: Worker) -> Any:
        """Show the time of its last heartbeat."""
        return qw_moment(worker.heartbeat_at, "seconds")

    @admin.display(description=pgettext_lazy("worker", "Stopped"))
    def stopped(self, worker: Worker) -> Any:
        """Show when it stopped."""
        return qw_moment(worker.stopped_at, "seconds")

    @property
    def media(self) -> Any:
        return super().media + WORKERS_MEDIA
