"""How jobs end that are done and reported nothing else, which is the usual case: it needs few values.

The statements of ``attempts`` take thirty: fifteen columns of the job and fifteen of the attempt. All processes that
run jobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.attempt import Attempt
from qorworker.models.clock import now_sql
from qorworker.models.sql.inserts import insert
from qorworker.models.sql.parts import TABLE, Written, fetch, marks

NOTES = Attempt._meta.db_table
BATCH = 2000  # in one statement


class PlainEnd(NamedTuple):
    """The end of an attempt whose job is done, without an error, and whose log, results and progress are stored."""

    id: int
    token: str
    number: int
    process_id: int | None
    duration: float  # seconds
    peak_memory: int | None  # bytes
    worker_id: int | None
    worker_name: str


@lru_cache
def _assigned(now: str, target: str = "") -> str:
    """Return the SET list. *target* qualifies the assigned columns where the database wants that."""
    columns = {
        "attempt_token": "NULL",
        "lease_expires_at": "NULL",
        "finished_at": now,
        "unique_place": "CASE WHEN job.unique_among <> 'period' THEN NULL ELSE job.unique_place END",
        "crashes": "0",
        "process_id": "v.process_id",
        "error": "''",
        "status": "'done'",
    }
    return ", ".join(f"{target}{name} = {value}" for name, value in columns.items())


# Of the notes: the columns that are the same for all, and those that are not.
_SAME = {"outcome": "'done'", "survivors": "0", "error": "''", "traceback": "''", "exception_class": "''"}
_OWN = ("job_id", "number", "worker_id", "worker_name", "process_id", "peak_memory")
_NOTED = ", ".join((*_OWN, *_SAME, "counted", "started_at", "finished_at"))


def parts_postgresql(connection: BaseDatabaseWrapper, ends: Sequence[PlainEnd]) -> tuple[dict[str, str], list[Any]]:
    """Return parts of a statement by name, and their parameters. ``plain`` has the jobs that are written."""
    now, begun = now_sql(connection), now_sql(connection, "-v.duration")
    # The ids are listed a second time so that rows are looked up by them, whatever the statistics say.
    unlocked = f"SELECT id FROM {TABLE} WHERE id = ANY(%s::bigint[]) FOR NO KEY UPDATE SKIP LOCKED"  # noqa: S608
    parts = {
        "v (id, token, number, process_id, duration, peak_memory)": "SELECT * FROM unnest("
        "%s::bigint[], %s::text[], %s::smallint[], %s::integer[], %s::double precision[], %s::bigint[])",
        "plain": f"UPDATE {TABLE} AS job SET {_assigned(now)} FROM v"  # noqa: S608
        f" WHERE job.id = v.id AND job.attempt_token = v.token AND job.id = ANY(ARRAY({unlocked}))"
        " RETURNING job.id, job.has_dependents",
        "plainly_noted": f"INSERT INTO {NOTES} ({_NOTED})"  # noqa: S608
        f" SELECT v.id, v.number, %s::bigint, %s, v.process_id, v.peak_memory, {', '.join(_SAME.values())}, TRUE,"
        f" {begun}, {now} FROM v JOIN plain USING (id) ON CONFLICT DO NOTHING",
    }
    ids, tokens, numbers, processes, durations, peaks = (list(column) for column in list(zip(*ends, strict=True))[:6])
    arrays = [_array(ids), tokens, _array(numbers), _array(processes), _array(durations), _array(peaks)]
    return parts, [*arrays, arrays[0], ends[0].worker_id, ends[0].worker_name]


def _array(values: Iterable[float | None]) -> str:
    """Return an array as text. The type of a list, and with it the prepared statement, depends on its numbers."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def end_sqlite(connection: BaseDatabaseWrapper, ends: Sequence[PlainEnd]) -> list[Written]:
    """End the jobs, and return those that are written. SQLite locks all rows or none.

    A parameter for each value would make another statement for each number of jobs, and SQLite keeps 128 of them.
    """
    now, begun = now_sql(connection), now_sql(connection, "-v.duration")
    values = ", ".join(
        f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(PlainEnd._fields[:6])
    )
    source = f"(SELECT {values} FROM json_each(%s)) AS v"  # noqa: S608
    ended = fetch(
        connection,
        f"UPDATE {TABLE} AS job SET {_assigned(now)} FROM {source}"  # noqa: S608
        " WHERE job.id = v.id AND job.attempt_token = v.token RETURNING id, 'done', has_dependents",
        [json.dumps(ends)],
    )
    ours = {pk for pk, *_ in ended}
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {NOTES} ({_NOTED}) SELECT v.id, v.number, %s, %s, v.process_id, v.peak_memory, "  # noqa: S608
            f"{', '.join(_SAME.values())}, 1, {begun}, {now} FROM {source} WHERE TRUE ON CONFLICT DO NOTHING",
            [ends[0].worker_id, ends[0].worker_name, json.dumps([end for end in ends if end.id in ours])],
        )
    return [Written(*row) for row in ended]


def end_mysql(connection: BaseDatabaseWrapper, ends: Sequence[PlainEnd]) -> list[Written]:
    """Do the same in the open transaction of MariaDB or MySQL, whose UPDATE returns no rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, attempt_token, has_dependents FROM {TABLE} FORCE INDEX (PRIMARY)"  # noqa: S608
            f" WHERE id IN ({marks(ends)}) FOR UPDATE SKIP LOCKED",
            [end.id for end in ends],
        )
        rows = {pk: row for pk, *row in cursor.fetchall()}
        ours = [(end.id, end.process_id) for end in ends if rows.get(end.id, ("",))[0] == end.token]
        if ours:
            cursor.execute(
                "UPDATE JSON_TABLE(%s, '$[*]' COLUMNS (id BIGINT PATH '$[0]', process_id BIGINT PATH '$[1]')) AS v"  # noqa: S608
                f" STRAIGHT_JOIN {TABLE} AS job FORCE INDEX (PRIMARY) ON job.id = v.id"
                f" SET {_assigned(now_sql(connection), 'job.')}",
                [json.dumps(ours)],
            )
    same = tuple(f"{name}={value}" for name, value in _SAME.items())
    begun, now = now_sql(connection, "%s"), now_sql(connection)
    columns = (*_OWN, f"started_at={begun}", f"finished_at={now}", *same, "counted=1")
    written = dict(ours)
    notes = [
        (end.id, end.number, end.worker_id, end.worker_name, end.process_id, end.peak_memory, -end.duration)
        for end in ends
        if end.id in written
    ]
    insert(connection.alias, Attempt, columns, notes)
    return [Written(pk, "done", rows[pk][1]) for pk in written]
