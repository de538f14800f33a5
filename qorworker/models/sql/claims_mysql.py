"""How MariaDB and MySQL claim: their UPDATE returns no rows, so the rows are locked first. All processes.

A walk of the index with locks costs most where jobs have left it while a transaction stays open that may still see
them: 1.5 us for the entry of each, against 0.03 without locks. After a walk that took long, the next ones go without
locks, and the rows that they find are locked by their keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.sql.claims import CLAIMED_COLUMNS, Claim, Claimed, ownership, rank
from qorworker.models.sql.parts import TABLE, marks
from qorworker.system.processes import monotonic
from qorworker.system.resting import rest_after

SLOW = 0.005, 0.0002  # seconds that a walk may take, and for each row that it finds

_resting: WeakKeyDictionary[Any, float] = WeakKeyDictionary()  # raw connection -> until when it walks without locks


def claim_mysql(connection: BaseDatabaseWrapper, claim: Claim) -> list[Claimed]:
    """Claim jobs in the open transaction."""
    with connection.cursor() as cursor:
        best: list[Claimed] = []
        for queue in claim.queues:
            best += _locked(connection, cursor, claim, queue)
        chosen = _choose(sorted(best, key=rank)[: claim.limit], claim)
        if chosen:
            ids = [job.id for job in chosen]
            cursor.execute(
                f"UPDATE {TABLE} FORCE INDEX (PRIMARY) {ownership(connection)}"
                f" WHERE id IN ({marks(ids)}) AND status = 'new'",
                [claim.token, claim.lease, claim.worker_id, *ids],
            )
            for job in chosen:
                job.attempt, job.token, job.results_errors = job.attempt + 1, claim.token, 0
        return chosen


def waiting_unlimited_mysql(cursor: Any, claim: Claim, count: int) -> list[tuple[int, int]]:
    """Return id and priority of the best waiting jobs without limits, at most *count* of each queue."""
    return [row for queue in claim.queues for row in _walk(cursor, "id, priority", claim, queue, count)]


def _locked(connection: BaseDatabaseWrapper, cursor: Any, claim: Claim, queue: str) -> list[Claimed]:
    """Lock and return the best waiting jobs of a queue that no other transaction has locked."""
    raw: Any = connection.connection
    start = monotonic()
    if start < _resting.get(raw, 0.0):
        return _locked_by_key(cursor, claim, queue)
    # A derived table would lose the locks, so each queue gets a query.
    rows = _walk(cursor, CLAIMED_COLUMNS, claim, queue, claim.limit, lock=True)
    now = monotonic()
    if now - start > SLOW[0] + SLOW[1] * len(rows):
        _resting[raw] = now + rest_after(now - start)
    return [Claimed(*row) for row in rows]


def _locked_by_key(cursor: Any, claim: Claim, queue: str) -> list[Claimed]:
    jobs: list[Claimed] = []
    last: tuple[int, int] | None = None
    condition, params = _condition(claim, queue)
    while missing := claim.limit - len(jobs):
        found = _walk(cursor, "id, priority", claim, queue, missing, behind=last)
        if found:
            ids = [pk for pk, _ in found]
            cursor.execute(
                f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} FORCE INDEX (PRIMARY)"  # noqa: S608
                f" WHERE id IN ({marks(ids)}) AND {condition} FOR UPDATE SKIP LOCKED",
                [*ids, *params],
            )
            jobs += (Claimed(*row) for row in cursor.fetchall())
        if len(found) < missing:
            break
        last = found[-1]  # another worker has locked some of these, so go on behind them
    return jobs


def _walk(
    cursor: Any,
    columns: str,
    claim: Claim,
    queue: str,
    count: int,
    *,
    behind: tuple[int, int] | None = None,
    lock: bool = False,
) -> list[tuple[Any, ...]]:
    """Return the best *count* waiting jobs of a queue, those behind the one with this id and priority."""
    condition, params = _condition(claim, queue)
    if behind is not None:
        condition += " AND (priority < %s OR (priority = %s AND id > %s))"
        params += [behind[1], behind[1], behind[0]]
    cursor.execute(
        f"SELECT {columns} FROM {TABLE} FORCE INDEX (qorworker_job_claim) WHERE {condition}"  # noqa: S608
        f" ORDER BY priority DESC, id LIMIT %s{' FOR UPDATE SKIP LOCKED' if lock else ''}",
        [*params, count],
    )
    return list(cursor.fetchall())


def _condition(claim: Claim, queue: str) -> tuple[str, list[Any]]:
    # BINARY: the usual collations take "Mail" for "mail".
    condition = (
        "status = 'new' AND queue_name = %s AND BINARY queue_name = %s AND limit_key = ''"
        f" AND BINARY name IN ({marks(claim.names)})"
    )
    if claim.but:
        condition += f" AND id NOT IN ({marks(claim.but)})"
    return condition, [queue, queue, *claim.names, *claim.but]


def _choose(best: Sequence[Claimed], claim: Claim) -> list[Claimed]:
    """Decide in Python what the window functions of ``claim_statement`` decide."""
    chosen, all_wait = [], True
    for place, job in enumerate(best):
        all_wait = all_wait and job.max_attempts > 1 and job.name in claim.short
        if place < claim.slots or all_wait:
            chosen.append(job)
    return chosen
