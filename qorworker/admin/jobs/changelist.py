"""The list of jobs: the parameters in its address, the rows of one page, the tabs with their counts. Web."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker import permissions
from qorworker.admin import links
from qorworker.admin.bases import PaginatorBase
from qorworker.admin.display import qw_capped, qw_number
from qorworker.admin.jobs import tabs
from qorworker.admin.jobs.columns import Columns
from qorworker.admin.jobs.filters import ON, PARAMETERS, PER_PAGE, Filters
from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.models import Job, JobQuerySet
from qorworker.queries import counting, job_details, job_list


class CappedPaginator(PaginatorBase):
    """Pages over the first rows only: to count a million rows takes longer than to show a page of them."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most ``counting.CAP``."""
        counted = getattr(self.object_list, "counted", None)
        count = counted() if counted else counting.capped_count(cast(Any, self.object_list))
        return min(int(count), counting.CAP)

    def page(self, number: Any) -> Any:
        """Return the page *number*; its rows are looked up by number, so that no whole rows are sorted."""
        page = super().page(number)
        page.object_list = job_list.rows_of(cast(JobQuerySet, page.object_list))
        return page

    def validate_number(self, number: Any) -> int:
        """Return the last page for one beyond the end: rows may have been deleted since the link was shown."""
        return max(1, min(int(number), self.num_pages))


class JobChangeList(ChangeList):
    """A page of jobs, narrowed by ``filters``, of which no parameter is a lookup of Django's."""

    filters: Filters
    window: job_list.Window
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
        rows = job_list.for_list(self._in_tab())
        rows.counted = self._counted  # type: ignore[attr-defined]
        return rows

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        order = job_list.ORDERS.get(filters_of(request).tab)
        if order and ORDER_VAR not in request.GET:
            return list(order)
        return super().get_ordering(request, queryset)

    @property
    def newest_approval(self) -> int:
        """Return the number of the newest request for approval that the page shows; 0 if it shows none."""
        shown = job_details.open_approvals(list(self.result_list))
        return max((approval.pk for approval in shown.values()), default=0)

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
        self.live_url = self._live_url(request)

    def _live_url(self, request: HttpRequest) -> str:
        """Return the address at which the page asks for news of its rows, and for newer ones."""
        parameters: dict[str, Any] = {
            "ids": ",".join(str(job.pk) for job in self.result_list),
            "newest": self.window.newest,
        }
        query = urlencode({**parameters, "whole": 1} if self.shows_all else parameters)
        return f"{links.url(request, 'qorworker_job_list_live')}{self.filters.url()}&{query}"

    @cached_property
    def counts(self) -> dict[str, job_list.TabCount]:
        """Return the number of jobs of each tab, by its name."""
        return job_list.tab_counts(self.narrowed, self.window, registry.names())

    def _in_tab(self) -> JobQuerySet:
        return job_list.in_tab(self.narrowed, self.filters.tab, self.window, registry.names())

    def _counted(self) -> int:
        count = self.counts[self.filters.tab]
        return counting.capped_count(self._in_tab()) if count.is_least else count.number

    def _tabs(self, labels: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                "name": tab,
                "label": label,
                "url": self.filters.url(tab=tab),
                "count": shown_count(self.counts[tab]),
                "current": tab == self.filters.tab,
            }
            for tab, label in labels.items()
        ]

    # For the template

    @property
    def shows_all(self) -> bool:
        """Return whether all jobs of the tab are on this page."""
        return self.result_count <= self.list_per_page

    @property
    def range(self) -> str:
        """Show which rows are on the page, such as "1 to 50 of 1,204"."""
        first = (self.page_num - 1) * self.list_per_page + 1
        numbers = {"first": first, "last": first + len(self.result_list) - 1, "all": qw_number(self.result_count)}
        if self.shows_all:
            return ngettext("%(all)s job", "%(all)s jobs", self.result_count) % numbers
        return _("%(first)d to %(last)d of %(all)s") % numbers

    @property
    def has_limit(self) -> bool:
        """Return whether there are jobs in which this tab does not look."""
        is_bounded = self.filters.tab not in job_list.ACTIVE or self.window.before is not None
        return self.window.has_older and is_bounded

    @property
    def limit(self) -> str:
        """Explain in a sentence in which jobs this tab looks."""
        numbers = {"number": self.window.floor + 1, "most": qw_number(settings.LIST_JOBS)}
        if self.window.before is None:
            return _("Only the newest %(most)s jobs are looked at, from #%(number)d on.") % numbers
        return _("Only %(most)s jobs are looked at, from #%(number)d to #%(last)d.") % {
            **numbers, "last": self.window.before - 1
        }  # fmt: skip

    @property
    def older_url(self) -> str:
        """Return the address of the list of older jobs, which this one leaves out."""
        return self.filters.url(before=str(self.window.floor + 1))

    @property
    def newest_url(self) -> str | None:
        """Return the address of the list from the newest job on; None if this is that list."""
        return self.filters.url(before=None) if self.filters.before is not None else None

    @property
    def rest_url(self) -> str | None:
        """Return the address of the jobs after the last page; None unless they are in the order of their numbers."""
        is_by_number = self.filters.tab not in job_list.ORDERS and ORDER_VAR not in self.params
        if not self.is_capped or not is_by_number or not self.result_list:
            return None
        last = self.result_list[len(self.result_list) - 1]
        is_last = self.page_num == self.paginator.num_pages
        return self.filters.url(before=str(last.pk)) if is_last else None

    @property
    def empty_text(self) -> str:
        """Explain in a sentence why the list is empty."""
        filters = self.filters
        if not filters.is_narrowed:
            return str(tabs.EMPTY[filters.tab])
        if self.counts["all"].number:
            return _("No job in this tab fits the search and the filters.")
        return _("No job fits the search and the filters.")


def filters_of(request: HttpRequest) -> Filters:
    """Return the filters in the address of *request*, read once for each request."""
    if not hasattr(request, "_qorworker_filters"):
        request._qorworker_filters = Filters(request)  # type: ignore[attr-defined]
    return cast(Filters, request._qorworker_filters)  # type: ignore[attr-defined]


def shown_count(count: job_list.TabCount) -> str:
    """Show a count, such as "12", or "9,120+" if there are at least so many; empty if it is not known."""
    if not count.is_least:
        return qw_capped(count.number)
    return qw_number(min(count.number, counting.CAP)) + "+" if count.number else ""


def columns(request: HttpRequest) -> list[Any]:
    """Return the columns that make sense in the current tab."""
    column = Columns(request)
    return [getattr(column, name) for name in tabs.columns_of(filters_of(request).tab)]


def context(request: HttpRequest) -> dict[str, Any]:
    """Return what the template of the list needs beside Django's own context."""
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
