"""The changes in the rows of an open list since the browser last asked. Web."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.template.loader import render_to_string
from django.utils.translation import ngettext

from qorworker.admin import navigation
from qorworker.admin.jobs import tabs
from qorworker.admin.jobs.changelist import filters_of, shown_count
from qorworker.admin.jobs.columns import Columns
from qorworker.admin.live import News, answer, unchanged, version_of
from qorworker.admin.parameters import number
from qorworker.definitions.registry import registry
from qorworker.models import Job
from qorworker.queries import counting, job_list

MOST_ROWS = 200
LEFT_OUT = ("number", "job")  # columns that never change; the number is a link that may have the focus


def list_live(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Return the news at ``job/list/live/?ids=1,2&newest=2&whole=1``, with the filters of the list."""
    news = _news(model_admin, request)
    version = version_of(news)
    return unchanged(request, version) or answer(news, version)


def _news(model_admin: Any, request: HttpRequest) -> News:
    filters = filters_of(request)
    visible = model_admin.get_queryset(request)
    shown = [pk for text in request.GET.get("ids", "").split(",")[:MOST_ROWS] if (pk := number(text))]
    jobs = list(job_list.for_list(job_list.numbered(visible, shown)))
    narrowed, window = filters.narrow(visible)
    in_tab = job_list.in_tab(narrowed, filters.tab, window, registry.names())
    since = number(request.GET.get("newest", "")) or 0
    newer = counting.capped_count(job_list.newer(in_tab, since, shown, shows_all="whole" in request.GET))
    counts = job_list.tab_counts(narrowed, window, registry.names())
    return News(
        parts={
            **_cells(request, jobs, filters.tab),
            **{f"count-{tab}": shown_count(count) for tab, count in counts.items()},
            **navigation.parts(request),
            "newer": _newer(newer, filters.url()),
        },
        gone=[str(pk) for pk in sorted(set(shown) - {job.pk for job in jobs})],
    )


def _cells(request: HttpRequest, jobs: list[Job], tab: str) -> dict[str, str]:
    columns = Columns(request, jobs)
    names = [name for name in tabs.columns_of(tab) if name not in LEFT_OUT]
    return {f"{job.pk}-{name}": html for job in jobs for name, html in columns.cells(job, names).items()}


def _newer(number: int, url: str) -> str:
    """Return the line about jobs that were created since; empty if there are none."""
    if not number:
        return ""
    shown = shown_count(job_list.TabCount(number, number > counting.CAP))
    text = ngettext("%s newer job", "%s newer jobs", number) % shown
    return render_to_string("admin/qorworker/job/newer.html", {"newer": text, "url": url})
