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

GIVEN = ("name", "queue_name", "priority", "max_attempts", "fingerprint", "created_by_id", "rerun_of_id")
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
        for job, (pk, enqueued_at, run_after, *_) in zip(some, stored, strict=True):
            job.pk, job.status = pk, status
            job.enqueued_at = as_datetime(connection, enqueued_at)
            job.run_after = as_datetime(connection, run_after)
            job._state.db, job._state.adding = using, False


def _given(job: Any) -> list[Any]:
    return [getattr(job, name) for name in GIVEN]


def _columns(
    connection: BaseDatabaseWrapper, model: type[models.Model], when: dt.datetime | dt.timedelta | None
) -> tuple[list[str], list[Any], str]:
    """The columns for ``insert_returning``, the values for ``run_after`` if it takes any, and the status."""
    now, due = now_sql(connection), []
    if isinstance(when, dt.datetime):
        later, due, run_after = when > database_now(connection.alias), [when], "run_after"
    else:
        seconds = when.total_seconds() if when else 0.0
        later, run_after = seconds > 0, f"run_after={now_sql(connection, repr(seconds)) if seconds else now}"
    status = "scheduled" if later else "new"
    columns = [*GIVEN, "arguments", run_after, f"enqueued_at={now}", f"status='{status}'"]
    return [*columns, *_usual(connection.alias, model)], due, status


@cache
def _usual(using: str, model: type[models.Model]) -> list[str]:
    """The other columns that must not be null, with their defaults: numbers, empty texts and empty objects."""
    given = {*GIVEN, "arguments", "run_after", "enqueued_at", "status", model._meta.pk.column}
    fields = [field for field in model._meta.concrete_fields if field.column not in given and not field.null]
    return [f"{field.column}={_literal(connections[using], field)}" for field in fields]


def _literal(connection: BaseDatabaseWrapper, field: Any) -> str:
    usual = field.get_default()
    if isinstance(usual, int):
        return str(usual)
    text = f"'{_to_json(usual) if isinstance(usual, dict) else usual}'"
    return f"{text}::{field.db_type(connection)}" if connection.vendor == "postgresql" else text
