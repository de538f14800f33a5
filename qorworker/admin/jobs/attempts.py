"""The attempts of a job for its page: each with its wait, also the one that runs now, and all on a strip. Web."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker.admin.display import qw_duration
from qorworker.models import Attempt, Job, Outcome
from qorworker.status import FAILURES, JobStatus

WIDTH, LEAST = 1_000, 8  # of the strip, and of its smallest piece


@dataclass(frozen=True)
class Try:
    """One attempt; ``ended`` is its row, or None while it runs."""

    number: int
    waited: dt.timedelta | None  # None if what was before is not known
    started_at: dt.datetime
    duration: dt.timedelta
    worker: str
    process_id: int | None
    ended: Attempt | None


@dataclass(frozen=True)
class Piece:
    """A part of the strip."""

    kind: str  # waiting, again, running, done, failed, other
    x: int
    width: int
    title: str


def tries_of(job: Job, attempts: list[Attempt]) -> list[Try]:
    """Return all attempts of *job*, the newest first; *attempts* are those that have ended, in the same order."""
    tries: list[Try] = []
    before = _due_at(job)
    for attempt in reversed(attempts):
        tries.append(
            Try(
                attempt.number,
                _span(before, attempt.started_at) if attempt.number == len(tries) + 1 else None,
                attempt.started_at,
                attempt.duration,
                attempt.worker_name,
                attempt.process_id,
                attempt,
            )
        )
        before = attempt.finished_at
    if job.status == JobStatus.RUNNING and job.last_attempted_at is not None:
        worker = job.worker.name if job.worker is not None else ""
        waited, took = _span(before, job.last_attempted_at), job.duration or dt.timedelta()
        tries.append(Try(job.attempt, waited, job.last_attempted_at, took, worker, job.process_id, None))
    return tries[::-1]


def _due_at(job: Job) -> dt.datetime:
    """Return when the first attempt could have begun: at the time chosen for the job, as far as that is known."""
    first = job.started_at or job.run_after
    return job.run_after if job.attempt <= 1 and job.enqueued_at <= job.run_after <= first else job.enqueued_at


def _span(start: dt.datetime, end: dt.datetime) -> dt.timedelta:
    return max(end - start, dt.timedelta())


def strip_of(job: Job, tries: list[Try]) -> list[Piece]:
    """Return the waits and attempts in proportion to their durations; empty if there is nothing to compare."""
    spans: list[tuple[str, dt.timedelta, str]] = []
    for one in reversed(tries):
        kind, text = ("again", _("waited again: %s")) if spans else ("waiting", _("waited: %s"))
        if one.waited is not None:
            spans.append((kind, one.waited, text % qw_duration(one.waited)))
        spans.append((_kind(one), one.duration, _outcome(one)))
    if job.status in (JobStatus.NEW, JobStatus.SCHEDULED) and tries and (ended := tries[0].ended) is not None:
        waits = _span(ended.finished_at, timezone.now())
        spans.append(("again", waits, _("waits for its next attempt: %s") % qw_duration(waits)))
    return _laid_out([span for span in spans if span[1]])


def _kind(one: Try) -> str:
    if one.ended is None:
        return "running"
    if one.ended.outcome == Outcome.DONE:
        return "done"
    return "failed" if one.ended.outcome in FAILURES else "other"


def _outcome(one: Try) -> str:
    outcome: Any = one.ended.get_outcome_display() if one.ended is not None else _("running")
    values = {"number": one.number, "outcome": outcome, "time": qw_duration(one.duration)}
    return _("attempt %(number)d: %(outcome)s, %(time)s") % values


def _laid_out(spans: list[tuple[str, dt.timedelta, str]]) -> list[Piece]:
    total = sum((span[1].total_seconds() for span in spans), 0.0)
    widths = [max(LEAST, WIDTH * span[1].total_seconds() / total) for span in spans]
    scale = WIDTH / sum(widths) if widths else 1
    pieces, x = [], 0.0
    for (kind, _length, title), width in zip(spans, widths, strict=True):
        start, x = round(x), x + width * scale
        pieces.append(Piece(kind, start, max(1, round(x) - start), title))
    return pieces
