"""How single attempts have ended, and which jobs were cancelled. What sends messages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import NamedTuple

from django.db import connections

from qorworker.models.clock import as_datetime, aware
from qorworker.models.sql.parts import TABLE
from qorworker.models.sql.summaries import ATTEMPTS, CANCELLING, END, ENTRIES, Range, rows_of, within


class End(NamedTuple):
    """The end of an attempt, or of a job that was cancelled."""

    source: str  # the row that says so
    job_id: int
    name: str
    queue_name: str
    at: dt.datetime  # in UTC
    attempt: int
    outcome: str  # empty for a job that was cancelled
    status: str  # with which the job has ended; empty if it goes on
    exception_class: str
    error: str
    row_errors: int


def ends(using: str, ranges: Sequence[Range], but: Collection[str]) -> list[End]:
    """Return how the attempts with these ids have ended, those with outcomes in *but* left out."""
    where, values = within("a.id", ranges)
    unwanted = f" AND a.outcome NOT IN ({', '.join(['%s'] * len(but))})" if but else ""
    sql = (
        "SELECT a.id, a.job_id, j.name, j.queue_name, a.finished_at, a.number, a.outcome,"  # noqa: S608
        f" {END}, a.exception_class, a.error, CASE WHEN a.number = j.attempt THEN j.results_errors ELSE 0 END"
        f" FROM {ATTEMPTS} a JOIN {TABLE} j ON j.id = a.job_id WHERE {where}{unwanted} ORDER BY a.id"
    )
    connection = connections[using]
    found = []
    for pk, job, name, queue, at, number, outcome, status, exception_class, error, row_errors in rows_of(
        connection, sql, [*values, *but]
    ):
        how = {"outcome": outcome, "status": status, "exception_class": exception_class, "error": error}
        # MariaDB's driver returns the number of rows as a text.
        when = {"at": aware(as_datetime(connection, at)), "attempt": number, "row_errors": int(row_errors)}
        found.append(End(f"attempt {pk}", job, name, queue, **when, **how))
    return found


def cancelled_ones(using: str, ranges: Sequence[Range]) -> list[End]:
    """Return the jobs that were cancelled, by the entries of the audit with these ids."""
    where, values = within("a.id", ranges)
    sql = (
        "SELECT a.id, a.job_id, j.name, j.queue_name, a.at, j.attempt"  # noqa: S608
        f" FROM {ENTRIES} a JOIN {TABLE} j ON j.id = a.job_id"
        f" WHERE a.action IN ({CANCELLING}) AND a.outcome = 'ok' AND ({where}) ORDER BY a.id"
    )
    connection = connections[using]
    return [
        End(f"entry {pk}", job, name, queue, aware(as_datetime(connection, at)), attempt, "", "cancelled", "", "", 0)
        for pk, job, name, queue, at, attempt in rows_of(connection, sql, values)
    ]
