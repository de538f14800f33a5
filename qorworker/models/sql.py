"""The statements that every job passes through, set-based, one form for each kind of database.

Parent process (and whoever else runs jobs). The ORM has no UPDATE … RETURNING and no UPDATE from a list of
values; everything that is not on the path of every single job stays in the ORM.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.clock import now_sql
from qorworker.status import RUNNING, TRANSITIONS

TABLE = "qorworker_job"
ENDS = ("done", "exception", "killed", "cancelled")


@dataclass(slots=True)
class Claimed:
    """What a worker needs to know of a job that it now owns."""

    id: int
    priority: int
    name: str
    queue_name: str
    arguments: str  # JSON text, as stored
    attempt: int
    max_attempts: int
    crashes: int
    log_lines: int
    log_bytes: int
    log_dropped: int
    results_rows: int
    results_errors: int
    token: str = ""


CLAIMED_COLUMNS = (
    "id, priority, name, queue_name, arguments, attempt, max_attempts, crashes,"
    " log_lines, log_bytes, log_dropped, results_rows, results_errors"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """Which jobs to take: the best ``limit`` of these queues and names, by priority, then age.

    Only ``slots`` of them unconditionally; the ones after that only while all before them may wait in a
    process's memory: jobs with more than one attempt, of a type in ``short``.
    """

    worker_id: int
    token: str
    queues: Sequence[str]
    names: Sequence[str]
    slots: int
    limit: int
    short: Collection[str]
    lease: float


def queues_with_jobs(using: str) -> list[str]:
    """Names of the queues in which a job waits; one index probe for each, however many jobs there are."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""WITH RECURSIVE queue(name) AS (
                SELECT MIN(queue_name) FROM {TABLE} WHERE status = 'new'
                UNION ALL
                SELECT (SELECT MIN(queue_name) FROM {TABLE} WHERE status = 'new' AND queue_name > queue.name)
                FROM queue WHERE queue.name IS NOT NULL
            ) SELECT name FROM queue WHERE name IS NOT NULL"""  # noqa: S608 - TABLE is a constant
        )
        return [row[0] for row in cursor.fetchall()]


def claim(using: str, wanted: Claim) -> list[Claimed]:
    """Take jobs for a worker, best first. Each goes to one worker only, however many ask at once."""
    if not wanted.queues or not wanted.names or wanted.limit < 1:
        return []
    connection = connections[using]
    rows = _claim_mysql(connection, wanted) if connection.vendor == "mysql" else _claim_returning(connection, wanted)
    claimed = [Claimed(*row) for row in rows]
    for job in claimed:
        job.token = wanted.token
        if not isinstance(job.arguments, str):
            job.arguments = json.dumps(job.arguments)
    return sorted(claimed, key=lambda job: (-job.priority, job.id))


def claim_one(using: str, job_id: int, wanted: Claim) -> Claimed | None:
    """Take one certain job that waits, due or not. None if it no longer waits."""
    connection = connections[using]
    with transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {TABLE} {_ownership(connection)} WHERE id = %s AND status IN ('new', 'scheduled')",
            [wanted.token, wanted.lease, wanted.worker_id, job_id],
        )
        if not cursor.rowcount:
            return None
        cursor.execute(f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} WHERE id = %s", [job_id])  # noqa: S608
        job = Claimed(*cursor.fetchone())
    job.token = wanted.token
    return job


def _ownership(connection: BaseDatabaseWrapper) -> str:
    now = now_sql(connection)
    return (
        f"SET status = 'running', attempt = attempt + 1, attempt_token = %s,"
        f" lease_expires_at = {now_sql(connection, '%s')}, worker_id = %s, process_id = NULL,"
        f" last_attempted_at = {now}, started_at = COALESCE(started_at, {now}),"
        f" progress = NULL, progress_text = '', error = '', abort_requested_at = NULL"
    )


def _best(queues: Sequence[str], names: Sequence[str], limit: int, lock: str) -> tuple[str, list[Any]]:
    """The best ``limit`` waiting jobs of each queue: one walk of the claim's index for each."""
    walks, params = [], []
    for number, queue in enumerate(queues):
        walks.append(
            f"SELECT * FROM (SELECT id, priority, name, max_attempts FROM {TABLE}"  # noqa: S608
            f" WHERE status = 'new' AND queue_name = %s AND name IN ({_marks(names)})"
            f" ORDER BY priority DESC, id LIMIT %s{lock}) AS walk{number}"
        )
        params += [queue, *names, limit]
    return " UNION ALL ".join(walks), params


def _claim_returning(connection: BaseDatabaseWrapper, wanted: Claim) -> list[tuple[Any, ...]]:
    postgresql = connection.vendor == "postgresql"
    best, params = _best(wanted.queues, wanted.names, wanted.limit, " FOR UPDATE SKIP LOCKED" if postgresql else "")
    short = sorted(wanted.short)
    waits = f"max_attempts > 1 AND name IN ({_marks(short)})" if short else "1 = 0"
    ranked = (
        "SELECT id, ROW_NUMBER() OVER (ORDER BY priority DESC, id) AS place,"  # noqa: S608
        f" SUM(CASE WHEN {waits} THEN 0 ELSE 1 END) OVER (ORDER BY priority DESC, id) AS must_start"
        f" FROM ({best}) AS best"
    )
    chosen = f"SELECT id FROM ({ranked}) AS ranked WHERE place <= %s AND (place <= %s OR must_start = 0)"  # noqa: S608
    # Each id is to be looked up by primary key, whatever the statistics say: an array has a known length, and
    # the second look at the status is written so that no index fits, or all waiting rows would be read for it.
    if postgresql:
        mine = f"id = ANY(ARRAY({chosen})) AND status || '' = 'new'"
    else:
        mine = f"id IN ({chosen}) AND +status = 'new'"
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {TABLE} {_ownership(connection)} WHERE {mine} RETURNING {CLAIMED_COLUMNS}",
            [wanted.token, wanted.lease, wanted.worker_id, *short, *params, wanted.limit, wanted.slots],
        )
        return cursor.fetchall()


def _claim_mysql(connection: BaseDatabaseWrapper, wanted: Claim) -> list[tuple[Any, ...]]:
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        candidates: list[tuple[int, int, str, int]] = []
        for queue in wanted.queues:
            # A derived table would lose the lock, so each queue is asked by itself.
            cursor.execute(
                f"SELECT id, priority, name, max_attempts FROM {TABLE} FORCE INDEX (qorworker_job_claim)"  # noqa: S608
                f" WHERE status = 'new' AND queue_name = %s AND name IN ({_marks(wanted.names)})"
                " ORDER BY priority DESC, id LIMIT %s FOR UPDATE SKIP LOCKED",
                [queue, *wanted.names, wanted.limit],
            )
            candidates += cursor.fetchall()
        candidates.sort(key=lambda row: (-row[1], row[0]))
        ids, must_start = [], False
        for place, (pk, _priority, name, max_attempts) in enumerate(candidates[: wanted.limit], 1):
            must_start = must_start or not (max_attempts > 1 and name in wanted.short)
            if place <= wanted.slots or not must_start:
                ids.append(pk)
        if not ids:
            return []
        cursor.execute(
            f"UPDATE {TABLE} {_ownership(connection)} WHERE id IN ({_marks(ids)}) AND status = 'new'",
            [wanted.token, wanted.lease, wanted.worker_id, *ids],
        )
        cursor.execute(f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} WHERE id IN ({_marks(ids)})", ids)  # noqa: S608
        return cursor.fetchall()


@dataclass(slots=True)
class AttemptUpdate:
    """Where an attempt stands now. ``status`` is ``running`` for a sign of progress, else how it leaves."""

    id: int
    token: str
    status: str
    progress: int | None = None  # per cent; None leaves it as it is
    progress_text: str | None = None  # None leaves it as it is
    error: str = ""
    delay: float | None = None  # seconds until the next attempt
    uncounted: bool = False  # the attempt is not counted: its handler was never called, or a shutdown cut it short
    crashes: int = 0
    process_id: int | None = None
    log_lines: int = 0
    log_bytes: int = 0
    log_dropped: int = 0
    results_rows: int = 0
    results_errors: int = 0


# name, SQL type for PostgreSQL, SQL type for MariaDB
_COLUMNS = (
    ("id", "bigint", "BIGINT"),
    ("token", "text", "VARCHAR(32) CHARACTER SET utf8mb4"),
    ("status", "text", "VARCHAR(10) CHARACTER SET utf8mb4"),
    ("progress", "smallint", "SMALLINT"),
    ("progress_text", "text", "TEXT CHARACTER SET utf8mb4"),
    ("error", "text", "LONGTEXT CHARACTER SET utf8mb4"),
    ("delay", "double precision", "DOUBLE"),
    ("uncounted", "smallint", "SMALLINT"),
    ("crashes", "smallint", "SMALLINT"),
    ("process_id", "bigint", "BIGINT"),
    ("log_lines", "bigint", "BIGINT"),
    ("log_bytes", "bigint", "BIGINT"),
    ("log_dropped", "bigint", "BIGINT"),
    ("results_rows", "bigint", "BIGINT"),
    ("results_errors", "bigint", "BIGINT"),
)


def write_attempts(using: str, updates: Sequence[AttemptUpdate]) -> set[int]:
    """Bring the rows of these attempts up to date, or end them; the ids that were still theirs.

    The one writer that moves a job out of ``running``. An attempt whose token was taken away is left out.
    """
    for update in updates:
        if update.status != RUNNING and update.status not in TRANSITIONS[RUNNING]:
            raise ValueError(f"A running job cannot become {update.status}.")
    if not updates:
        return set()
    connection = connections[using]
    values = json.dumps([_values(update) for update in updates])
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            return _write_mysql(connection, cursor, values)
        ids = [update.id for update in updates]
        assignments = _assignments(connection, "")
        if connection.vendor == "postgresql":
            typed = ", ".join(
                f"(value ->> {place})::{kind} AS {name}" for place, (name, kind, _) in enumerate(_COLUMNS)
            )
            source = f"(SELECT {typed} FROM jsonb_array_elements(%s::jsonb) AS value)"
            # The status is left out on purpose: the token proves it, and with stale statistics the planner
            # would take "running" for a handful of rows and read the table for it.
            pinned, params, returned = " AND job.id = ANY(%s)", [values, ids], "job.id"
        else:
            typed = ", ".join(f"value ->> '$[{place}]' AS {name}" for place, (name, _, _) in enumerate(_COLUMNS))
            source = f"(SELECT {typed} FROM json_each(%s))"
            pinned, params, returned = "", [values], "id"
        cursor.execute(
            f"UPDATE {TABLE} AS job SET {assignments} FROM {source} AS v"  # noqa: S608
            f" WHERE job.id = v.id AND job.attempt_token = v.token{pinned} RETURNING {returned}",
            params,
        )
        return {row[0] for row in cursor.fetchall()}


def _values(update: AttemptUpdate) -> list[Any]:
    return [
        int(value) if isinstance(value, bool) else value for value in (getattr(update, name) for name, _, _ in _COLUMNS)
    ]


def _assignments(connection: BaseDatabaseWrapper, target: str) -> str:
    """SET list for ``write_attempts``. *target* qualifies the assigned columns where the database wants that."""
    ended = f"v.status IN ({', '.join(repr(end) for end in ENDS)})"
    columns = {
        # MariaDB assigns from left to right and later expressions see the new values: status comes last.
        "attempt_token": "CASE WHEN v.status = 'running' THEN job.attempt_token END",
        "lease_expires_at": "CASE WHEN v.status = 'running' THEN job.lease_expires_at END",
        "finished_at": f"CASE WHEN {ended} THEN {now_sql(connection)} END",
        "run_after": f"CASE WHEN v.delay IS NULL THEN job.run_after ELSE {now_sql(connection, 'v.delay')} END",
        "abort_requested_at": f"CASE WHEN v.status = 'running' OR {ended} THEN job.abort_requested_at END",
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
        "status": "v.status",
    }
    return ", ".join(f"{target}{name} = {value}" for name, value in columns.items())


def _write_mysql(connection: BaseDatabaseWrapper, cursor: Any, values: str) -> set[int]:
    typed = ", ".join(f"{name} {kind} PATH '$[{place}]'" for place, (name, _, kind) in enumerate(_COLUMNS))
    source = f"JSON_TABLE(%s, '$[*]' COLUMNS ({typed})) AS v"
    join = f"{source} JOIN {TABLE} AS job ON job.id = v.id AND BINARY job.attempt_token = BINARY v.token"
    with transaction.atomic(using=connection.alias):
        cursor.execute(f"SELECT job.id FROM {join} FOR UPDATE", [values])  # noqa: S608
        ours = {row[0] for row in cursor.fetchall()}
        if ours:
            cursor.execute(f"UPDATE {join} SET {_assignments(connection, 'job.')}", [values])
    return ours


def insert(using: str, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Add rows to one of the story's tables. An item of *columns* may carry its own SQL: ``"at=<sql with %s>"``."""
    names, slots = [], []
    for column in columns:
        name, _, sql = column.partition("=")
        names.append(name)
        slots.append(sql or "%s")
    with connections[using].cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(slots)})",  # noqa: S608
            list(rows),
        )


def _marks(items: Collection[Any]) -> str:
    return ", ".join(["%s"] * len(items))
