"""Shortens what an attempt reported until the database stores it. In the process that writes it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.utils.translation import gettext as _

from qorworker.arguments.row_keys import ROW_KEY_CHARS
from qorworker.attempts.attempt import RunningAttempt
from qorworker.execution.messages import ERROR_CHARS, clean_text
from qorworker.models import LogLine, ResultsRow
from qorworker.models.refusals import FAILURES, describe, is_refusal
from qorworker.models.sql import AttemptUpdate, Fit, exchange, fitting, insert, most_bytes, weight

if TYPE_CHECKING:
    from qorworker.attempts.writer import End

LOG_COLUMNS = ("job_id", "number", "attempt", "at", "level", "text")
ROW_COLUMNS = ("job_id", "number", "attempt", "cells", "has_error")
FILE_COLUMNS = ("job_id", "attempt", "at", "name", "size", "sha256", "content_type", "storage", "key")
KEYED_ROW_COLUMNS = (*ROW_COLUMNS, "key")
PROGRESS_TEXT_CHARS = NAME_CHARS = 200
_TEXTS = ("progress_text", "log", "columns", "files", "rows", "returned", "buffered")  # attributes of a running attempt


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of what an attempt reported, to restore if that was not what the database refused."""

    texts: tuple[Any, ...]
    counts: tuple[int, int, int]
    update: AttemptUpdate | None = None
    end: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, attempt: RunningAttempt, end: End | None) -> Snapshot:
        """Copy an attempt and its end."""
        job, texts = attempt.job, tuple(getattr(attempt, name) for name in _TEXTS)
        counts = job.log_lines, job.log_bytes, job.log_dropped
        if end is None:
            return cls(texts, counts)
        return cls(texts, counts, replace(end.update), (end.traceback, end.exception_class))

    def restore(self, attempt: RunningAttempt, end: End | None) -> None:
        """Put the copy back."""
        job = attempt.job
        for name, value in zip(_TEXTS, self.texts, strict=True):
            setattr(attempt, name, value)
        job.log_lines, job.log_bytes, job.log_dropped = self.counts
        if end is not None and self.update is not None:
            end.update = replace(self.update)
            end.traceback, end.exception_class = self.end


def shortenings(using: str, attempt: RunningAttempt, end: End | None, error: Exception) -> Iterator[None]:
    """Shorten what an attempt reported, more with each step, as long as its write is refused.

    The first step replaces only refused characters, lines and rows. The last step leaves the status alone, and is
    reached only if the database takes that.
    """
    original = Snapshot.of(attempt, end)
    fit = fitting(using) or _unchanged
    _apply(attempt, end, fit)
    _replace_refused(using, attempt)
    if attempt.returned and weight([attempt.returned]) > most_bytes(transaction.get_connection(using)):
        _drop_returned(attempt)
    if Snapshot.of(attempt, end) != original:
        _log_shortening(attempt, end, fit(_shortened(error)))
    yield
    if not _takes_status(using, attempt, end):
        return
    original.restore(attempt, end)
    _apply(attempt, end, _ascii)
    _drop_returned(attempt)
    _log_shortening(attempt, end, _ascii(_shortened(error)))
    yield
    attempt.forget_reports()
    _apply(attempt, end, lambda text: "")
    if end is not None and end.update.status != "done":
        end.update.error = "What it ended with could not be stored."
    yield


def _shortened(error: Exception) -> str:
    return _("The database does not store everything that this job reported (%s). It is shortened.") % describe(error)


def _log_shortening(attempt: RunningAttempt, end: End | None, text: str) -> None:
    job = attempt.job
    attempt.add_line(time.time(), logging.WARNING, text)
    if end is not None:
        update = end.update
        update.log_lines, update.log_bytes, update.log_dropped = job.log_lines, job.log_bytes, job.log_dropped


def _apply(attempt: RunningAttempt, end: End | None, fit: Fit) -> None:
    """Pass every text of an attempt through *fit*."""
    if attempt.progress_text is not None:
        attempt.progress_text = clean_text(fit(attempt.progress_text), PROGRESS_TEXT_CHARS)
    attempt.log = [(*line[:-1], fit(line[-1])) for line in attempt.log]  # a new list: the old one may be restored
    attempt.columns = _fit_json(attempt.columns, fit)
    attempt.files = tuple((*file[:3], clean_text(fit(file[3]), NAME_CHARS), *file[4:]) for file in attempt.files)
    attempt.rows = [
        (*row[:3], _fit_json(row[3], fit), row[4], *(clean_text(fit(key), ROW_KEY_CHARS) for key in row[5:]))
        for row in attempt.rows
    ]
    attempt.returned = _fit_json(attempt.returned, fit)
    if end is not None:
        end.update.progress_text = attempt.progress_text
        end.update.error = clean_text(fit(end.update.error), ERROR_CHARS)
        end.traceback, end.exception_class = fit(end.traceback), fit(end.exception_class)


def _fit_json(text: str, fit: Fit) -> str:
    """Escape JSON with its own escapes, which lose nothing."""
    return text if not text or fit(text) == text else json.dumps(json.loads(text))


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _unchanged(text: str) -> str:
    return text


def _drop_returned(attempt: RunningAttempt) -> None:
    if attempt.returned:
        attempt.returned = ""
        attempt.add_line(time.time(), logging.WARNING, _("What the job returned could not be stored."))


def _replace_refused(using: str, attempt: RunningAttempt) -> None:
    """Replace each line and row that the database refuses by a remark, after a trial that is rolled back."""
    with transaction.atomic(using=using):
        lines = set(_refused(using, LogLine, LOG_COLUMNS, attempt.log))
        rows = {
            number
            for columns, some in by_columns(attempt.rows)
            for number in _refused(using, ResultsRow, columns, some)
        }
        transaction.set_rollback(True, using=using)
    line, row = _("This line could not be stored."), _("This row could not be stored.")
    cells = json.dumps([{"value": row, "error": ""}])
    attempt.log = [(*each[:-1], line) if each[1] in lines else each for each in attempt.log]
    attempt.rows = [(*each[:3], cells, each[4]) if each[1] in rows else each for each in attempt.rows]


def by_columns(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Sequence[str], list[tuple[Any, ...]]]]:
    """Yield results rows together with their columns: rows without a key cost nothing more for it."""
    for columns in (ROW_COLUMNS, KEYED_ROW_COLUMNS):
        if some := [row for row in rows if len(row) == len(columns)]:
            yield columns, some


def _refused(
    using: str, model: type[models.Model], columns: Sequence[str], items: Sequence[tuple[Any, ...]]
) -> Iterator[int]:
    """Yield the numbers of the items that the database refuses, found by halving."""
    if not items:
        return
    try:
        with transaction.atomic(using=using):
            insert(using, model, columns, items)
    except FAILURES as error:
        if not is_refusal(error):
            raise
        if len(items) == 1:
            yield items[0][1]
            return
        half = len(items) // 2
        yield from _refused(using, model, columns, items[:half])
        yield from _refused(using, model, columns, items[half:])


def _takes_status(using: str, attempt: RunningAttempt, end: End | None) -> bool:
    """Whether the database takes the bare status of an attempt, by a trial that is rolled back."""
    update = replace(attempt.update() if end is None else end.update, progress_text=None, error="")
    try:
        with transaction.atomic(using=using):
            exchange(using, [update])
            transaction.set_rollback(True, using=using)
    except FAILURES as error:
        if not is_refusal(error):
            raise
        return False
    return True
