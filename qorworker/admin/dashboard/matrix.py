"""The page of failures: how often each job type failed with each error in the last hour, day and week. Web."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _

from qorworker.admin import rendering
from qorworker.admin.dashboard.choice import LABELS, Choice, title_of
from qorworker.admin.dashboard.errors import error_name, search_of
from qorworker.admin.dashboard.page import lagging_text
from qorworker.admin.media import DASHBOARD_MEDIA
from qorworker.models import Job, database_now
from qorworker.queries import dashboard as queries
from qorworker.queries.dashboard import RANGES, Figures

COLUMNS = ("1h", "24h", "7d")
MOST = 200  # rows


@dataclass(frozen=True)
class Cell:
    """A number of failed jobs, and the address of their list."""

    number: int
    url: str
    label: str  # of its column


@dataclass(frozen=True)
class Row:
    """The failures of a job type, or those of them with one error."""

    title: str
    cells: list[Cell]
    error: str = ""
    is_first: bool = False  # of its type


def matrix(model_admin: Any, request: HttpRequest) -> HttpResponseBase:
    """Show ``job/failures/``."""
    choice = Choice(request)
    using = choice.visibility.jobs.db
    newest, now = queries.newest_ends(using, choice.scope), database_now(using)
    columns = {key: queries.figures(using, choice.scope, RANGES[key], now, newest) for key in COLUMNS}
    rows = list(_rows(choice, columns))
    return rendering.page(
        request,
        "dashboard/failures.html",
        Job._meta,
        title=_("Failures"),
        media=DASHBOARD_MEDIA,
        choice=choice,
        columns=[LABELS[key] for key in COLUMNS],
        rows=rows[:MOST],
        has_more=len(rows) > MOST,
        lagging="" if newest.is_complete else lagging_text(),
    )


def _rows(choice: Choice, columns: dict[str, Figures]) -> Iterator[Row]:
    """Yield the rows: types with the most failures in the longest time first, and below each its errors."""
    longest = columns[COLUMNS[-1]].types
    failing = [name for name, sums in longest.items() if sums.ends["failed"]]
    for name in sorted(failing, key=lambda name: (-longest[name].ends["failed"], name)):
        errors = _errors(choice, columns, name)
        totals = {key: figures.types[name].ends["failed"] for key, figures in columns.items() if name in figures.types}
        if len(longest[name].errors) != 1 or not errors:
            yield Row(title_of(name), _cells(choice, columns, name, totals), is_first=True)
        for place, (error, numbers) in enumerate(errors):
            is_only = len(longest[name].errors) == 1 and place == 0
            yield Row(title_of(name), _cells(choice, columns, name, numbers, error), error_name(error), is_only)


def _errors(choice: Choice, columns: dict[str, Figures], name: str) -> list[tuple[str, dict[str, int]]]:
    """Return the errors of a type that the user may see, the most frequent first, with their number by column."""
    if not choice.may_see_errors(name):
        return []
    counters = {key: figures.types[name].errors for key, figures in columns.items() if name in figures.types}
    order = Counter(counters[COLUMNS[-1]]).most_common()
    return [(error, {key: counter[error] for key, counter in counters.items()}) for error, _number in order]


def _cells(
    choice: Choice, columns: dict[str, Figures], name: str, numbers: dict[str, int], error: str = ""
) -> list[Cell]:
    return [
        Cell(
            numbers.get(key, 0),
            choice.ended_url(columns[key].start, tab="failed", job=name, q=search_of(error)),
            str(LABELS[key]),
        )
        for key in COLUMNS
    ]
