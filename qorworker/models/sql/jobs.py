"""How jobs are stored: hundreds by one statement, by the database's clock. Wherever a job is enqueued."""

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
from qorworker.models.sql.parts import BATCH

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
    columns, due, status = _columns(connection, model, when)
    told = "enqueued_at, run_after"
    if connection.vendor == "postgresql":
        told += ", pg_notify('qorworker', '')"
    for start in range(0, len(jobs), BATCH):
        some = jobs[start : start + BATCH]
        rows = [(*_given(job), _to_json(job.arguments), *due) for job in some]
        stored = insert_returning(using, model, columns, rows, told)
        for job, row in zip(some, stored, strict=True):
            _complete(connection, job, status, row)


def insert_unless_taken(
    using: str,
    jobs: Sequence[Any],
    when: dt.datetime | dt.timedelta | None = None,
    period: dt.timedelta | None = None,
) -> list[Any]:
    """The same for those of *jobs* whose ``unique_key`` nobody holds, with the key for so long; which they were.

    Each key is there once. A key that an open transaction takes or frees is waited for.
    """
    if not jobs:
        return []
    connection, model = connections[using], type(jobs[0])
    columns, due, status = _columns(connection, model, when, UNIQUE)
    columns += ["unique_place=0"]
    told = "enqueued_at, run_after, unique_key, unique_until"
    if period:
        columns += [f"unique_until={now_sql(connection, repr(period.total_seconds()))}"]
    if connection.vendor == "postgresql":
        told += ", pg_notify('qorworker', '')"
    by_key = {job.unique_key: job for job in jobs}
    done = []
    for start in range(0, len(jobs), BATCH):
        some = jobs[start : start + BATCH]
        rows = [(*_given(job, UNIQUE), _to_json(job.arguments), *due) for job in some]
        for row in insert_returning(using, model, columns, rows, told, leave_taken=True):
            job = by_key[row[3]]
            _complete(connection, job, status, row)
            job.unique_place, job.unique_until = 0, as_datetime(connection, row[4]) if row[4] else None
            done.append(job)
    return done


def _complete(connection: BaseDatabaseWrapper, job: Any, status: str, row: Sequence[Any]) -> None:
    job.pk, job.status = row[0], status
    job.enqueued_at, job.run_after = as_datetime(connection, row[1]), as_datetime(connection, row[2])
    job._state.db, job._state.adding = connection.alias, False


def _given(job: Any, more: Sequence[str] = ()) -> list[Any]:
    return [getattr(job, name) for name in (*GIVEN, *more)]


def _columns(
    connection: BaseDatabaseWrapper,
    model: type[models.Model],
    when: dt.datetime | dt.timedelta | None,
    more: tuple[str, ...] = (),
) -> tuple[list[str], list[Any], str]:
    """The columns for ``insert_returning``, the values for ``run_after`` if it takes any, and the status."""
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
    """The other columns that must not be null, with their defaults: numbers, empty texts and empty objects."""
    given = {*GIVEN, *more, "arguments", "run_after", "enqueued_at", "status", model._meta.pk.column}
    fields = [field for field in model._meta.concrete_fields if field.column not in given and not field.null]
    return [f"{field.column}={_literal(connections[using], field)}" for field in fields]


def _literal(connection: BaseDatabaseWrapper, field: Any) -> str:
    usual = field.get_default()
    if isinstance(usual, int):
        return str(usual)
    text = f"'{_to_json(usual) if isinstance(usual, dict) else usual}'"
    return f"{text}::{field.db_type(connection)}" if connection.vendor == "postgresql" else text
