"""How waiting jobs become running ones: each goes to one worker only, however many ask. Parent process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.clock import now_sql
from qorworker.models.sql.parts import TABLE, marks


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
    token: str
    created_by: Any = None
    has_waited: bool = False  # for its time, or for another attempt
    limit_key: str = ""  # what it shares its limits by


CLAIMED_COLUMNS = (
    "id, priority, name, queue_name, arguments, attempt, max_attempts, crashes,"
    " log_lines, log_bytes, log_dropped, results_rows, results_errors, attempt_token,"
    " created_by_id, run_after > enqueued_at, limit_key"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """Which jobs to take: the best ``limit`` of these queues and names, by priority, then age.

    Only ``slots`` of them unconditionally; the ones after that only while all before them may wait in a
    process's memory: jobs with more than one attempt, of a type in ``short``.
    """

    worker_id: int | None
    token: str
    queues: Sequence[str]
    names: Sequence[str]
    slots: int
    limit: int
    short: Collection[str]
    lease: float
    process_id: int | None = None  # if it is known already who runs them

    def sensible(self) -> Claim | None:
        """As it is sent; None if nothing could come of it. Rows that are looked at are locked: no more than needed."""
        limit = self.limit if self.short else min(self.slots, self.limit)
        return replace(self, limit=limit) if self.queues and self.names and limit > 0 else None


def queues_with_jobs(using: str) -> dict[str, bool]:
    """The queues in which a job waits, and whether one of a limited type does.

    Two index probes for each, however many jobs there are.
    """
    connection = connections[using]
    first = f"SELECT queue_name FROM {TABLE} WHERE status = 'new'"  # noqa: S608
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            return _probe_mysql(cursor)
        cursor.execute(
            f"""WITH RECURSIVE queue(name) AS (
                SELECT ({first} ORDER BY queue_name LIMIT 1)
                UNION ALL
                SELECT ({first} AND queue_name > queue.name ORDER BY queue_name LIMIT 1)
                FROM queue WHERE queue.name IS NOT NULL
            ) SELECT name, ({first} AND queue_name = queue.name AND limit_key > '' ORDER BY limit_key LIMIT 1)
            FROM queue WHERE name IS NOT NULL"""  # noqa: S608
        )
        return {name: first is not None for name, first in cursor.fetchall()}


def _probe_mysql(cursor: Any) -> dict[str, bool]:
    # Inside a recursive query it would read the entries of all waiting jobs for each queue.
    found: dict[str, bool] = {}
    name = ""
    while True:
        cursor.execute(
            f"""SELECT name, EXISTS (
                SELECT 1 FROM {TABLE} FORCE INDEX (qorworker_job_claim)
                WHERE status = 'new' AND queue_name = queue.name AND limit_key > ''
            ) FROM (SELECT MIN(queue_name) AS name FROM {TABLE} WHERE status = 'new' AND queue_name > %s) AS queue""",  # noqa: S608
            [name],
        )
        name, limited = cursor.fetchone()
        if name is None:
            return found
        found[name] = bool(limited)


def rank(job: Claimed) -> tuple[int, int]:
    """Best first."""
    return -job.priority, job.id


def claimed_with(using: str, tokens: Collection[str]) -> list[Claimed]:
    """The running jobs with these tokens: what a claim took although its answer was lost. Best first."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} WHERE status = 'running' AND attempt_token IN ({marks(tokens)})",  # noqa: S608
            list(tokens),
        )
        return sorted((Claimed(*row) for row in cursor.fetchall()), key=rank)


def ownership(connection: BaseDatabaseWrapper, process_id: int | None = None) -> str:
    """What an UPDATE sets that starts an attempt; takes the token, the lease and the worker."""
    now = now_sql(connection)
    return (
        f"SET status = 'running', attempt = attempt + 1, attempt_token = %s,"
        f" lease_expires_at = {now_sql(connection, '%s')}, worker_id = %s, process_id = {process_id or 'NULL'},"
        f" last_attempted_at = {now}, started_at = COALESCE(started_at, {now}),"
        f" progress = NULL, progress_text = '', error = '', abort_requested_at = NULL,"
        f" results_before = results_rows, results_errors = 0,"
        f" unique_place = CASE WHEN unique_among = 'waiting' THEN id ELSE unique_place END"
    )


def _best(queues: Sequence[str], names: Sequence[str], limit: int, lock: str) -> tuple[str, list[Any]]:
    """The best ``limit`` waiting jobs of each queue: one walk of the claim's index for each."""
    walks, params = [], []
    for number, queue in enumerate(queues):
        walks.append(
            f"SELECT * FROM (SELECT id, priority, name, max_attempts FROM {TABLE}"  # noqa: S608
            f" WHERE status = 'new' AND queue_name = %s AND limit_key = '' AND name IN ({marks(names)})"
            f" ORDER BY priority DESC, id LIMIT {limit}{lock}) AS walk{number}"
        )
        params += [queue, *names]
    return " UNION ALL ".join(walks), params


def waiting_unlimited(using: str, wanted: Claim, count: int) -> list[tuple[int, int]]:
    """Id and priority of the best waiting jobs without limits, so many of each queue."""
    connection = connections[using]
    if not wanted.queues or not wanted.names:
        return []
    with connection.cursor() as cursor:
        if connection.vendor != "mysql":
            best, params = _best(wanted.queues, wanted.names, count, "")
            cursor.execute(f"SELECT id, priority FROM ({best}) AS best", params)  # noqa: S608
            return list(cursor.fetchall())
        found: list[tuple[int, int]] = []
        for queue in wanted.queues:
            cursor.execute(
                f"SELECT id, priority FROM {TABLE} FORCE INDEX (qorworker_job_claim)"  # noqa: S608
                " WHERE status = 'new' AND queue_name = %s AND BINARY queue_name = %s AND limit_key = ''"
                f" AND BINARY name IN ({marks(wanted.names)}) ORDER BY priority DESC, id LIMIT %s",
                [queue, queue, *wanted.names, count],
            )
            found += cursor.fetchall()
        return found


def claim_statement(connection: BaseDatabaseWrapper, wanted: Claim) -> tuple[str, list[Any]]:
    """Statement and parameters that take jobs and return their ``CLAIMED_COLUMNS``: PostgreSQL and SQLite.

    Limits are written out: a plan that is made without them may read every waiting row.
    """
    postgresql = connection.vendor == "postgresql"
    best, params = _best(wanted.queues, wanted.names, wanted.limit, " FOR UPDATE SKIP LOCKED" if postgresql else "")
    short = sorted(wanted.short)
    waits = f"max_attempts > 1 AND name IN ({marks(short)})" if short else "1 = 0"
    ranked = (
        "SELECT id, ROW_NUMBER() OVER (ORDER BY priority DESC, id) AS place,"  # noqa: S608
        f" SUM(CASE WHEN {waits} THEN 0 ELSE 1 END) OVER (ORDER BY priority DESC, id) AS must_start"
        f" FROM ({best}) AS best"
    )
    chosen = (
        f"SELECT id FROM ({ranked}) AS ranked"  # noqa: S608
        f" WHERE place <= {wanted.limit} AND (place <= {wanted.slots} OR must_start = 0)"
    )
    # Each id is to be looked up by primary key, whatever the statistics say: an array has a known length, and
    # the second look at the status is written so that no index fits, or all waiting rows would be read for it.
    if postgresql:
        mine = f"id = ANY(ARRAY({chosen})) AND status || '' = 'new'"
    else:
        mine = f"id IN ({chosen}) AND +status = 'new'"
    return (
        f"UPDATE {TABLE} {ownership(connection)} WHERE {mine} RETURNING {CLAIMED_COLUMNS}",
        [wanted.token, wanted.lease, wanted.worker_id, *short, *params],
    )


def claim_mysql(connection: BaseDatabaseWrapper, wanted: Claim) -> list[Claimed]:
    """The same for MariaDB and MySQL: carried out here, in the transaction that is open."""
    with connection.cursor() as cursor:
        best: list[Claimed] = []
        for queue in wanted.queues:
            # A derived table would lose the locks, so each queue is asked by itself. BINARY: its usual
            # collations take "Mail" for "mail".
            cursor.execute(
                f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} FORCE INDEX (qorworker_job_claim)"  # noqa: S608
                " WHERE status = 'new' AND queue_name = %s AND BINARY queue_name = %s AND limit_key = ''"
                f" AND BINARY name IN ({marks(wanted.names)})"
                " ORDER BY priority DESC, id LIMIT %s FOR UPDATE SKIP LOCKED",
                [queue, queue, *wanted.names, wanted.limit],
            )
            best += (Claimed(*row) for row in cursor.fetchall())
        chosen = _choose(sorted(best, key=rank)[: wanted.limit], wanted)
        if chosen:
            ids = [job.id for job in chosen]
            cursor.execute(
                f"UPDATE {TABLE} FORCE INDEX (PRIMARY) {ownership(connection)}"
                f" WHERE id IN ({marks(ids)}) AND status = 'new'",
                [wanted.token, wanted.lease, wanted.worker_id, *ids],
            )
            for job in chosen:
                job.attempt, job.token, job.results_errors = job.attempt + 1, wanted.token, 0
        return chosen


def _choose(best: Sequence[Claimed], wanted: Claim) -> list[Claimed]:
    """What the window functions of ``claim_statement`` say, for rows that are already here."""
    chosen, all_wait = [], True
    for place, job in enumerate(best):
        all_wait = all_wait and job.max_attempts > 1 and job.name in wanted.short
        if place < wanted.slots or all_wait:
            chosen.append(job)
    return chosen
