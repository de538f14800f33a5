"""How jobs are stored: hundreds by one statement, by the clock of the database. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cache
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.clock import as_datetime, database_now, now_sql
from qorworker.models.sql.inserts import insert_returning
from qorworker.models.sql.parts import portions, weight

GIVEN = (
    "name", "queue_name", "priority", "max_attempts", "limit_key", "fingerprint", "created_by_id", "rerun_of_id",
    "schedule_id",
)  # fmt: skip
UNIQUE = ("unique_key", "unique_among")
_to_json = DjangoJSONEncoder(ensure_ascii=False).encode


def insert_jobs(using: str, jobs: Sequence[Any], when: dt.datetime | dt.timedelta | None = None) -> None:
    """Store new jobs for the time *when*, or so long from now, or now; completes them with what was stored.

    On PostgreSQL the same statement tells the workers that listen. Not for MySQL, which does not tell the numbers.
    """
    if not jobs:
        return
    connection, model = connections[using], type(jobs[0])
    columns, due, status = _columns(connection, model, when, more := _meta(jobs))
    returning = "enqueued_at, run_after"
    if connection.vendor == "postgresql":
        returning += ", pg_notify('qorworker', '')"
    remaining = iter(jobs)
    for rows in portions(connection, [(*_given(job, more), _to_json(job.arguments), *due) for job in jobs], weight):
        times = Times(connection)
        for row in insert_returning(using, model, columns, rows, returning):
            _complete(times, next(remaining), status, row)


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
    columns, due, status = _columns(connection, model, when, more := (*UNIQUE, *_meta(jobs)))
    columns += ["unique_place=0"]
    returning = "enqueued_at, run_after, unique_key, unique_until"
    if period:
        columns += [f"unique_until={now_sql(connection, repr(period.total_seconds()))}"]
    if connection.vendor == "postgresql":
        returning += ", pg_notify('qorworker', '')"
    by_key = {job.unique_key: job for job in jobs}
    done = []
    for rows in portions(connection, [(*_given(job, more), _to_json(job.arguments), *due) for job in jobs], weight):
        times = Times(connection)
        for row in insert_returning(using, model, columns, rows, returning, leave_taken=True):
            job = by_key[row[3]]
            _complete(times, job, status, row)
            job.unique_place, job.unique_until = 0, times[row[4]] if row[4] else None
            done.append(job)
    return done


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


def _meta(jobs: Sequence[Any]) -> tuple[str, ...]:
    """Return the column ``meta`` if one of the jobs has any."""
    return ("meta",) if any(job.meta for job in jobs) else ()


def _given(job: Any, more: Sequence[str] = ()) -> list[Any]:
    fields = vars(job)  # its descriptors of foreign keys take their time
    values = [fields[name] for name in (*GIVEN, *more)]
    return [_to_json(value) if isinstance(value, dict) else value for value in values]


def _columns(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    when: dt.datetime | dt.timedelta | None,
    more: tuple[str, ...] = (),
) -> tuple[list[str], list[Any], str]:
    """Return the columns for ``insert_returning``, the parameters of ``run_after``, and the status."""
    now, due = now_sql(connection), []
    if isinstance(when, dt.datetime):
        later, due, run_after = when > database_now(connection.alias), [when], "run_after"
    else:
        seconds = when.total_seconds() if when else 0.0
        later, run_after = seconds > 0, f"run_after={now_sql(connection, repr(seconds)) if seconds else now}"
    status = "scheduled" if later else "new"
    columns = [*GIVEN, *more, "arguments", run_after, f"enqueued_at={now}", f"status='{status}'"]
    return [*columns, *_usual(connection.alias, model, more)], due, status


@cache
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
