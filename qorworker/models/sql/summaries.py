"""Which rows are new in a table that only grows, and what the new attempts say of how jobs ended. All processes.

The database adds up, so that the time this takes in Python does not grow with the number of jobs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.clock import as_datetime, aware
from qorworker.models.histogram import BOUNDS
from qorworker.models.sql.parts import TABLE
from qorworker.status import FAILURES, RETRIED, Outcome

ATTEMPTS, ENTRIES, MARK = "qorworker_attempt", "qorworker_auditentry", "qorworker_summarymark"
CANCELLING = "'cancel', 'decline to approve'"  # the actions of the audit after which a job is cancelled
FINAL_FAILURES = FAILURES - RETRIED  # outcomes after which no attempt follows by itself
Range = tuple[int, int]  # the first and the last id


def _names(values: Iterable[str]) -> str:
    return ", ".join(f"'{value!s}'" for value in sorted(values))


# The status with which an attempt ended its job; empty if the job went on. Its job may have been retried since.
END = f"""CASE
    WHEN a.counted IS NULL THEN ''
    WHEN a.outcome = 'done' THEN 'done'
    WHEN a.outcome = 'aborted' THEN 'killed'
    WHEN a.outcome IN ({_names(FINAL_FAILURES)}) THEN 'exception'
    WHEN a.number = j.attempt AND j.status IN ('exception', 'killed') THEN j.status
    WHEN a.number >= j.max_attempts AND a.outcome IN ({_names({*RETRIED, Outcome.INTERRUPTED})}) THEN 'exception'
    ELSE '' END"""
_ERROR = "CASE WHEN a.exception_class <> '' THEN a.exception_class ELSE a.outcome END"


class Group(NamedTuple):
    """A number of jobs that ended alike within the same five minutes."""

    start: int  # of the span, in seconds since 1970 in UTC
    name: str
    queue_name: str
    status: str
    error: str  # class of the exception, or outcome of the attempt; empty unless the job failed
    wait: str | int | None  # bucket of the time from when it was due until it started; None if unknown
    run: str | int | None  # bucket of the time from there to its end; None if it did not run
    jobs: int


def next_ids(using: str, table: str, after: int, most: int) -> tuple[int, int]:
    """Return the last of the next *most* ids after *after*, or that itself, and how many there are up to it."""
    sql = f"SELECT MAX(id), COUNT(*) FROM (SELECT id FROM {table} WHERE id > %s ORDER BY id LIMIT %s) AS r"  # noqa: S608
    ((last, count),) = rows_of(connections[using], sql, [after, most])
    return last or after, count


def after_mark(using: str, most: int) -> tuple[int, int, int]:
    """Return the first and the last of the next *most* attempts that the summaries do not have yet, and their number.

    Ids are no measure of that number: a table of few rows may have begun far from 1.
    """
    mark = f"COALESCE((SELECT attempt FROM {MARK} WHERE id = 1), 0)"  # noqa: S608
    new = f"SELECT id FROM {ATTEMPTS} WHERE id > {mark} ORDER BY id LIMIT %s"  # noqa: S608
    sql = f"SELECT MIN(id), MAX(id), COUNT(*) FROM ({new}) AS r"  # noqa: S608
    ((first, last, count),) = rows_of(connections[using], sql, [most])
    return first or 0, last or 0, count


def missing_ids(using: str, table: str, after: int, last: int) -> list[Range]:
    """Return the ranges of ids after *after* and up to *last* that no row has."""
    return [
        (before + 1, pk - 1)
        for before, pk in rows_of(
            connections[using],
            "SELECT before_it, id FROM (SELECT id, COALESCE(LAG(id) OVER (ORDER BY id), %s) AS before_it"  # noqa: S608
            f" FROM {table} WHERE id > %s AND id <= %s) AS g WHERE id > before_it + 1 ORDER BY id",
            [after, after, last],
        )
    ]


def ids_in(using: str, table: str, ranges: Sequence[Range], most: int) -> list[int]:
    """Return the first *most* ids in these ranges."""
    where, values = within("id", ranges)
    sql = f"SELECT id FROM {table} WHERE {where} ORDER BY id LIMIT %s"  # noqa: S608
    return [pk for (pk,) in rows_of(connections[using], sql, [*values, most])]


def ended(using: str, ranges: Sequence[Range], seconds: int) -> list[Group]:
    """Return how the attempts with these ids ended their jobs, in spans of *seconds*."""
    connection = connections[using]
    where, values = within("a.id", ranges)
    wait, run = (
        _between(connection, "j.run_after", "a.started_at"),
        _between(connection, "a.started_at", "a.finished_at"),
    )
    waited = f"CASE WHEN a.number = j.attempt AND j.run_after <= a.started_at THEN {_bucket(wait)} END"
    ran = f"CASE WHEN a.outcome <> 'refused' THEN {_bucket(run)} END"
    columns = f"{_slot(connection, 'a.finished_at', seconds)} AS slot, j.name, j.queue_name, {END} AS status"
    sql = (
        f"SELECT slot, name, queue_name, status, error, waited, ran, COUNT(*) FROM (SELECT {columns},"  # noqa: S608
        f" {_ERROR} AS error, {waited} AS waited, {ran} AS ran"
        f" FROM {ATTEMPTS} a JOIN {TABLE} j ON j.id = a.job_id WHERE {where}) AS e"
        " WHERE status <> '' GROUP BY slot, name, queue_name, status, error, waited, ran"
    )
    return [
        Group(_start(connection, slot, seconds), name, queue, status, error if status == "exception" else "", *rest)
        for slot, name, queue, status, error, *rest in rows_of(connection, sql, values)
    ]


def cancelled(using: str, ranges: Sequence[Range], seconds: int) -> list[Group]:
    """Return how many jobs were cancelled, by the entries of the audit with these ids, in spans of *seconds*."""
    connection = connections[using]
    where, values = within("a.id", ranges)
    sql = (
        f"SELECT {_slot(connection, 'a.at', seconds)} AS slot, a.job_name, COALESCE(j.queue_name, ''), COUNT(*)"  # noqa: S608
        f" FROM {ENTRIES} a LEFT JOIN {TABLE} j ON j.id = a.job_id"
        f" WHERE a.action IN ({CANCELLING}) AND a.outcome = 'ok' AND a.job_id IS NOT NULL AND ({where})"
        " GROUP BY slot, a.job_name, COALESCE(j.queue_name, '')"
    )
    return [
        Group(_start(connection, slot, seconds), name, queue, "cancelled", "", None, None, count)
        for slot, name, queue, count in rows_of(connection, sql, values)
    ]


def rows_of(connection: BaseDatabaseWrapper, sql: str, values: Sequence[int | str]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return list(cursor.fetchall())


def within(column: str, ranges: Sequence[Range]) -> tuple[str, list[int]]:
    where = " OR ".join([f"{column} BETWEEN %s AND %s"] * len(ranges))
    return f"({where})", [end for each in ranges for end in each]


def _bucket(seconds: str, low: int = 0, high: int = len(BOUNDS)) -> str:
    """Return SQL for the number of the bucket of ``histogram``, from *low* to *high*.

    The range is halved again and again: SQLite calculates the seconds anew for each comparison.
    """
    if low == high:
        return str(low)
    middle = (low + high) // 2
    below, above = _bucket(seconds, low, middle), _bucket(seconds, middle + 1, high)
    return f"CASE WHEN {seconds} < {BOUNDS[middle]:.6g} THEN {below} ELSE {above} END"


# The dialects.


def _between(connection: BaseDatabaseWrapper, start: str, end: str) -> str:
    """Return SQL for the seconds from one time to another."""
    if connection.vendor == "postgresql":
        return f"EXTRACT(EPOCH FROM {end} - {start})"
    if connection.vendor == "mysql":
        return f"(TIMESTAMPDIFF(MICROSECOND, {start}, {end}) / 1e6)"
    return f"((julianday({end}) - julianday({start})) * 86400.0)"


def _slot(connection: BaseDatabaseWrapper, column: str, seconds: int) -> str:
    """Return SQL for the number of the span that has a time, counted as the column has it: perhaps not in UTC."""
    if connection.vendor == "postgresql":
        return f"FLOOR(EXTRACT(EPOCH FROM {column}) / {seconds})::bigint"
    if connection.vendor == "mysql":
        return f"FLOOR(TIMESTAMPDIFF(SECOND, '1970-01-01', {column}) / {seconds})"
    return f"CAST(strftime('%%s', {column}) AS INTEGER) / {seconds}"


def _start(connection: BaseDatabaseWrapper, slot: Any, seconds: int) -> int:
    """Return when a span begins, in seconds since 1970 in UTC."""
    begun = int(slot) * seconds
    if connection.vendor == "postgresql":  # keeps all times in UTC
        return begun
    moment = dt.datetime.fromtimestamp(begun, dt.UTC).replace(tzinfo=None)
    return int(aware(as_datetime(connection, moment)).timestamp())
