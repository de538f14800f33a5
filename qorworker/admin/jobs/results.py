"""The results table on a job's page: its rows, their order, and the links to the other rows. Web."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.functional import cached_property

from qorworker.admin.bases import PaginatorBase
from qorworker.admin.parameters import RESULTS, Parameters, number
from qorworker.conf import settings
from qorworker.models import Job
from qorworker.queries import job_details

PER_PAGE = (50, 200, 1_000)
CELLS = 50_000  # on a page with more rows than the fewest: one to five seconds and 1 MB
SORTED = 100_000  # rows; no index helps to sort or search more
FEW = 1_000  # rows, whose cells are not counted before a search: they are quickly read, however wide they are
SEARCHED_CELLS = 1_000_000  # a search reads each of them: one to two seconds


@dataclass(frozen=True)
class Column:
    """A column of the table, with the address of the page that is sorted by it."""

    title: str  # as the job gave it, else its number: from 1, as people count
    url: str  # of the page sorted by it, or the other way round; empty if it cannot be sorted by it
    order: str  # "ascending", "descending", or "" if the rows are not sorted by it


class Results:
    """The results of the last attempt, as one user looks at them: a part of the rows, in an order."""

    def __init__(self, job: Job, parameters: Parameters) -> None:
        self.job, self.parameters = job, parameters
        self.errors_only = parameters.given.get("rows") == "errors"
        self.is_sortable = job.results_count <= SORTED
        self.is_searchable = self.is_sortable and _may_be_searched(job)
        self.find = parameters.text("cell") if self.is_searchable else ""
        self.per_page = parameters.one_of("per", PER_PAGE, PER_PAGE[0])
        sort = parameters.given.get("sort", "")
        self.descending = sort.startswith("-")
        column = number(sort.removeprefix("-"))
        self.sorted_by = column if column and column <= job_details.COLUMNS and self.is_sortable else 0

    @cached_property
    def page(self) -> Any:
        """Return the page of rows that is shown."""
        return _Page(self._rows, self._rows_on_page, self._stored_count).get_page(self.parameters.given.get("page"))

    @property
    def _rows_on_page(self) -> int:
        """Return how many rows a page has: as many as were chosen, but fewer of very wide ones."""
        fewest = PER_PAGE[0]
        if self.per_page == fewest:
            return fewest
        widest = job_details.columns_of(self.job)
        return max(fewest, min(self.per_page, CELLS // max(1, widest)))

    @property
    def _rows(self) -> Any:
        rows = job_details.results(self.job, self.errors_only)
        if self.find:
            rows = job_details.with_text(rows, self.find)
        return job_details.by_column(rows, self.sorted_by - 1, self.descending) if self.sorted_by else rows

    @property
    def _stored_count(self) -> int | None:
        """Return the number of rows if the job has it, so that they need not be counted; else None."""
        if self.find:
            return None
        return self.job.results_errors if self.errors_only else self.job.results_count

    @property
    def is_full(self) -> bool:
        """Return whether the limit was reached, so that further rows were not kept."""
        return bool(self.job.results_rows >= settings.RESULTS_ROWS)

    @property
    def is_narrowed(self) -> bool:
        """Return whether a search or a choice leaves out any rows."""
        return bool(self.find or self.errors_only)

    @cached_property
    def columns(self) -> list[Column]:
        """Return the columns of the page: as many as have titles, or else as its widest row has cells."""
        widest = len(self.titles) or max((len(row.cells) for row in self.page), default=0)
        return [self._column(place) for place in range(1, widest + 1)]

    def _column(self, place: int) -> Column:
        is_sorted = place == self.sorted_by
        order = ("descending" if self.descending else "ascending") if is_sorted else ""
        sort = f"-{place}" if order == "ascending" else str(place)
        title = self.titles[place - 1] if self.titles else ""
        is_sortable = self.is_sortable and place <= job_details.COLUMNS
        return Column(
            title or str(place), self.parameters.url("results", sort=sort, page="") if is_sortable else "", order
        )

    @property
    def most_columns(self) -> int:
        """Return by how many columns rows can be sorted, if the table has more of them; else 0."""
        most = job_details.COLUMNS
        return most if self.is_sortable and len(self.columns) > most else 0

    @cached_property
    def titles(self) -> list[str]:
        """Return the titles of the columns; empty if they have none."""
        return self.job.results_titles

    @property
    def per_page_choices(self) -> list[tuple[int, bool]]:
        """Return the choices of rows on a page, and whether each is the current one."""
        return [(count, count == self.per_page) for count in PER_PAGE]

    @property
    def carried(self) -> list[tuple[str, str]]:
        """Return the parameters that the form of the results has to carry along."""
        kept = [name for name in RESULTS if name != "sort"]
        return self.parameters.others_than(kept)

    @property
    def previous(self) -> str:
        """Return the address of the page before; empty if there is none."""
        return self._page(-1) if self.page.has_previous() else ""

    @property
    def next(self) -> str:
        """Return the address of the page after; empty if there is none."""
        return self._page(1) if self.page.has_next() else ""

    def _page(self, step: int) -> str:
        return self.parameters.url("results", page=self.page.number + step)


def _may_be_searched(job: Job) -> bool:
    """Return whether *job* has few enough cells to search. They are counted only if it has many rows."""
    rows = job.results_count
    return rows <= FEW or rows * job_details.columns_of(job) <= SEARCHED_CELLS


class _Page(PaginatorBase):
    """A paginator that counts its rows only if their number is not known already."""

    def __init__(self, rows: Any, per_page: int, count: int | None) -> None:
        super().__init__(rows, per_page)
        if count is not None:
            self.count = count
