"""The list of jobs: what stands in the address, the rows of one page, the tabs with their counts. Web."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker import permissions
from qorworker.admin import tabs
from qorworker.admin.bases import PaginatorBase
from qorworker.admin.columns import Columns
from qorworker.admin.filters import ON, PARAMETERS, PER_PAGE, Filters
from qorworker.conf import settings
from qorworker.models import Job, JobQuerySet, counting, lists
from qorworker.registry import registry
from qorworker.templatetags.qorworker_admin import qw_capped, qw_number


class CappedPaginator(PaginatorBase):
    """Pages over the first rows only: to count a million rows takes longer than to show a page of them."""

    @cached_property
    def count(self) -> int:
        counted = getattr(self.object_list, "counted", None)
        found = counted() if counted else counting.capped_count(cast(Any, self.object_list))
        return min(int(found), counting.CAP)

    def page(self, number: Any) -> Any:
        """Its rows are looked up by their numbers: so only numbers are sorted, and not whole rows."""
        found = super().page(number)
        found.object_list = lists.rows_of(cast(JobQuerySet, found.object_list))
        return found

    def validate_number(self, number: Any) -> int:
        """A page beyond the end is the last one: rows may have gone since somebody saw the link."""
        return max(1, min(int(number), self.num_pages))


class JobChangeList(ChangeList):
    """Narrowed by ``filters``, of which no parameter is a lookup of Django's."""

    filters: Filters
    window: lists.Window
    narrowed: JobQuerySet
    paginator: Any

    def get_filters_params(self, params: Any = None) -> Any:
        lookups = super().get_filters_params(params)
        return {key: value for key, value in lookups.items() if key not in PARAMETERS}

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        visible = super().get_queryset(request, *args, **kwargs)
        self.filters = filters_of(request)
        self.list_per_page = self.filters.per_page
        self.narrowed, self.window = self.filters.narrow(cast(JobQuerySet, visible))
        rows = lists.for_list(self._in_tab())
        rows.counted = self._counted  # type: ignore[attr-defined]
        return rows

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        order = lists.ORDERS.get(filters_of(request).tab)
        if order and ORDER_VAR not in request.GET:
            return list(order)
        return super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        for column in self.list_display:
            if isinstance(own := getattr(column, "__self__", None), Columns):
                own.jobs = self.result_list
        self.page_num = max(1, min(self.page_num, self.paginator.num_pages))
        self.tabs = self._tabs(tabs.TABS)
        self.more_tabs = self._tabs(tabs.MORE_TABS)
        self.more_current = next((tab for tab in self.more_tabs if tab["current"]), None)
        self.is_capped = self.result_count >= counting.CAP

    @cached_property
    def counts(self) -> dict[str, lists.TabCount]:
        return lists.tab_counts(self.narrowed, self.window, registry.names())

    def _in_tab(self) -> JobQuerySet:
        return lists.in_tab(self.narrowed, self.filters.tab, self.window, registry.names())

    def _counted(self) -> int:
        count = self.counts[self.filters.tab]
        return counting.capped_count(self._in_tab()) if count.is_least else count.number

    def _tabs(self, labels: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "name": tab,
                "label": label,
                "url": self.filters.url(tab=tab),
                "count": told_count(self.counts[tab]),
                "current": tab == self.filters.tab,
            }
            for tab, label in labels.items()
        ]

    # For the template

    @property
    def shows_all(self) -> bool:
        """Whether all jobs of the tab are on this page."""
        return self.result_count <= self.list_per_page

    @property
    def range(self) -> str:
        """ "1 to 50 of 1,204" """
        first = (self.page_num - 1) * self.list_per_page + 1
        told = {"first": first, "last": first + len(self.result_list) - 1, "all": qw_number(self.result_count)}
        if self.shows_all:
            return ngettext("%(all)s job", "%(all)s jobs", self.result_count) % told
        return _("%(first)d to %(last)d of %(all)s") % told

    @property
    def has_limit(self) -> bool:
        """Whether there are jobs in which this tab does not look."""
        is_bounded = self.filters.tab not in lists.ACTIVE or self.window.before is not None
        return self.window.has_older and is_bounded

    @property
    def limit(self) -> str:
        told = {"number": self.window.floor + 1, "most": qw_number(settings.LIST_JOBS)}
        if self.window.before is None:
            return _("Only the newest %(most)s jobs are looked at, from #%(number)d on.") % told
        return _("Only %(most)s jobs are looked at, from #%(number)d to #%(last)d.") % {
            **told, "last": self.window.before - 1
        }  # fmt: skip

    @property
    def older_url(self) -> str:
        return self.filters.url(before=str(self.window.floor + 1))

    @property
    def newest_url(self) -> str | None:
        return self.filters.url(before=None) if self.filters.before is not None else None

    @property
    def rest_url(self) -> str | None:
        """Where the jobs are listed that come after the last page; only where numbers tell what comes after."""
        is_by_number = self.filters.tab not in lists.ORDERS and ORDER_VAR not in self.params
        if not self.is_capped or not is_by_number or not self.result_list:
            return None
        last = self.result_list[len(self.result_list) - 1]
        is_last = self.page_num == self.paginator.num_pages
        return self.filters.url(before=str(last.pk)) if is_last else None

    @property
    def empty_text(self) -> str:
        filters = self.filters
        if not filters.is_narrowed:
            return str(tabs.EMPTY[filters.tab])
        if self.counts["all"].number:
            return _("No job in this tab fits the search and the filters.")
        return _("No job fits the search and the filters.")


def filters_of(request: HttpRequest) -> Filters:
    """Read once for each request."""
    if not hasattr(request, "_qorworker_filters"):
        request._qorworker_filters = Filters(request)  # type: ignore[attr-defined]
    return cast(Filters, request._qorworker_filters)  # type: ignore[attr-defined]


def told_count(count: lists.TabCount) -> str:
    """ "12", or "9,120+" if there are at least so many; empty if nothing is known."""
    if not count.is_least:
        return qw_capped(count.number)
    return qw_number(min(count.number, counting.CAP)) + "+" if count.number else ""


def columns(request: HttpRequest) -> list[Any]:
    """Those that tell something in this tab."""
    column = Columns(request.user)
    return [getattr(column, name) for name in tabs.columns_of(filters_of(request).tab)]


def context(request: HttpRequest) -> dict[str, Any]:
    user = request.user
    return {
        "title": _("Jobs"),
        "may_run": any(permissions.can(user, "run", job_type) for job_type in registry.all()),
        "types": [t for t in registry.all() if permissions.can(user, "view", t)],
        "queues": list(settings.QUEUES),
        "on": [(key, label) for key, (_field, label) in ON.items()],
        "filters": filters_of(request),
        "per_page": PER_PAGE,
        "zone": timezone.get_current_timezone_name(),
        "opts": Job._meta,
    }
