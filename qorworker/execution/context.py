"""The context that a handler gets: its verbs for progress, log and results. Wherever a job runs.

It never touches the database: each verb sends a record, and the owner of the attempt writes it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, TypeVar

from qorworker.arguments.plain import DEPTH, is_too_deep
from qorworker.conf import settings
from qorworker.exceptions import JobAborted
from qorworker.execution.messages import RETURN_CHARS, Record, clean_text
from qorworker.text.masking import NOTHING, Mask
from qorworker.text.storable import cell_of, percent_of, text_of

Item = TypeVar("Item")
PROGRESS_BURST, PROGRESS_RATE = 50, 20.0  # updates in a burst, and updates per second after it
PROGRESS_TEXT_CHARS = 200
RETURN_PART = 16 * 1024  # characters: even in the longest encoding they fit into one message


@dataclass(frozen=True)
class Cell:
    """One cell of a results row: a value, and an error if something is wrong with it."""

    value: Any = ""
    error: str = ""


class JobContext:
    """The running attempt, as its handler sees it."""

    def __init__(
        self,
        *,
        job_id: int,
        name: str,
        attempt: int,
        max_attempts: int,
        arguments: Mapping[str, Any],
        send: Callable[[Record], None],
        abort_requested: Callable[[], bool] = lambda: False,
        mask: Mask = NOTHING,
    ) -> None:
        self.job_id = job_id
        self.name = name
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.arguments = arguments
        self.state = SimpleNamespace()  # for middleware and handler to share
        self.was_called = False  # whether the handler was called
        self.results_rows = 0
        self.results_errors = 0
        self.mask = mask  # applied to every text before it is cut or split
        self._send = send
        self._abort_requested = abort_requested
        self._allowance, self._refilled = float(PROGRESS_BURST), time.monotonic()
        self._pending: Record | None = None

    @cached_property
    def logger(self) -> logging.Logger:
        """The logger of this type of jobs, whose records land in the job's log."""
        return logging.getLogger(f"qorworker.job.{self.name}")

    def __repr__(self) -> str:
        return f"<JobContext of job {self.job_id}, attempt {self.attempt}>"

    def add_log(self, text: object, *, level: int = logging.INFO) -> None:
        """Add *text* to the job's log, one line for each line in it. *level* as in ``logging``."""
        now = time.time()
        for line in self.mask(text_of(text)).splitlines() or [""]:
            self._send(["log", self.job_id, now, int(level), clean_text(line, settings.LOG_LINE_CHARS)])

    def set_progress(self, done: float, total: float | None = None) -> None:
        """Set how far the job is: per cent from 0 to 100, or *done* of *total*. Values outside are clamped.

        Raises ``ValueError`` for a value that is not a number.
        """
        self._progress(percent_of(done, total), None)

    def set_progress_text(self, text: object) -> None:
        """Set the one line beside the progress bar; plain text of up to 200 characters."""
        line = " ".join(self.mask(text_of(text)).split())
        self._progress(None, clean_text(line, PROGRESS_TEXT_CHARS))

    def add_results_row(self, *cells: Any) -> None:
        """Add a row to the results: values, or ``Cell(value, error=…)`` where something is wrong.

        Long texts are cut. Raises ``ValueError`` for a row that is too large even then.
        """
        row = [self._cell(cell) for cell in cells]
        limit = settings.RESULTS_ROW_BYTES
        for bytes_each in (4, 12):  # bytes for one character of value and error: usually, at worst
            if _size(row) > limit:
                share = max(20, limit // (bytes_each * max(1, len(row))) - 10)
                row = [[_shortened(value, share), _shortened(error, share)] for value, error in row]
        if _size(row) > limit:
            raise ValueError(f"A results row of {len(row)} cells is too large: at most {limit} bytes are kept.")
        self.results_rows += 1
        self.results_errors += any(error for _, error in row)
        self._send(["row", self.job_id, row])

    def track(self, items: Iterable[Item], *, total: int | None = None, text: str = "") -> Iterator[Item]:
        """Iterate over *items*, with progress, and with a check for an abort before each.

        *total* is taken from ``len()`` (or ``count()`` of a QuerySet) if it is not given. *text* may use
        ``{index}`` (from 1) and ``{total}``.
        """
        total = _length(items) if total is None else total
        for index, item in enumerate(items, 1):
            self.check_abort()
            if text:
                self.set_progress_text(text.replace("{index}", str(index)).replace("{total}", str(total or "?")))
            yield item
            if total:
                self.set_progress(index, total)

    @property
    def abort_requested(self) -> bool:
        """Whether an abort of this job was requested."""
        return self._abort_requested()

    def check_abort(self) -> None:
        """Raise ``JobAborted`` if an abort of this job was requested. For places where stopping is safe."""
        if self._abort_requested():
            raise JobAborted

    def send_return_value(self, text: str) -> None:
        """Send *text*, JSON, as the return value of the job. For code that runs jobs: a handler simply returns it.

        Raises ``ValueError`` for a text that is too long or nested too deeply.
        """
        if is_too_deep(text):
            raise ValueError(f"It is nested deeper than {DEPTH} levels.")
        text = self.mask.in_json(text)
        if len(text) > RETURN_CHARS:
            raise ValueError(f"It takes {len(text)} characters of JSON, and {RETURN_CHARS} are kept.")
        for start in range(0, len(text), RETURN_PART):
            self._send(["return", self.job_id, text[start : start + RETURN_PART]])

    def flush(self) -> None:
        """Send a progress update that was held back because updates came too fast."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._send(pending)

    def _cell(self, cell: Any) -> list[Any]:
        value, error = (cell.value, text_of(cell.error)) if isinstance(cell, Cell) else (cell, "")
        value = self.mask.in_value(cell_of(value))
        if isinstance(value, str):
            value = clean_text(value, 1 << 20)
        return [value, clean_text(self.mask(error), 2000)]

    def _progress(self, percent: int | None, text: str | None) -> None:
        if self._pending is not None:
            percent = self._pending[2] if percent is None else percent
            text = self._pending[3] if text is None else text
        self._pending = ["progress", self.job_id, percent, text]
        now = time.monotonic()
        self._allowance = min(PROGRESS_BURST, self._allowance + (now - self._refilled) * PROGRESS_RATE)
        self._refilled = now
        if self._allowance >= 1:
            self._allowance -= 1
            self.flush()


def _size(row: list[list[Any]]) -> int:
    return len(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def _shortened(value: Any, limit: int) -> Any:
    return value[: limit - 1] + "…" if isinstance(value, str) and len(value) > limit else value


def _length(items: Iterable[Any]) -> int | None:
    if isinstance(items, Sized):
        return len(items)
    count = getattr(items, "count", None)
    try:
        return int(count()) if callable(count) else None
    except TypeError:
        return None
