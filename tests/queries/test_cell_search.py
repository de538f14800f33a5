"""The search in the cells of results rows, on each database."""

from __future__ import annotations

import pytest

from qorworker.models import Job, ResultsRow
from qorworker.queries.job_details import with_text
from tests.admin.support import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def found():
    """``found(text)``: the numbers of the rows that have it."""
    job: Job = make_job("tests.gone", "done")
    rows = [
        [("Abc", ""), (12.5, ""), (None, "böse")],
        [('q"u\\o', ""), ("100%_x", ""), (1234567, "")],
        [("two\nlines", "refused"), ("x" * 30_000 + "end", "")],
        [("", "")] * 60 + [("sixty-first", "")],
    ]
    for number, cells in enumerate(rows, 1):
        stored = [{"value": value, "error": error} for value, error in cells]
        ResultsRow.objects.create(job=job, number=number, attempt=1, cells=stored)
    return lambda text: list(
        with_text(ResultsRow.objects.all(), text).order_by("number").values_list("number", flat=True)
    )


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Abc", [1]), ("aBC", [1]), ("12.5", [1]), ("böse", [1]), ("23456", [2]), ('q"u', [2]), ("u\\o", [2]),
        ("%_", [2]), ("refused", [3]), ("o\nl", [3]), ("xend", [3]), ("sixty-first", [4]), ("s", [1, 3, 4]),
    ],
)  # fmt: skip
def test_it_finds_values_and_errors_of_all_cells(found, text, numbers):
    assert found(text) == numbers


@pytest.mark.parametrize("text", ["_bc", "A%c", "value", "error", "null", "{", ",", "'", "Abc12"])
def test_it_finds_nothing_that_is_in_no_cell(found, text):
    assert found(text) == []
