"""The chart of how long the last runs of a job type or a schedule took. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from statistics import quantiles

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext

from qorworker.admin import links
from qorworker.admin.dashboard import charts
from qorworker.admin.display import qw_duration, qw_number
from qorworker.queries.last_runs import Run
from qorworker.status import JobStatus
from qorworker.text.moments import date_and_clock, local

LEAST = 5  # successful runs that a band needs
KINDS = {JobStatus.DONE: "done", JobStatus.EXCEPTION: "failed", JobStatus.KILLED: "aborted"}


def chart_of(request: HttpRequest, runs: Sequence[Run]) -> charts.Chart | None:
    """Return the chart of *runs*, the oldest first; None if there are fewer than two."""
    if len(runs) < 2:
        return None
    band = _band([run.seconds for run in runs if run.status == JobStatus.DONE])
    chart = charts.points(
        "durations",
        _("Durations of the last runs"),
        _summary(runs, band),
        [(kind, str(JobStatus(status).label)) for status, kind in KINDS.items()],
        [_span(request, runs, place) for place in range(len(runs))],
        [(KINDS[JobStatus(run.status)], run.seconds) for run in runs],
        _time,
        band,
    )
    return replace(chart, first_column=_("Job"), columns=[_("Status"), pgettext("column", "Duration")])


def _band(seconds: Sequence[float]) -> tuple[float, float] | None:
    """Return between which durations half of the successful runs lie."""
    if len(seconds) < LEAST:
        return None
    low, _median, high = quantiles(seconds, n=4, method="inclusive")
    return low, high


def _summary(runs: Sequence[Run], band: tuple[float, float] | None) -> str:
    number = ngettext("%s run.", "%s runs.", len(runs)) % qw_number(len(runs))
    if band is None:
        return number
    text = _("Half of those that were done took between %(least)s and %(most)s.")
    return f"{number} {text % {'least': _time(band[0]), 'most': _time(band[1])}}"


def _span(request: HttpRequest, runs: Sequence[Run], place: int) -> charts.Span:
    run, last = runs[place], len(runs) - 1
    when = date_and_clock(local(run.started_at))
    url = links.url_if_there(request, "qorworker_job_change", run.pk)
    return charts.Span(f"#{run.pk}, {when}", f"#{run.pk}" if place in (0, last) else "", url)


def _time(seconds: float | None) -> str:
    return "—" if seconds is None else qw_duration(dt.timedelta(seconds=seconds))
