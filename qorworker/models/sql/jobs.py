"""How jobs are stored: hundreds by one statement, by the clock of the database. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.clock import as_datetime, database_now, now_sql
from qorworker.models.sql.inserts import insert_alike, insert_returning
from qorworker.models.sql.parts import BATCH, LARGE, SMALL, portions, weight

GIVEN = (
    "name", "queue_name", "priority", "max_attempts", "limit_key", "fingerprint", "created_by_id", "rerun_of_id",
    "schedule_id",
)  # fmt: skip
PERSON = GIVEN.index("created_by_id")
PLAIN = (type(None), int)  # what a project's key of users usually is
UNIQUE = ("unique_key", "unique_among")
_to_json = DjangoJSONEncoder(ensure_ascii=False).encode


def insert_jobs(using: str, jobs: Sequence[Any], when: dt.datetime | dt.timedelta | None = None) -> None:
    """Store new jobs for the time *when*, or so long from now, or now; completes them with what was stored.

    On PostgreSQL the same statement tells the workers that listen. Not for MySQL, which does not tell the numbers.
    """
    if not jobs:
        return
    connection = connections[using]
    columns = _columns(connection, type(jobs[0]), when, more := _more(jobs))
    times = Times(connection)
    for start in range(0, len(jobs), BATCH):
        some = jobs[start : start + BATCH]
        for job, row in zip(some, _rows(connection, some, columns, more), strict=True):
            _complete(times, job, columns.status, row)


def insert_timed_jobs(using: str, jobs: Sequence[Any], now: dt.datetime) -> None:
    """Store new jobs, each for the time in its ``run_after``; the rest is as in ``insert_jobs``.

    :param now: the time of the database, which decides whether a job has to wait.
    """
    if not jobs:
        return
    connection = connections[using]
    adapt: Any = connection.ops.adapt_datetimefield_value
    model: type[models.Model] = type(jobs[0])
    for job in jobs:
        job.status = "scheduled" if job.run_after > now else "new"
    more = ("status", *_more(jobs))
    names = (*GIVEN, *more, "arguments", "run_after", f"enqueued_at={now_sql(connection)}", *_usual(using, model, more))
    rows = [[*_given(connection, job, more), _to_json(job.arguments), adapt(job.run_after)] for job in jobs]
    times, remaining = Times(connection), iter(jobs)
    for some in portions(connection, rows, weight):
        for row in insert_returning(connection, model, names, some, _returning(connection)):
            job = next(remaining)
            _complete(times, job, job.status, row)


def insert_unless_taken(
    using: str,
    jobs: Sequence[Any],
    when: dt.datetime | dt.timedelta | None = None,
    period: dt.timedelta | None = None,
) -> list[Any]:
    """Store those of *jobs* whose ``unique_key`` is free, and return them. Each key occurs once.

    This waits for transactions that take or free one of the keys.

    :param period: how long a key is kept from other jobs; None: as its rule says.
    """
    if not jobs:
        return []
    connection, model = connections[using], type(jobs[0])
    columns = _columns(connection, model, when, more := (*UNIQUE, *_more(jobs)))
    every = [*columns.names, "unique_place=0"]
    returning = _returning(connection, "unique_key, unique_until")
    if period:
        every += [f"unique_until={now_sql(connection, repr(period.total_seconds()))}"]
    by_key = {job.unique_key: job for job in jobs}
    done, times = [], Times(connection)
    for rows in portions(connection, [_values(connection, job, columns, more) for job in jobs], weight):
        for row in insert_returning(connection, model, every, rows, returning, leave_taken=True):
            job = by_key[row[3]]
            _complete(times, job, columns.status, row)
            job.unique_place, job.unique_until = 0, times[row[4]] if row[4] else None
            done.append(job)
    return done


class Columns(NamedTuple):
    names: tuple[str, ...]  # as ``insert_returning`` takes them: what is given, arguments, run_after, then constants
    due: tuple[Any, ...]  # the parameters of run_after
    status: str


def _rows(
    connection: BaseDatabaseWrapper, jobs: Sequence[Any], columns: Columns, more: tuple[str, ...]
) -> Iterable[Sequence[Any]]:
    """Insert up to ``BATCH`` jobs, all of them or none, in the cheapest way for them; return a row for each."""
    model, returning = type(jobs[0]), _returning(connection)
    if len(jobs) > 1 and connection.vendor != "mysql" and _are_alike(jobs, more):
        document = _to_json([job.arguments for job in jobs])
        if weight([document]) <= LARGE:
            names = [f"{name}=value" if name == "arguments" else name for name in columns.names]
            values = [*_given(connection, jobs[0], more), *columns.due]
            return insert_alike(connection, model, names, values, document, returning)
    every = [_values(connection, job, columns, more) for job in jobs]
    if len(every) == 1 and weight(every[0]) <= SMALL:
        return insert_returning(connection, model, columns.names, every, returning)
    several = list(portions(connection, every, weight))
    with transaction.atomic(using=connection.alias, savepoint=False) if len(several) > 1 else nullcontext():
        return [row for some in several for row in insert_returning(connection, model, columns.names, some, returning)]


def _are_alike(jobs: Sequence[Any], more: tuple[str, ...]) -> bool:
    """Return whether nothing but their arguments distinguishes these jobs."""
    given = _getter(more)
    first = given(vars(jobs[0]))
    return all(given(vars(job)) == first for job in jobs)


def _returning(connection: BaseDatabaseWrapper, more: str = "") -> str:
    """Return what a statement gives back of each row, besides its id: when it was stored, and when it is due."""
    match connection.vendor:
        case "sqlite":  # a column, unlike an expression, has a type, and would be parsed for each row
            times, last = "+enqueued_at, +run_after", ""
        case "postgresql":
            times, last = "enqueued_at, run_after", "pg_notify('qorworker', '')"
        case _:
            times, last = "enqueued_at, run_after", ""
    return ", ".join(filter(None, (times, more, last)))


class Times(dict[Any, dt.datetime]):
    """Times from the driver as datetimes. The rows of one statement have the same one."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__()
        self.connection = connection

    def __missing__(self, raw: Any) -> dt.datetime:
        self[raw] = moment = as_datetime(self.connection, raw)
        return moment


def _complete(times: Times, job: Any, status: str, row: Sequence[Any]) -> None:
    job.id, job.status = row[0], status
    job.enqueued_at, job.run_after = times[row[1]], times[row[2]]
    job._state.db, job._state.adding = times.connection.alias, False


def _more(jobs: Sequence[Any]) -> tuple[str, ...]:
    """Return the columns that most jobs leave empty, and one of these does not."""
    more = ("meta",) if any(job.meta for job in jobs) else ()
    if any([job.is_dry_run for job in jobs]):  # noqa: C419 - a generator would be called for each job
        more = (*more, "is_dry_run")
    if any([job.version > 1 for job in jobs]):  # noqa: C419 - as above
        more = (*more, "version")
    return more if jobs[0].batch_id is None else (*more, "batch_id")  # all of them belong to one batch, or none does


def _values(connection: BaseDatabaseWrapper, job: Any, columns: Columns, more: tuple[str, ...]) -> list[Any]:
    return [*_given(connection, job, more), _to_json(job.arguments), *columns.due]


def _given(connection: BaseDatabaseWrapper, job: Any, more: tuple[str, ...]) -> Sequence[Any]:
    values: Sequence[Any] = _getter(more)(vars(job))  # the descriptors of foreign keys take their time
    if type(values[PERSON]) not in PLAIN:  # such as a UUID, which not every driver takes
        person = job._meta.get_field("created_by").get_db_prep_save(values[PERSON], connection)
        values = [*values[:PERSON], person, *values[PERSON + 1 :]]
    return [_to_json(value) if isinstance(value, dict) else value for value in values] if more else values


@cache
def _getter(more: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    return itemgetter(*GIVEN, *more)


def _columns(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    when: dt.datetime | dt.timedelta | None,
    more: tuple[str, ...] = (),
) -> Columns:
    now, due = now_sql(connection), tuple[Any, ...]()
    if isinstance(when, dt.datetime):
        adapt: Any = connection.ops.adapt_datetimefield_value
        later, due, run_after = when > database_now(connection.alias), (adapt(when),), "run_after"
    else:
        seconds = when.total_seconds() if when else 0.0
        later, run_after = seconds > 0, f"run_after={now_sql(connection, repr(seconds)) if seconds else now}"
    status = "scheduled" if later else "new"
    return Columns(_names(connection.alias, model, more, run_after, now, status), due, status)


@lru_cache
def _names(
    using: str, model: type[models.Model], more: tuple[str, ...], run_after: str, now: str, status: str
) -> tuple[str, ...]:
    columns = (*GIVEN, *more, "arguments", run_after, f"enqueued_at={now}", f"status='{status}'")
    return *columns, *_usual(using, model, more)


def _usual(using: str, model: type[models.Model], more: tuple[str, ...]) -> list[str]:
    """Return the other columns that must not be null, with their defaults: numbers, empty texts and empty objects."""
    given = {*GIVEN, *more, "arguments", "run_after", "enqueued_at", "status", model._meta.pk.column}
    fields = [field for field in model._meta.concrete_fields if field.column not in given and not field.null]
    return [f"{field.column}={_literal(connections[using], field)}" for field in fields]


def _literal(connection: BaseDatabaseWrapper, field: Any) -> str:
    usual = field.get_default()
    if isinstance(usual, int):
        return str(usual)
    text = f"'{_to_json(usual) if isinstance(usual, dict) else usual}'"
    return f"{text}::{field.db_type(connection)}" if connection.vendor == "postgresql" else text
