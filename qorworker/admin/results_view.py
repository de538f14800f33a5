"""The results table on a job's page: which rows are asked for, in which order, and the links to the others. Web."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.functional import cached_property

from qorworker.admin.asked import RESULTS, Asked, number
from qorworker.admin.bases import PaginatorBase
from qorworker.conf import settings
from qorworker.models import Job, job_page

PER_PAGE = (50, 200, 1_000)
SEARCHED = 100_000  # rows; no index helps to search or sort more


@dataclass(frozen=True)
class Column:
    number: int  # from 1, as people count
    url: str  # of the page sorted by it, or the other way round
    order: str  # "ascending", "descending", or "" if the rows are not sorted by it


class Results:
    """``page`` is what is shown of the results of the last attempt."""

    def __init__(self, job: Job, asked: Asked) -> None:
        self.job, self.asked = job, asked
        self.errors_only = asked.given.get("rows") == "errors"
        self.is_searchable = job.results_count <= SEARCHED
        self.find = asked.text("cell") if self.is_searchable else ""
        self.per_page = asked.one_of("per", PER_PAGE, PER_PAGE[0])
        sort = asked.given.get("sort", "")
        self.descending = sort.startswith("-")
        column = number(sort.removeprefix("-"))
        self.sorted_by = column if column and column <= job_page.COLUMNS and self.is_searchable else 0

    @cached_property
    def page(self) -> Any:
        return _Page(self._rows, self.per_page, self._known).get_page(self.asked.given.get("page"))

    @property
    def _rows(self) -> Any:
        rows = job_page.results(self.job, self.errors_only)
        if self.find:
            rows = job_page.with_text(rows, self.find, job_page.columns_of(self.job))
        return job_page.by_column(rows, self.sorted_by - 1, self.descending) if self.sorted_by else rows

    @property
    def _known(self) -> int | None:
        """How many rows there are, where the job knows it: they need not be counted."""
        if self.find:
            return None
        return self.job.results_errors if self.errors_only else self.job.results_count

    @property
    def is_full(self) -> bool:
        """Whether further rows would not have been kept."""
        return bool(self.job.results_rows >= settings.RESULTS_ROWS)

    @property
    def is_narrowed(self) -> bool:
        return bool(self.find or self.errors_only)

    @property
    def columns(self) -> list[Column]:
        widest = max((len(row.cells) for row in self.page), default=0)
        return [self._column(place) for place in range(1, widest + 1)]

    def _column(self, place: int) -> Column:
        is_sorted = place == self.sorted_by
        order = ("descending" if self.descending else "ascending") if is_sorted else ""
        wanted = f"-{place}" if order == "ascending" else str(place)
        return Column(place, self.asked.url("results", sort=wanted, page=""), order)

    @property
    def per_page_choices(self) -> list[tuple[int, bool]]:
        return [(count, count == self.per_page) for count in PER_PAGE]

    @property
    def carried(self) -> list[tuple[str, str]]:
        kept = [name for name in RESULTS if name != "sort"]
        return self.asked.others_than(kept)

    @property
    def previous(self) -> str:
        return self._page(-1) if self.page.has_previous() else ""

    @property
    def next(self) -> str:
        return self._page(1) if self.page.has_next() else ""

    def _page(self, step: int) -> str:
        return self.asked.url("results", page=self.page.number + step)


class _Page(PaginatorBase):
    """A paginator that counts only what nobody knows."""

    def __init__(self, rows: Any, per_page: int, known: int | None) -> None:
        super().__init__(rows, per_page)
        if known is not None:
            self.count = known
