"""How running jobs are updated and how they end, behind the token of their attempt. All processes that run jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.clock import now_sql
from qorworker.models.sql.parts import TABLE, Written, marks
from qorworker.status import CRASH_LIMIT, RUNNING, TRANSITIONS, heeding

ENDS = ("done", "exception", "killed", "cancelled")


@dataclass(slots=True)
class AttemptUpdate:
    """The state of an attempt. ``status`` is ``running`` for mere progress, else the status that the job gets.

    ``exchange`` changes it if the job is to run again, but its abort or its pause has been requested: see
    ``status.heeding``.
    """

    id: int
    token: str
    status: str
    progress: int | None = None  # per cent; None leaves it as it is
    progress_text: str | None = None  # None leaves it as it is
    error: str = ""
    delay: float | None = None  # seconds until the next attempt
    uncounted: bool = False  # the attempt is not counted: its handler was never called, or a shutdown cut it short
    unstarted: bool = False  # its handler was never called
    crashes: int = 0
    process_id: int | None = None
    log_lines: int = 0
    log_bytes: int = 0
    log_dropped: int = 0
    results_rows: int = 0
    results_errors: int = 0

    @property
    def weight(self) -> int:
        """Return how many bytes it takes in a statement at most. A control character in JSON takes seven on MariaDB."""
        return 256 + 7 * (len(self.progress_text or "") + len(self.error))


class AttemptNote(NamedTuple):
    """An ended attempt as a row for the table of attempts: each field is a column.

    One is made for every attempt. A dataclass, which has to be turned into a row, takes twice the time.
    """

    job_id: int
    number: int
    worker_id: int | None
    worker_name: str
    process_id: int | None
    outcome: str
    started_at: float  # seconds from the database's time when it is written, so mostly negative
    exit_code: int | None = None
    signal: int | None = None
    peak_memory: int | None = None  # bytes
    survivors: int = 0  # processes of the attempt that could not be ended
    error: str = ""
    traceback: str = ""
    exception_class: str = ""
    counted: bool | None = True  # see ``Attempt.counted``


def note_columns(connection: BaseDatabaseWrapper) -> tuple[str, ...]:
    """Return the columns of an ``AttemptNote`` for ``insert``. Its times come from the clock of the database."""
    return _note_columns(now_sql(connection, "%s"), now_sql(connection))


@lru_cache
def _note_columns(later: str, now: str) -> tuple[str, ...]:
    started = f"started_at={later}"
    columns = (started if name == "started_at" else name for name in AttemptNote._fields)
    return *columns, f"finished_at={now}"


# What ``_values`` holds: name, SQL type for PostgreSQL, SQL type for MariaDB.
_COLUMNS = (
    ("id", "bigint", "BIGINT"),
    ("token", "text", "VARCHAR(32) CHARACTER SET utf8mb4"),
    ("status", "text", "VARCHAR(10) CHARACTER SET utf8mb4"),
    ("progress", "smallint", "SMALLINT"),
    ("progress_text", "text", "TEXT CHARACTER SET utf8mb4"),
    ("error", "text", "LONGTEXT CHARACTER SET utf8mb4"),
    ("delay", "double precision", "DOUBLE"),
    ("uncounted", "smallint", "SMALLINT"),
    ("unstarted", "smallint", "SMALLINT"),
    ("crashes", "smallint", "SMALLINT"),
    ("process_id", "bigint", "BIGINT"),
    ("log_lines", "bigint", "BIGINT"),
    ("log_bytes", "bigint", "BIGINT"),
    ("log_dropped", "bigint", "BIGINT"),
    ("results_rows", "bigint", "BIGINT"),
    ("results_errors", "bigint", "BIGINT"),
)
_TYPED = ", ".join(f"(value ->> {place})::{kind} AS {name}" for place, (name, kind, _) in enumerate(_COLUMNS))
_NAMED = ", ".join(f"column{place} AS {name}" for place, (name, _, _) in enumerate(_COLUMNS, 1))


def checked(updates: Sequence[AttemptUpdate]) -> list[AttemptUpdate]:
    """Return the updates in the order in which all writers lock rows.

    :raises ValueError: for two updates of one job, or for a status that a running job cannot get.
    """
    if len({update.id for update in updates}) != len(updates):
        raise ValueError("A job can be in a batch of updates only once.")
    for update in updates:
        if update.status != RUNNING and update.status not in TRANSITIONS[RUNNING]:
            raise ValueError(f"A running job cannot become {update.status}.")
    return sorted(updates, key=lambda update: update.id)


def _values(update: AttemptUpdate) -> list[Any]:
    return [
        update.id, update.token, update.status, update.progress, update.progress_text, update.error, update.delay,
        int(update.uncounted), int(update.unstarted), update.crashes, update.process_id, update.log_lines,
        update.log_bytes, update.log_dropped, update.results_rows, update.results_errors,
    ]  # fmt: skip


def _assignments(connection: BaseDatabaseWrapper, target: str = "") -> str:
    """Return the SET list of these updates. *target* qualifies the assigned columns where the database wants that."""
    return _assigned(now_sql(connection), now_sql(connection, "v.delay"), target)


@lru_cache
def _assigned(now: str, later: str, target: str) -> str:
    status = "CASE WHEN v.status IN ('new', 'scheduled') AND job.abort_requested_at IS NOT NULL THEN 'killed' "
    status += "WHEN v.status = 'new' AND (job.pause_requested_at IS NOT NULL OR job.waits_for_answer) THEN 'scheduled' "
    crashed = f"v.crashes > 0 AND v.crashes < {CRASH_LIMIT} AND job.abort_requested_at IS NULL"
    status += f"WHEN v.status = 'exception' AND job.waits_for_answer AND {crashed} THEN 'scheduled' ELSE v.status END"
    # Both times are those of the claim if no earlier attempt has started.
    never_started = "v.unstarted = 1 AND COALESCE(job.started_at, job.last_attempted_at) = job.last_attempted_at"
    columns = {
        # MariaDB assigns from left to right and later expressions see the new values: mind the order.
        "attempt_token": "CASE WHEN v.status = 'running' THEN job.attempt_token END",
        "lease_expires_at": "CASE WHEN v.status = 'running' THEN job.lease_expires_at END",
        "finished_at": f"CASE WHEN {status} IN {ENDS} THEN {now} END",
        "unique_place": f"CASE WHEN {status} IN {ENDS} AND job.unique_among <> 'period' THEN NULL"
        " ELSE job.unique_place END",
        "run_after": f"CASE WHEN v.delay IS NULL OR (job.waits_for_answer AND job.run_after > {now}) THEN job.run_after"
        f" ELSE {later} END",
        "started_at": f"CASE WHEN {never_started} THEN NULL ELSE job.started_at END",
        "last_attempted_at": f"CASE WHEN {never_started} THEN NULL ELSE job.last_attempted_at END",
        "attempt": "job.attempt - v.uncounted",
        "crashes": "v.crashes",
        "process_id": "v.process_id",
        "progress": "COALESCE(v.progress, job.progress)",
        "progress_text": "COALESCE(v.progress_text, job.progress_text)",
        "error": "v.error",
        "log_lines": "v.log_lines",
        "log_bytes": "v.log_bytes",
        "log_dropped": "v.log_dropped",
        "results_rows": "v.results_rows",
        "results_errors": "v.results_errors",
        "status": status,
        "waits_for_answer": f"CASE WHEN job.waits_for_answer AND {status} IN {ENDS} THEN FALSE"
        " ELSE job.waits_for_answer END",
    }
    return ", ".join(f"{target}{name} = {value}" for name, value in columns.items())


def update_postgresql(connection: BaseDatabaseWrapper, updates: Sequence[AttemptUpdate]) -> tuple[str, list[Any]]:
    """Return a statement, and its parameters, that applies these updates and returns each job as ``Written``.

    Rows that another transaction has locked are skipped. The ids are listed a second time so that rows are looked up by
    them, whatever the statistics say. The old status is left out for the same reason: the token proves it.
    """
    sql = (
        f"UPDATE {TABLE} AS job SET {_assignments(connection)}"  # noqa: S608
        f" FROM (SELECT {_TYPED} FROM jsonb_array_elements(%s::jsonb) AS value) AS v"
        " WHERE job.id = v.id AND job.attempt_token = v.token AND job.id = ANY(ARRAY("
        f"SELECT id FROM {TABLE} WHERE id = ANY(%s) FOR NO KEY UPDATE SKIP LOCKED))"
        " RETURNING job.id, job.status, job.has_dependents"
    )
    return sql, [json.dumps([_values(update) for update in updates]), [update.id for update in updates]]


def update_sqlite(connection: BaseDatabaseWrapper, updates: Sequence[AttemptUpdate]) -> tuple[str, list[Any]]:
    """Return the same for SQLite, which locks all rows or none."""
    row = f"({marks(_COLUMNS)})"
    sql = (
        f"UPDATE {TABLE} AS job SET {_assignments(connection)}"  # noqa: S608
        f" FROM (SELECT {_NAMED} FROM (VALUES {', '.join([row] * len(updates))})) AS v"
        " WHERE job.id = v.id AND job.attempt_token = v.token RETURNING id, status, has_dependents"
    )
    return sql, [value for update in updates for value in _values(update)]


def update_mysql(connection: BaseDatabaseWrapper, updates: Sequence[AttemptUpdate]) -> list[Written]:
    """Apply the updates in the open transaction of MariaDB or MySQL, whose UPDATE returns no rows."""
    typed = ", ".join(f"{name} {kind} PATH '$[{place}]'" for place, (name, _, kind) in enumerate(_COLUMNS))
    with connection.cursor() as cursor:
        ids = [update.id for update in updates]
        cursor.execute(
            "SELECT id, attempt_token, abort_requested_at IS NOT NULL, pause_requested_at IS NOT NULL,"  # noqa: S608
            f" has_dependents, waits_for_answer FROM {TABLE} FORCE INDEX (PRIMARY)"
            f" WHERE id IN ({marks(ids)}) FOR UPDATE SKIP LOCKED",
            ids,
        )
        rows = {pk: row for pk, *row in cursor.fetchall()}
        ours = [update for update in updates if rows.get(update.id, ("",))[0] == update.token]
        if ours:
            cursor.execute(
                f"UPDATE JSON_TABLE(%s, '$[*]' COLUMNS ({typed})) AS v"  # noqa: S608
                f" STRAIGHT_JOIN {TABLE} AS job FORCE INDEX (PRIMARY) ON job.id = v.id"
                f" SET {_assignments(connection, 'job.')}",
                [json.dumps([_values(update) for update in ours], ensure_ascii=False)],
            )
        written = []
        for update in ours:
            _, abort, pause, has_dependents, asks = rows[update.id]
            requests = {"abort": bool(abort), "pause": bool(pause), "asks": bool(asks)}
            status = heeding(update.status, crashes=update.crashes, **requests)
            written.append(Written(update.id, status, has_dependents))
        return written
