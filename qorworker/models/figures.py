"""Counts and ages over whole queues: few statements, bounded in rows whatever the table holds. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from qorworker.models.clock import as_datetime
from qorworker.models.counting import CAP, sql_of
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.sql import queues_with_jobs
from qorworker.models.story import Attempt

LINE = 1_000  # jobs in line among which the one is looked for that has waited longest
ENDED = 2_000  # attempts that ended last, among which is looked for what happened lately


@dataclass
class Backlog:
    """How the jobs of one queue stand; each number goes up to ``CAP + 1``."""

    queued: int = 0
    due: int = 0  # scheduled jobs whose time has come and which nobody has queued yet
    scheduled: int = 0
    running: int = 0
    failed: int = 0
    since: dt.datetime | None = None  # when the oldest job that could start became due


def backlogs(jobs: JobQuerySet, known: Iterable[str]) -> dict[str, Backlog]:
    """Those of the *known* queues and of all others that have jobs, by name; mostly one statement.

    Scheduled, running and failed jobs are counted among ``CAP + 1`` of all queues.
    """
    queues = {*known, *queues_with_jobs(jobs.db)}
    found = {name: Backlog() for name in queues}
    for kind, queue, count, since, lowest in _counted(jobs, queues):
        backlog = found.setdefault(queue, Backlog())
        if kind not in ("line", "limited"):
            setattr(backlog, kind, count)
        if kind in ("line", "limited", "due"):
            starving = _heads_below(jobs, queue, lowest) if kind == "line" and count > LINE else ()
            backlog.since = min(moment for moment in (backlog.since, since, *starving) if moment is not None)
    return found


def _counted(jobs: JobQuerySet, queues: Collection[str]) -> Iterable[tuple[str, str, int, dt.datetime | None, int]]:
    """Kind, queue, how many, the earliest time and the lowest priority among them."""
    waiting = {name: jobs.queued().on_queue(name).order_by() for name in sorted(queues)}
    # Jobs of limited types wait in lines of their own.
    lines = {name: rows.unlimited().in_line() for name, rows in waiting.items()}
    # First what has a time: PostgreSQL takes the type of the column from there. What is counted needs only the index.
    parts = [_part("line", name, rows.values("priority", "run_after"), LINE) for name, rows in lines.items()]
    parts += [
        _part("limited", name, rows.limited().values("priority", "run_after"), LINE) for name, rows in waiting.items()
    ]
    parts += [_part("queued", name, rows.values("priority"), CAP) for name, rows in waiting.items()]
    for kind, rows in (
        ("due", jobs.due().order_by("run_after")),
        ("scheduled", jobs.scheduled().order_by("run_after")),
        ("running", jobs.running().order_by()),
        ("failed", jobs.failed().order_by()),
    ):
        parts.append(_part(kind, None, rows.values("queue_name", "priority", "run_after"), CAP))
    connection = connections[jobs.db]
    with connection.cursor() as cursor:
        sql = [sql for sql, _ in parts if sql]
        cursor.execute(" UNION ALL ".join(sql), [value for _, values in parts for value in values])
        for kind, queue, count, since, lowest in cursor.fetchall():
            yield kind, queue, count, since and as_datetime(connection, since), lowest


def _part(kind: str, queue: str | None, rows: QuerySet[Any, Any], limit: int) -> tuple[str, list[Any]]:
    """One row for the *queue*, or one for each."""
    inner, values = sql_of(rows[: limit + 1], rows.db)
    if not inner:
        return "", []
    since = "NULL" if kind == "queued" else "MIN(run_after)"
    counted = f"COUNT(*), {since}, MIN(priority) FROM ({inner}) q"
    if queue is None:
        return f"SELECT '{kind}', queue_name, {counted} GROUP BY queue_name", values
    return f"SELECT '{kind}', %s, {counted} HAVING COUNT(*) > 0", [queue, *values]


def _heads_below(jobs: JobQuerySet, queue: str, priority: int) -> Iterable[dt.datetime]:
    """Since when the first job of each lower priority waits: a long line must not hide those that starve behind it."""
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
    waited: dt.timedelta | None  # from when it was due until it started; None if that is no longer known


def ended_since(using: str, moment: dt.datetime) -> list[Ended]:
    """The attempts that have ended since then, the newest first; looked for among the last ``ENDED``."""
    newest = Attempt.objects.using(using).order_by("-id").values_list(
        "job__queue_name", "outcome", "started_at", "finished_at", "number", "job__attempt", "job__run_after"
    )  # fmt: skip
    return [
        # A retry gives the job another number and another time.
        Ended(queue, outcome, finished, started - due if number == last and due <= started else None)
        for queue, outcome, started, finished, number, last, due in newest[:ENDED]
        if finished >= moment
    ]
