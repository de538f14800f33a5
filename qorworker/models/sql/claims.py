"""How waiting jobs become running ones: each goes to one worker only, however many ask. Parent process."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections, transaction
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


CLAIMED_COLUMNS = (
    "id, priority, name, queue_name, arguments, attempt, max_attempts, crashes,"
    " log_lines, log_bytes, log_dropped, results_rows, results_errors, attempt_token"
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
            ) SELECT name FROM queue WHERE name IS NOT NULL"""  # noqa: S608
        )
        return [row[0] for row in cursor.fetchall()]


def _probe_mysql(cursor: Any) -> list[str]:
    # Inside a recursive query it would read the entries of all waiting jobs for each queue.
    found: list[str] = []
    while True:
        cursor.execute(
            f"SELECT MIN(queue_name) FROM {TABLE} WHERE status = 'new' AND queue_name > %s",  # noqa: S608
            [found[-1] if found else ""],
        )
        (name,) = cursor.fetchone()
        if name is None:
            return found
        found.append(name)


def claim(using: str, wanted: Claim) -> list[Claimed]:
    """Take jobs for a worker, best first. Each goes to one worker only, however many ask at once."""
    if not wanted.short and wanted.limit > wanted.slots:
        wanted = replace(wanted, limit=wanted.slots)  # rows that are looked at are locked: no more than needed
    if not wanted.queues or not wanted.names or wanted.limit < 1:
        return []
    connection = connections[using]
    jobs = _claim_mysql(connection, wanted) if connection.vendor == "mysql" else _claim_returning(connection, wanted)
    return sorted(jobs, key=_rank)


def _rank(job: Claimed) -> tuple[int, int]:
    return -job.priority, job.id


def claim_one(using: str, job_id: int, wanted: Claim) -> Claimed | None:
    """Take one certain job that waits, due or not. None if it no longer waits."""
    connection = connections[using]
    with transaction.atomic(using=using), connection.cursor() as cursor:
        # A scheduled job is queued first: there is no other way to "running".
        cursor.execute(f"UPDATE {TABLE} SET status = 'new' WHERE id = %s AND status = 'scheduled'", [job_id])  # noqa: S608
        cursor.execute(
            f"UPDATE {TABLE} {_ownership(connection)} WHERE id = %s AND status = 'new'",
            [wanted.token, wanted.lease, wanted.worker_id, job_id],
        )
        if not cursor.rowcount:
            return None
        cursor.execute(f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} WHERE id = %s", [job_id])  # noqa: S608
        return Claimed(*cursor.fetchone())


def claimed_with(using: str, tokens: Collection[str]) -> list[Claimed]:
    """The running jobs with these tokens: what a claim took although its answer was lost. Best first."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} WHERE status = 'running' AND attempt_token IN ({marks(tokens)})",  # noqa: S608
            list(tokens),
        )
        return sorted((Claimed(*row) for row in cursor.fetchall()), key=_rank)


def _ownership(connection: BaseDatabaseWrapper) -> str:
    now = now_sql(connection)
    return (
        f"SET status = 'running', attempt = attempt + 1, attempt_token = %s,"
        f" lease_expires_at = {now_sql(connection, '%s')}, worker_id = %s, process_id = NULL,"
        f" last_attempted_at = {now}, started_at = COALESCE(started_at, {now}),"
        f" progress = NULL, progress_text = '', error = '', abort_requested_at = NULL,"
        f" results_before = results_rows, results_errors = 0"
    )


def _best(queues: Sequence[str], names: Sequence[str], limit: int, lock: str) -> tuple[str, list[Any]]:
    """The best ``limit`` waiting jobs of each queue: one walk of the claim's index for each."""
    walks, params = [], []
    for number, queue in enumerate(queues):
        walks.append(
            f"SELECT * FROM (SELECT id, priority, name, max_attempts FROM {TABLE}"  # noqa: S608
            f" WHERE status = 'new' AND queue_name = %s AND name IN ({marks(names)})"
            f" ORDER BY priority DESC, id LIMIT %s{lock}) AS walk{number}"
        )
        params += [queue, *names, limit]
    return " UNION ALL ".join(walks), params


def _claim_returning(connection: BaseDatabaseWrapper, wanted: Claim) -> list[Claimed]:
    postgresql = connection.vendor == "postgresql"
    best, params = _best(wanted.queues, wanted.names, wanted.limit, " FOR UPDATE SKIP LOCKED" if postgresql else "")
    short = sorted(wanted.short)
    waits = f"max_attempts > 1 AND name IN ({marks(short)})" if short else "1 = 0"
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
        return [Claimed(*row) for row in cursor.fetchall()]


def _claim_mysql(connection: BaseDatabaseWrapper, wanted: Claim) -> list[Claimed]:
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        best: list[Claimed] = []
        for queue in wanted.queues:
            # A derived table would lose the locks, so each queue is asked by itself. BINARY: its usual
            # collations take "Mail" for "mail".
            cursor.execute(
                f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} FORCE INDEX (qorworker_job_claim)"  # noqa: S608
                " WHERE status = 'new' AND queue_name = %s AND BINARY queue_name = %s"
                f" AND BINARY name IN ({marks(wanted.names)})"
                " ORDER BY priority DESC, id LIMIT %s FOR UPDATE SKIP LOCKED",
                [queue, queue, *wanted.names, wanted.limit],
            )
            best += (Claimed(*row) for row in cursor.fetchall())
        chosen = _choose(sorted(best, key=_rank)[: wanted.limit], wanted)
        if chosen:
            ids = [job.id for job in chosen]
            cursor.execute(
                f"UPDATE {TABLE} FORCE INDEX (PRIMARY) {_ownership(connection)}"
                f" WHERE id IN ({marks(ids)}) AND status = 'new'",
                [wanted.token, wanted.lease, wanted.worker_id, *ids],
            )
            for job in chosen:
                job.attempt, job.token, job.results_errors = job.attempt + 1, wanted.token, 0
        return chosen


def _choose(best: Sequence[Claimed], wanted: Claim) -> list[Claimed]:
    """What the window functions of ``_claim_returning`` say, for rows that are already here."""
    chosen, all_wait = [], True
    for place, job in enumerate(best):
        all_wait = all_wait and job.max_attempts > 1 and job.name in wanted.short
        if place < wanted.slots or all_wait:
            chosen.append(job)
    return chosen
