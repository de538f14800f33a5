"""The list of jobs: tabs with their counts, columns, search, and bounds that hold at a million rows. Web."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from qorworker import permissions
from qorworker.admin.bases import PaginatorBase
from qorworker.admin.columns import Columns
from qorworker.models import Job, pages
from qorworker.registry import registry
from qorworker.status import JobStatus

TABS: dict[str, Any] = {
    "all": pgettext_lazy("tab", "All"),
    "queued": JobStatus.NEW.label,
    "running": JobStatus.RUNNING.label,
    "scheduled": JobStatus.SCHEDULED.label,
    "done": JobStatus.DONE.label,
    "failed": JobStatus.EXCEPTION.label,
}
MORE_TABS: dict[str, Any] = {
    "will_retry": _("Will retry"),
    "aborted": JobStatus.KILLED.label,
    "cancelled": JobStatus.CANCELLED.label,
    "not_responding": _("Not responding"),
}
EMPTY: dict[str, Any] = {
    "all": _("No job has run yet."),
    "queued": _("No job is waiting for a worker."),
    "running": _("No job is running."),
    "scheduled": _("No job is scheduled."),
    "done": _("No job is done yet."),
    "failed": _("No job has failed."),
    "will_retry": _("No job waits for another attempt."),
    "aborted": _("No job was aborted."),
    "cancelled": _("No job was cancelled."),
    "not_responding": _("Every running job shows signs of life."),
}
OWN_PARAMETERS = ("tab", "job", "group")


class CappedPaginator(PaginatorBase):
    """Pages over the first rows only: to count a million rows takes longer than to show a page of them."""

    @cached_property
    def count(self) -> int:
        return min(pages.capped_count(self.object_list), pages.CAP)  # type: ignore[arg-type]


class JobChangeList(ChangeList):
    """``?tab=``, ``?job=`` and ``?group=`` narrow the list; they are no lookups."""

    narrowed: Any

    def get_filters_params(self, params: Any = None) -> Any:
        lookups = super().get_filters_params(params)
        return {key: value for key, value in lookups.items() if key not in OWN_PARAMETERS}

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self.narrowed = super().get_queryset(request, *args, **kwargs)
        for names in _chosen_types(request):
            self.narrowed = self.narrowed.for_types(names)
        return pages.for_list(pages.in_tab(self.narrowed, tab_of(request)))

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        ordering = super().get_ordering(request, queryset)
        if tab_of(request) in ("scheduled", "will_retry") and "o" not in request.GET:
            return ["run_after", "pk"]
        return ordering

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.tabs = self._tabs(request, TABS)
        self.more_tabs = self._tabs(request, MORE_TABS)
        self.more_is_open = any(tab["current"] for tab in self.more_tabs)
        self.is_capped = self.result_count >= pages.CAP
        self.empty_text = EMPTY[tab_of(request)]
        self.clear_narrowing = self.get_query_string(remove=["job", "group"])

    @cached_property
    def counts(self) -> dict[str, int]:
        return pages.tab_counts(self.narrowed)

    def _tabs(self, request: HttpRequest, labels: dict[str, Any]) -> list[dict[str, Any]]:
        kept = {key: value for key, value in request.GET.items() if key in ("q", "job", "group")}
        return [
            {
                "label": label,
                "url": "?" + urlencode({**kept, "tab": tab}),
                "count": self.counts.get(tab),
                "is_capped": self.counts.get(tab, 0) > pages.CAP,
                "current": tab == tab_of(request),
            }
            for tab, label in labels.items()
        ]


def tab_of(request: HttpRequest) -> str:
    tab = request.GET.get("tab", "all")
    return tab if tab in pages.TABS else "all"


def _chosen_types(request: HttpRequest) -> list[list[str]]:
    chosen = []
    if name := request.GET.get("job"):
        chosen.append([name] if name.isprintable() else [])  # as every name is, and no database takes a null character
    if group := request.GET.get("group"):
        chosen.append([job_type.name for job_type in registry.all() if str(job_type.group or "") == group])
    return chosen


def search(jobs: Any, text: str) -> Any:
    """By number, or by a part of the title or name of a type; names of types that left the code must be complete."""
    text = text.strip()
    if not text:
        return jobs
    digits = text.removeprefix("#")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None
    wanted = text.casefold()
    names = [t.name for t in registry.all() if wanted in str(t.title).casefold() or wanted in t.name.casefold()]
    return pages.search(jobs, number, [*names, text])


def columns(model_admin: Any, request: HttpRequest) -> list[Any]:
    """Those that tell something in this tab."""
    column = Columns(request.user)
    if tab_of(request) in ("scheduled", "will_retry"):
        return [column.number, column.job, column.status, column.starts, column.arguments, column.by]
    return [column.number, column.job, column.status, column.arguments, column.created, column.duration, column.by]


def context(model_admin: Any, request: HttpRequest) -> dict[str, Any]:
    job_type = registry.find(request.GET.get("job", ""))
    return {
        "title": _("Jobs"),
        "narrowed_to": (job_type.title if job_type else request.GET.get("job")) or request.GET.get("group"),
        "may_run": any(permissions.can(request.user, "run", job_type) for job_type in registry.all()),
        "opts": Job._meta,
    }
