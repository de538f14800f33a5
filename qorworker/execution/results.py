"""What a handler adds to the results of its job, as it is sent: titles, rows, cells. Wherever a job runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qorworker.arguments.row_keys import key_problem
from qorworker.conf import settings
from qorworker.execution.files import AddedFile
from qorworker.execution.messages import clean_text
from qorworker.text.masking import Mask
from qorworker.text.storable import cell_of, text_of
from qorworker.text.titles import MOST_TITLES, Title, shown, title_of

CELL_CHARS = 1 << 20
ERROR_CHARS = 2_000


@dataclass(frozen=True)
class Cell:
    """One cell of a results row: a value, an error if something is wrong with it, and a file to which it links.

    A link without a value shows the name of its file.
    """

    value: Any = ""
    error: str = ""
    file: AddedFile | str | None = None  # what ``add_file`` returned, or the name of the file


def titles_of(given: Sequence[object], mask: Mask) -> list[Title]:
    """Return titles as they are sent. Raises ``ValueError`` if there are none, or too many."""
    if not given:
        raise ValueError("JobContext.set_results_columns() needs at least one title.")
    if len(given) > MOST_TITLES:
        raise ValueError(f"The results cannot have {len(given)} columns with titles: {MOST_TITLES} are possible.")
    titles = [_masked(title_of(title), mask) for title in given]
    if (size := size_of(titles)) > (limit := settings.RESULTS_ROW_BYTES):
        raise ValueError(f"The titles of {len(titles)} columns take {size} bytes: at most {limit} are kept.")
    return titles


def named(titles: Sequence[Title]) -> str:
    """Return titles for a message: the first ones, and how many there are."""
    names = ", ".join(str(shown(title)) for title in titles[:20])
    return names if len(titles) <= 20 else f"{names}, … ({len(titles)} in all)"


def _masked(title: Title, mask: Mask) -> Title:
    if isinstance(title, list):
        return [clean_text(mask(part), CELL_CHARS) for part in title]
    return clean_text(mask(title), CELL_CHARS)


def row_of(cells: Sequence[Any], mask: Mask, find: Callable[[AddedFile | str], AddedFile]) -> list[list[Any]]:
    """Return a row as it is sent: long texts are cut. Raises ``ValueError`` if it is too large even then.

    *find* returns the file to which a cell links.
    """
    row = [_cell(cell, mask, find) for cell in cells]
    limit = settings.RESULTS_ROW_BYTES
    for bytes_each in (4, 12):  # bytes for one character of value and error: usually, at worst
        if size_of(row) > limit:
            share = max(20, limit // (bytes_each * max(1, len(row))) - 10)
            row = [[_shortened(value, share), _shortened(error, share), *file] for value, error, *file in row]
    if size_of(row) > limit:
        raise ValueError(f"A results row of {len(row)} cells is too large: at most {limit} bytes are kept.")
    return row


def checked_key(key: Any, mask: Mask) -> str:
    """Return the key of a row. Raises ``ValueError`` for one that cannot be kept."""
    if problem := key_problem(key):
        raise ValueError(problem)
    if mask(key) != key:
        raise ValueError("The key of a row has a secret argument in it.")
    return str(key)


def _cell(cell: Any, mask: Mask, find: Callable[[AddedFile | str], AddedFile]) -> list[Any]:
    if isinstance(cell, AddedFile):
        cell = Cell(file=cell)
    value, error, file = (cell.value, text_of(cell.error), cell.file) if isinstance(cell, Cell) else (cell, "", None)
    linked = None if file is None else find(file)
    value = mask.in_value(cell_of(value))
    if linked is not None and (value is None or not str(value).strip()):  # a link without text is invisible
        value = linked.name
    if isinstance(value, str):
        value = clean_text(value, CELL_CHARS)
    sent = [value, clean_text(mask(error), ERROR_CHARS)]
    return sent if linked is None else [*sent, linked.token]


def size_of(value: Any) -> int:
    """Return how many bytes *value* takes as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def _shortened(value: Any, limit: int) -> Any:
    return value[: limit - 1] + "…" if isinstance(value, str) and len(value) > limit else value
