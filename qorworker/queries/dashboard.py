"""The queries of the dashboard: sums of what has ended, and a few rows of what is now and comes next. Web.

What has ended is read from summaries, and from the few attempts that came after them. Summaries do not know users, so
for somebody who sees no jobs of others it is read from the newest of their own.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.models import Q, QuerySet

from qorworker.models.attempt import Attempt
from qorworker.models.clock import as_datetime, aware
from qorworker.models.histogram import bucket_of
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.promoting import WAITS_FOR_TIME
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_queries import ScheduleQuerySet, with_holidays
from qorworker.models.sql import summaries as sql
from qorworker.models.sql.summaries import Group
from qorworker.models.summary import DAY, FINE, HOUR, QUARTER, Row, Summary, Sums, sums_of
from qorworker.models.worker import Worker
from qorworker.queries import counting, job_list
from qorworker.status import FINISHED, JobStatus

UNSUMMED = 5_000  # attempts that the summaries do not have yet, up to which they are read, too
OWN = 1_000  # newest jobs of one user
SHOWN = 5  # rows of what comes next, and of a user's own jobs


@dataclass(frozen=True)
class Range:
    """A time up to now, in spans of equal length. The last one has not ended yet."""

    seconds: int  # of one span
    spans: int

    def start(self, now: dt.datetime) -> int:
        """Return when the first span begins, in seconds since 1970 in UTC."""
        return (int(aware(now).timestamp()) // self.seconds - self.spans + 1) * self.seconds


RANGES = {"1h": Range(FINE, 12), "24h": Range(HOUR, 24), "7d": Range(QUARTER, 28), "30d": Range(DAY, 30)}


@dataclass(frozen=True)
class Scope:
    """Which jobs are shown."""

    own: JobQuerySet | None = None  # those of a user who sees no others; None: of all users
    names: tuple[str, ...] | None = None  # of these types; None: of all
    queue_name: str = ""  # of this queue; empty: of all

    def fits(self, name: str, queue_name: str) -> bool:
        """Return whether jobs of this type and queue are shown."""
        return (self.names is None or name in self.names) and self.queue_name in ("", queue_name)


@dataclass
class Figures:
    """How jobs ended: in each span of a time, and for each type."""

    range: Range
    start: int
    spans: list[Sums] = field(default_factory=list)
    types: dict[str, Sums] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spans = [Sums() for _ in range(self.range.spans)]

    def add(self, row: Row) -> None:
        """Count a row of one of its spans. Rows of later ones are left out: a clock may be ahead."""
        place = (row.start - self.start) // self.range.seconds
        if 0 <= place < len(self.spans):
            self.spans[place].add(*row.numbers)
            if (of_type := self.types.get(row.name)) is None:
                of_type = self.types[row.name] = Sums()
            of_type.add(*row.numbers)

    @property
    def ends(self) -> Counter[str]:
        """How many jobs ended in each way."""
        return sum((span.ends for span in self.spans), Counter())


@dataclass(frozen=True)
class Newest:
    """The ends that the summaries do not have yet."""

    groups: Sequence[Group] = ()
    is_complete: bool = True  # False: they are too many to be read, and so are left out


def figures(using: str, scope: Scope, chosen: Range, now: dt.datetime, newest: Newest) -> Figures:
    """Return how jobs ended in the range up to *now*.

    :param newest: what the summaries do not have yet, from ``newest_ends``.
    """
    found = Figures(chosen, chosen.start(now))
    for row in _rows(using, scope, chosen, found.start, newest.groups):
        found.add(row)
    return found


def _rows(using: str, scope: Scope, chosen: Range, start: int, newest: Iterable[Group]) -> Iterator[Row]:
    if scope.own is None:
        yield from Summary.objects.using(using).since(chosen.seconds, start, scope.names, scope.queue_name)
    for key, sums in sums_of(newest, {chosen.seconds: start}).items():
        if scope.fits(key.name, key.queue_name):
            yield Row(key.start, key.name, key.queue_name, sums.numbers)


def newest_ends(using: str, scope: Scope) -> Newest:
    """Return the ends that the summaries do not have yet, unless these are very many.

    For a user who sees no jobs of others these are all that are read.
    """
    if scope.own is not None:
        return Newest(list(_own_groups(scope.own)))
    first, last, count = sql.after_mark(using, UNSUMMED + 1)
    if count > UNSUMMED:
        return Newest(is_complete=False)
    return Newest(sql.ended(using, [(first, last)], FINE) if count else ())


def _own_groups(jobs: JobQuerySet) -> Iterator[Group]:
    columns = ("pk", "name", "queue_name", "status", "run_after", "last_attempted_at", "finished_at")
    ended = [row for row in jobs.newest_first().values_list(*columns)[:OWN] if row[3] in FINISHED and row[6]]
    errors = _errors([pk for pk, _name, _queue, status, *_times in ended if status == JobStatus.EXCEPTION], jobs.db)
    for pk, name, queue, status, due, begun, end in ended:
        has_run = begun is not None and status != JobStatus.CANCELLED
        waited = bucket_of((begun - due).total_seconds()) if has_run and due <= begun else None
        ran = bucket_of((end - begun).total_seconds()) if has_run else None
        start = int(aware(end).timestamp()) // FINE * FINE
        yield Group(start, name, queue, status, errors.get(pk, ""), waited, ran, 1)


def _errors(jobs: Sequence[int], using: str) -> dict[int, str]:
    """Return the class of the last exception of each of these *jobs*, or how their last attempt ended."""
    if not jobs:
        return {}
    attempts = Attempt.objects.using(using).filter(job_id__in=jobs).order_by("id")
    return {job: error or outcome for job, error, outcome in attempts.values_list("job", "exception_class", "outcome")}


# What is now, and what comes next


@dataclass(frozen=True)
class Now:
    """What waits and runs; each number goes up to ``CAP + 1``."""

    queued: int = 0
    since: dt.datetime | None = None  # when the one that was created first became due
    running: int = 0
    silent: int = 0  # running, and not responding
    scheduled: int = 0
    next_at: dt.datetime | None = None  # when the first of these starts
    workers: int = 0
    slots: int = 0
    in_need: int = 0  # schedules that need attention


def present(jobs: JobQuerySet, schedules: ScheduleQuerySet) -> Now:
    """Return what waits and runs of *jobs*, and how many of *schedules* need attention, by one statement."""
    using, cap = jobs.db, counting.CAP + 1
    queued = jobs.few(Q(status=JobStatus.NEW)).order_by()
    scheduled = jobs.few(job_list.TABS["scheduled"]).order_by()
    workers = Worker.objects.using(using).alive().order_by()
    parts = {
        "queued": _count(queued, using),
        "since": _due_of_first(queued[:cap], using),
        "running": _count(jobs.few(Q(status=JobStatus.RUNNING)), using),
        "silent": _count(jobs.few(job_list.TABS["not_responding"]), using),
        "scheduled": _count(scheduled, using),
        "next_at": _one("MIN(run_after)", _upcoming(jobs).values("run_after")[:1], using),
        "workers": _count(workers, using),
        "slots": _one("COALESCE(SUM(slots), 0)", workers.values("slots"), using),
        "in_need": _count(schedules.in_need(), using),
    }
    connection = connections[using]
    with connection.cursor() as cursor:
        values = [value for _sql, values in parts.values() for value in values]
        cursor.execute(f"SELECT {', '.join(part for part, _values in parts.values())}", values)
        found: dict[str, Any] = dict(zip(parts, cursor.fetchone(), strict=True))
    for name in ("since", "next_at"):
        found[name] = found[name] and as_datetime(connection, found[name])
    return Now(**found | {"slots": int(found["slots"])})


def _count(rows: QuerySet[Any, Any], using: str) -> tuple[str, list[Any]]:
    return _one("COUNT(*)", rows.order_by().values("pk")[: counting.CAP + 1], using, none="0")


def _one(value: str, rows: QuerySet[Any, Any], using: str, none: str = "NULL") -> tuple[str, list[Any]]:
    """Return SQL for one *value* about rows, or *none* if no row can match, and its parameters."""
    inner, values = counting.sql_of(rows, using)
    return f"(SELECT {value} FROM ({inner}) q)" if inner else none, values  # noqa: S608


def _due_of_first(rows: QuerySet[Any, Any], using: str) -> tuple[str, list[Any]]:
    """Return SQL for when the first of *rows* became due: an index has their ids, and only one row is read."""
    first, values = _one("MIN(pk)", rows.values("pk"), using)
    return f"(SELECT run_after FROM {Job._meta.db_table} WHERE id = {first})", values  # noqa: S608


def _upcoming(jobs: JobQuerySet) -> JobQuerySet:
    return jobs.few(WAITS_FOR_TIME).not_asking().order_by("run_after", "id")


def upcoming_jobs(jobs: JobQuerySet) -> list[Job]:
    """Return those of *jobs* that start next at a time of their own."""
    return list(_upcoming(jobs).only("name", "run_after", "status")[:SHOWN])


def upcoming_schedules(schedules: ScheduleQuerySet) -> list[Schedule]:
    """Return those of *schedules* that fire next."""
    return with_holidays(schedules.waiting().order_by("next_slot").defer("arguments")[:SHOWN])


def newest_of_user(jobs: JobQuerySet, user: Any) -> list[Job]:
    """Return the newest of *jobs* that *user* has started."""
    return list(job_list.for_list(jobs.of_user(user)).defer("arguments", "meta").newest_first()[:SHOWN])
