"""How MariaDB and MySQL claim: their UPDATE returns no rows, so the rows are locked first. All processes.

A walk of the index costs most where jobs have left it while a transaction stays open that may still see them: 1.5 us
for the entry of each with locks, 0.07 without. So a walk begins at the first entry of each stretch. It also goes on to
the next entry of a waiting job, past the end of its stretch, if it has not found enough: whether a range of priorities
is empty is asked first, and not again for a while if the answer took long. After a walk that took long all the same,
the next ones go without locks, and the rows that they find are locked by their keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.sql.claims import CLAIMED_COLUMNS, WHOLE, Claim, Claimed, Stretch, of_versions, ownership, rank
from qorworker.models.sql.parts import TABLE, marks
from qorworker.system.processes import monotonic
from qorworker.system.resting import rest_after

SLOW = 0.005, 0.0002  # seconds that a walk may take, and for each row that it finds
SLOW_ANSWER = 0.005  # seconds after which a range that is empty is left out for a while
# Read before the claim, which leaves the errors in rows only to an attempt that goes on behind a checkpoint.
COLUMNS = CLAIMED_COLUMNS.replace("results_errors", "results_errors * (checkpoint IS NOT NULL)")

# Raw connection -> until when it walks without locks, and until when it takes stretches of a queue for empty.
_resting: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
_empty: WeakKeyDictionary[Any, dict[tuple[str, Stretch], float]] = WeakKeyDictionary()


def claim_mysql(connection: BaseDatabaseWrapper, claim: Claim) -> list[Claimed]:
    """Claim jobs in the open transaction."""
    with connection.cursor() as cursor:
        best: dict[int, Claimed] = {}  # a returned job whose priority has changed may be on a walk, too
        for queue in claim.queues:
            best |= {job.id: job for job in _locked(connection, cursor, claim, queue)}
        chosen = _choose(sorted(best.values(), key=rank)[: claim.limit], claim)
        if chosen:
            ids = [job.id for job in chosen]
            cursor.execute(
                f"UPDATE {TABLE} FORCE INDEX (PRIMARY) {ownership(connection)}"
                f" WHERE id IN ({marks(ids)}) AND status = 'new'",
                [claim.token, claim.lease, claim.worker_id, *ids],
            )
            for job in chosen:
                job.attempt, job.token = job.attempt + 1, claim.token
        return chosen


def waiting_unlimited_mysql(cursor: Any, claim: Claim, count: int) -> list[tuple[int, int]]:
    """Return id and priority of the best waiting jobs without limits, at most *count* of each queue."""
    return [row for queue in claim.queues for row in _find(cursor, claim, queue, count)]


def _locked(connection: BaseDatabaseWrapper, cursor: Any, claim: Claim, queue: str) -> list[Claimed]:
    """Lock and return the best waiting jobs of a queue that no other transaction has locked."""
    raw: Any = connection.connection
    start = monotonic()
    returned = _lock_by_key(cursor, claim, queue, claim.returned) if claim.returned else []
    if start < _resting.get(raw, 0.0):
        return returned + _locked_by_key(cursor, claim, queue)
    # A derived table would lose the locks, so each queue gets a query.
    jobs: list[Claimed] = []
    for stretch in _stretches(claim, queue):
        if len(jobs) < claim.limit and _has_entries(cursor, queue, stretch):
            rows = _walk(cursor, COLUMNS, claim, queue, stretch, claim.limit - len(jobs), lock=True)
            jobs += (Claimed(*row) for row in rows)
    now = monotonic()
    if now - start > SLOW[0] + SLOW[1] * len(jobs):
        _resting[raw] = now + rest_after(now - start)
    return returned + jobs


def _locked_by_key(cursor: Any, claim: Claim, queue: str) -> list[Claimed]:
    jobs: list[Claimed] = []
    last: tuple[int, int] | None = None
    while missing := claim.limit - len(jobs):
        found = _find(cursor, claim, queue, missing, behind=last)
        if found:
            jobs += _lock_by_key(cursor, claim, queue, [pk for pk, _ in found])
        if len(found) < missing:
            break
        last = found[-1]  # another worker has locked some of these, so go on behind them
    return jobs


def _lock_by_key(cursor: Any, claim: Claim, queue: str, ids: Sequence[int]) -> list[Claimed]:
    condition, params = _condition(cursor.db, claim, queue)
    cursor.execute(
        f"SELECT {COLUMNS} FROM {TABLE} FORCE INDEX (PRIMARY)"  # noqa: S608
        f" WHERE id IN ({marks(ids)}) AND {condition} FOR UPDATE SKIP LOCKED",
        [*ids, *params],
    )
    return [Claimed(*row) for row in cursor.fetchall()]


def _find(
    cursor: Any, claim: Claim, queue: str, count: int, *, behind: tuple[int, int] | None = None
) -> list[tuple[int, int]]:
    """Return id and priority of the best *count* waiting jobs of a queue, those behind the one *behind*."""
    found: list[tuple[int, int]] = []
    for stretch in _stretches(claim, queue):
        if len(found) < count and _has_entries(cursor, queue, stretch):
            found += _walk(cursor, "id, priority", claim, queue, stretch, count - len(found), behind=behind)
    return found


def _stretches(claim: Claim, queue: str) -> Sequence[Stretch]:
    return claim.stretches.get(queue, WHOLE)


def _has_entries(cursor: Any, queue: str, stretch: Stretch) -> bool:
    """Whether a job waits in a range of priorities. Of other stretches that is not asked."""
    if stretch in WHOLE or stretch.high == stretch.low:
        return True
    empty = _empty.setdefault(cursor.db.connection, {})
    start = monotonic()
    if start < empty.get((queue, stretch), start):
        return False
    # The name is no column of the index. So InnoDB compares each entry with the end of the range before it looks up
    # whether the job still waits: 2 pages, where the entries of 4,000 jobs took 8,000. If the oldest transaction only
    # reads, it passes the entries behind the range instead, 0.03 us for each.
    cursor.execute(
        f"SELECT id, name FROM {TABLE} FORCE INDEX (qorworker_job_claim) WHERE status = 'new' AND queue_name = %s"  # noqa: S608
        " AND limit_key = '' AND priority <= %s AND priority >= %s ORDER BY priority DESC, id LIMIT 1",
        [queue, stretch.high, stretch.low],
    )
    has_entries, now = cursor.fetchone() is not None, monotonic()
    if not has_entries and now - start > SLOW_ANSWER:
        _empty[cursor.db.connection] = {
            **{key: until for key, until in empty.items() if until > now},
            (queue, stretch): now + rest_after(now - start),
        }
    return has_entries


def _walk(
    cursor: Any,
    columns: str,
    claim: Claim,
    queue: str,
    stretch: Stretch,
    count: int,
    *,
    behind: tuple[int, int] | None = None,
    lock: bool = False,
) -> list[tuple[Any, ...]]:
    """Return the best *count* waiting jobs of a stretch, those behind the one with this id and priority."""
    condition, params = _condition(cursor.db, claim, queue)
    if stretch not in WHOLE:
        condition += " AND priority <= %s AND priority >= %s AND id >= %s"
        params += [stretch.high, stretch.low, stretch.first]
    if behind is not None:
        condition += " AND (priority < %s OR (priority = %s AND id > %s))"
        params += [behind[1], behind[1], behind[0]]
    cursor.execute(
        f"SELECT {columns} FROM {TABLE} FORCE INDEX (qorworker_job_claim) WHERE {condition}"  # noqa: S608
        f" ORDER BY priority DESC, id LIMIT %s{' FOR UPDATE SKIP LOCKED' if lock else ''}",
        [*params, count],
    )
    return list(cursor.fetchall())


def _condition(connection: BaseDatabaseWrapper, claim: Claim, queue: str) -> tuple[str, list[Any]]:
    # BINARY: the usual collations take "Mail" for "mail".
    condition = (
        "status = 'new' AND queue_name = %s AND BINARY queue_name = %s AND limit_key = ''"
        f" AND BINARY name IN ({marks(claim.names)})"
    )
    known, versions = of_versions(connection, claim.versions)
    condition += known
    if claim.but:
        condition += f" AND id NOT IN ({marks(claim.but)})"
    return condition, [queue, queue, *claim.names, *versions, *claim.but]


def _choose(best: Sequence[Claimed], claim: Claim) -> list[Claimed]:
    """Decide in Python what the window functions of ``claim_statement`` decide."""
    chosen, all_wait = [], True
    for place, job in enumerate(best):
        all_wait = all_wait and job.max_attempts > 1 and job.name in claim.short
        if place < claim.slots or all_wait:
            chosen.append(job)
    return chosen
