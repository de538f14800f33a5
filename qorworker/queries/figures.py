"""Counts and ages of whole queues: few statements, bounded in rows whatever the table holds. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from qorworker.models.attempt import Attempt
from qorworker.models.clock import as_datetime
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.sql import queues_with_jobs
from qorworker.queries.counting import CAP, rows_of, sql_of

LINE = 1_000  # jobs in a queue among which the one that has waited longest is looked for
ENDED = 2_000  # last attempts among which the recent ones are looked for


@dataclass
class Backlog:
    """The state of the jobs of one queue; each number goes up to ``CAP + 1``."""

    queued: int = 0
    due: int = 0  # scheduled jobs that are due and not queued yet
    scheduled: int = 0
    paused: int = 0
    running: int = 0
    failed: int = 0
    since: dt.datetime | None = None  # when the oldest job that could start became due


def backlogs(jobs: JobQuerySet, names: Iterable[str]) -> dict[str, Backlog]:
    """Return the backlogs of *queues* and of all other queues that have one of *jobs*, mostly by one statement.

    Scheduled, paused, running and failed jobs are counted among ``CAP + 1`` of all queues.
    """
    queues = {*names, *_queues_with(jobs)}
    by_name = {name: Backlog() for name in queues}
    for kind, queue, count, since, lowest in _counted(jobs, queues):
        backlog = by_name.setdefault(queue, Backlog())
        if kind not in ("line", "limited"):
            setattr(backlog, kind, count)
        if kind in ("line", "limited", "due"):
            starving = _heads_below(jobs, queue, lowest) if kind == "line" and count > LINE else ()
            backlog.since = min(moment for moment in (backlog.since, since, *starving) if moment is not None)
    return by_name


def _queues_with(jobs: JobQuerySet) -> Iterable[str]:
    """Return the queues in which one of *jobs* waits."""
    if not jobs.query.where:
        return queues_with_jobs(jobs.db)
    waiting = sql_of(jobs.queued().order_by().values("queue_name")[: CAP + 1], jobs.db)
    return {queue for (queue,) in rows_of("SELECT DISTINCT queue_name FROM ({}) q", [waiting], jobs.db)}


def _counted(jobs: JobQuerySet, queues: Collection[str]) -> Iterable[tuple[str, str, int, dt.datetime | None, int]]:
    """Return kind, queue, number, earliest time and lowest priority of each group of jobs."""
    waiting = {name: jobs.queued().on_queue(name).order_by() for name in sorted(queues)}
    # Jobs of limited types wait in lines of their own.
    lines = {name: rows.unlimited().in_line() for name, rows in waiting.items()}
    # Parts with a time come first: PostgreSQL takes the type of the column from them. A count needs only the index.
    parts = [_part("line", name, rows.values("priority", "run_after"), LINE) for name, rows in lines.items()]
    parts += [
        _part("limited", name, rows.limited().values("priority", "run_after"), LINE) for name, rows in waiting.items()
    ]
    parts += [_part("queued", name, rows.values("priority"), CAP) for name, rows in waiting.items()]
    for kind, rows in (
        ("due", jobs.due().order_by("run_after")),
        ("scheduled", jobs.scheduled().order_by("waits_for_jobs", "run_after")),
        ("paused", jobs.paused().order_by("pause_requested_at")),
        ("running", jobs.running().order_by()),
        ("failed", jobs.failed().order_by()),
    ):
        parts.append(_part(kind, None, rows.values("queue_name", "priority", "run_after"), CAP))
    connection = connections[jobs.db]
    for kind, queue, count, since, lowest in rows_of("{}", parts, jobs.db):
        yield kind, queue, count, since and as_datetime(connection, since), lowest


def _part(kind: str, queue: str | None, rows: QuerySet[Any, Any], limit: int) -> tuple[str, list[Any]]:
    """Return one row for *queue*, or one for each queue."""
    inner, values = sql_of(rows[: limit + 1], rows.db)
    if not inner:
        return "", []
    since = "NULL" if kind == "queued" else "MIN(run_after)"
    counted = f"COUNT(*), {since}, MIN(priority) FROM ({inner}) q"
    if queue is None:
        return f"SELECT '{kind}', queue_name, {counted} GROUP BY queue_name", values
    return f"SELECT '{kind}', %s, {counted} HAVING COUNT(*) > 0", [queue, *values]


def _heads_below(jobs: JobQuerySet, queue: str, priority: int) -> Iterable[dt.datetime]:
    """Return since when the first job of each lower priority waits. A long queue must not hide jobs that starve."""
    heads = jobs.queued().on_queue(queue).unlimited().in_line().values_list("priority", "run_after")
    while head := heads.filter(priority__lt=priority)[:1]:
        [(priority, since)] = head
        yield since


@dataclass(frozen=True)
class Ended:
    """One attempt that ended lately."""

    queue_name: str
    outcome: str
    finished_at: dt.datetime
    waited: dt.timedelta | None  # from when it was due until it started; None if unknown by now


def ended_since(using: str, moment: dt.datetime) -> list[Ended]:
    """Return the attempts that ended after *moment*, the newest first, among the last ``ENDED``."""
    newest = Attempt.objects.using(using).order_by("-id").values_list(
        "job__queue_name", "outcome", "started_at", "finished_at", "number", "job__attempt", "job__run_after"
    )  # fmt: skip
    return [
        # A retry changes the number of the attempt and the time of the job.
        Ended(queue, outcome, finished, started - due if number == last and due <= started else None)
        for queue, outcome, started, finished, number, last, due in newest[:ENDED]
        if finished >= moment
    ]
