"""How jobs of limited types are claimed: by statements of their own, so that other jobs pay nothing for limits.

All processes that run jobs. The index of the claim has the key after the queue. Unlimited jobs, which have no key, are
one stretch of it, and the jobs of each key are another. However many jobs wait for one key, one probe finds its first,
without reading the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.definitions.limits import Limits, prefix_in
from qorworker.models.clock import now_sql
from qorworker.models.sql.claims import CLAIMED_COLUMNS, Claim, Claimed, best_waiting, of_versions, ownership, rank
from qorworker.models.sql.claims_mysql import waiting_unlimited_mysql
from qorworker.models.sql.parts import TABLE, WAITS, marks
from qorworker.models.sql.places import Places, places
from qorworker.system.processes import monotonic

KEYS = 100  # keys of a queue in one look; if more wait, the next look continues after them
SHARE = 0.5  # seconds of one look, after which it claims from no further key: a worker must renew its leases in time
FINDING = 2.0  # the same after which it looks for no further key, where each takes a statement
BUSY = 0.05  # seconds until the next look at a key from which another process is claiming


@dataclass(frozen=True, slots=True)
class Head:
    """The best waiting job of a key in a queue."""

    queue_name: str
    limit_key: str
    id: int
    priority: int


@dataclass(slots=True)
class Round:
    """The result of a look for jobs of limited types."""

    claimed: list[Claimed] = field(default_factory=list)
    behind: dict[str, str] = field(default_factory=dict)  # queue to the key after which the next look continues
    empty: set[str] = field(default_factory=set)  # queues in which none waits
    wait: float | None = None  # seconds until the next look at these is worthwhile; None: when a place is free
    locked: set[str] = field(default_factory=set)  # keys that are better left out of the next look
    able: bool = False  # limits let one start
    crowded: bool = False  # one could start and is first in line, but no slot is free


def claim_limited(
    using: str, claim: Claim, limits: Mapping[str, Limits], behind: Mapping[str, str], locked: Collection[str] = ()
) -> Round:
    """Claim the best jobs that have a place, for the free slots, as far as they come before unlimited ones.

    :param claim: all queues, and the free slots.
    :param limits: the limits of the types that may be claimed, by the prefix of their stored keys.
    :param behind: the queues in which such jobs wait, each with the key after which the look continues.
    :param locked: keys that earlier looks found locked and that others come before now.
    """
    result = Round()
    heads: list[Head] = []
    for queue, after in behind.items():
        some, rest = waiting_keys(using, queue, after)
        if rest:
            result.behind[queue] = rest
        elif not some and not after:
            result.empty.add(queue)
        heads += (head for head in some if prefix_in(head.limit_key) in limits)
    if not heads:
        return result
    free_places = places(using, {head.limit_key: limits[prefix_in(head.limit_key)] for head in heads})
    able = [head for head in heads if free_places[head.limit_key].free]
    result.able = bool(able)
    others = [head for head in able if head.limit_key not in locked]
    found = _take_best(using, result, others or able, free_places, limits, claim)
    if found and not result.claimed:
        result.locked = {*found, *(locked if others else ())}
    result.claimed.sort(key=rank)
    waits = [each.wait for each in free_places.values() if each.wait is not None]
    waits += [BUSY] if able else []
    result.wait = 0.0 if result.claimed and len(result.claimed) == claim.slots else min(waits, default=None)
    return result


def _take_best(
    using: str,
    result: Round,
    heads: Sequence[Head],
    free_places: Mapping[str, Places],
    limits: Mapping[str, Limits],
    claim: Claim,
) -> set[str]:
    """Claim the best jobs. Where a key is locked, those that come next. Return the keys that are locked."""
    end, locked, slots = monotonic() + SHARE, set[str](), claim.slots
    while chosen := best_of(using, heads, free_places, replace(claim, slots=slots)):
        result.crowded = not claim.slots
        for number, (limit_key, ids) in enumerate(chosen.items() if slots else ()):
            if (number or locked) and monotonic() >= end:
                return locked
            taken = take(using, limit_key, limits[prefix_in(limit_key)], ids, claim)
            result.claimed += taken
            slots -= len(taken)
            locked |= set() if taken else {limit_key}
        if not slots or locked.isdisjoint(chosen) or monotonic() >= end:
            break
        heads = [head for head in heads if head.limit_key not in chosen]
    return locked


def could_start(using: str, queue: str, limits: Mapping[str, Limits], after: str) -> tuple[list[int], str]:
    """Return the ids of the jobs in a queue that have a place now, and the key after which the next look continues."""
    heads, rest = waiting_keys(using, queue, after)
    limited = [head for head in heads if prefix_in(head.limit_key) in limits]
    free_places = places(using, {head.limit_key: limits[prefix_in(head.limit_key)] for head in limited})
    ids, end = list[int](), monotonic() + SHARE
    for head in limited:
        if free := free_places[head.limit_key].free:
            ids += (pk for pk, _ in _line(using, head, min(free, KEYS)))
            if monotonic() >= end:
                return ids, head.limit_key
    return ids, rest


def waiting_keys(using: str, queue: str, after: str = "") -> tuple[list[Head], str]:
    """Return the best waiting job of each of the next keys after *after* in a queue, at most ``KEYS``.

    :returns: the jobs, and the key after which the next look continues; empty if all keys were looked at.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            return _probe_mysql(cursor, queue, after)
        if connection.vendor == "postgresql":
            return _probe_postgresql(cursor, queue, after)
        following = f"FROM {TABLE} WHERE status = 'new' AND queue_name = %s AND limit_key"
        best = f"FROM {TABLE} WHERE status = 'new' AND queue_name = %s AND limit_key = waiting.limit_key"
        best += " ORDER BY priority DESC, id LIMIT 1"
        cursor.execute(
            f"""WITH RECURSIVE waiting(limit_key, place) AS (
                SELECT (SELECT limit_key {following} > %s ORDER BY limit_key LIMIT 1), 1
                UNION ALL
                SELECT (SELECT limit_key {following} > waiting.limit_key ORDER BY limit_key LIMIT 1), place + 1
                FROM waiting WHERE waiting.limit_key IS NOT NULL AND place < {KEYS}
            ) SELECT limit_key, (SELECT id {best}), (SELECT priority {best})
            FROM waiting WHERE limit_key IS NOT NULL""",  # noqa: S608
            [queue, after, queue, queue, queue],
        )
        rows = cursor.fetchall()
    # Another process may have claimed the last job of a key while this was read.
    heads = [Head(queue, *row) for row in rows if row[1] is not None]
    return heads, rows[-1][0] if len(rows) == KEYS else ""


def _probe_postgresql(cursor: Any, queue: str, after: str) -> tuple[list[Head], str]:
    # The best job of the next key is the next entry of the index: entries of jobs that no longer wait are passed once.
    best = f"SELECT limit_key, id, priority FROM {TABLE} WHERE status = 'new' AND queue_name = %s AND limit_key >"  # noqa: S608
    order = "ORDER BY limit_key, priority DESC, id LIMIT 1"
    cursor.execute(
        f"""WITH RECURSIVE waiting(limit_key, id, priority, place) AS (
            SELECT first.*, 1 FROM ({best} %s {order}) AS first
            UNION ALL
            SELECT following.*, place + 1 FROM waiting, LATERAL ({best} waiting.limit_key {order}) AS following
            WHERE place < {KEYS}
        ) SELECT limit_key, id, priority FROM waiting""",  # noqa: S608
        [queue, after, queue],
    )
    heads = [Head(queue, *row) for row in cursor.fetchall()]
    return heads, heads[-1].limit_key if len(heads) == KEYS else ""


def _probe_mysql(cursor: Any, queue: str, after: str) -> tuple[list[Head], str]:
    heads, end = list[Head](), monotonic() + FINDING
    while len(heads) < KEYS and (not heads or monotonic() < end):
        cursor.execute(
            f"SELECT limit_key, id, priority FROM {TABLE} FORCE INDEX (qorworker_job_claim)"  # noqa: S608
            " WHERE status = 'new' AND queue_name = %s AND BINARY queue_name = %s AND limit_key > %s"
            " ORDER BY limit_key, priority DESC, id LIMIT 1",
            [queue, queue, heads[-1].limit_key if heads else after],
        )
        row = cursor.fetchone()
        if row is None:
            return heads, ""
        heads.append(Head(queue, *row))
    return heads, heads[-1].limit_key


def best_of(using: str, heads: Iterable[Head], free_places: Mapping[str, Places], claim: Claim) -> dict[str, list[int]]:
    """Return the waiting jobs that come next, by key: the best for the free slots that come before any unlimited job.

    Without a free slot: the one that would come next.
    """
    slots = max(1, claim.slots)
    first = sorted(heads, key=lambda head: (-head.priority, head.id))[:slots]
    if not first:
        return {}
    lines: list[tuple[int, int, str]] = []
    for head in first:
        room = min(slots, free_places[head.limit_key].free)
        lines += [(-priority, pk, head.limit_key) for pk, priority in _line(using, head, room)]
    lines += [(-priority, pk, "") for pk, priority in _waiting_unlimited(using, claim, slots)]
    chosen: dict[str, list[int]] = {}
    for _, pk, limit_key in sorted(lines)[:slots]:
        if limit_key and len(ids := chosen.setdefault(limit_key, [])) < free_places[limit_key].free:
            ids.append(pk)
    return chosen


def _waiting_unlimited(using: str, claim: Claim, count: int) -> list[tuple[int, int]]:
    """Return id and priority of the best waiting jobs without limits, at most *count* of each queue."""
    connection = connections[using]
    if not claim.queues or not claim.names:
        return []
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            return waiting_unlimited_mysql(cursor, claim, count)
        best, params = best_waiting(connection, claim, count)
        cursor.execute(f"SELECT id, priority FROM ({best}) AS best", params)  # noqa: S608
        return list(cursor.fetchall())


def _line(using: str, head: Head, count: int) -> list[tuple[int, int]]:
    """Return id and priority of the best *count* waiting jobs of a key in a queue."""
    if count == 1:
        return [(head.id, head.priority)]
    mysql = connections[using].vendor == "mysql"
    hint, exactly = (" FORCE INDEX (qorworker_job_claim)", " AND BINARY queue_name = %s") if mysql else ("", "")
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT id, priority FROM {TABLE}{hint} WHERE status = 'new' AND queue_name = %s AND limit_key = %s"  # noqa: S608
            f"{exactly} ORDER BY priority DESC, id LIMIT {count}",
            [head.queue_name, head.limit_key, *([head.queue_name] if mysql else [])],
        )
        return list(cursor.fetchall())


def take(
    using: str, limit_key: str, limits: Limits, ids: Sequence[int], claim: Claim, *, early: bool = False
) -> list[Claimed]:
    """Claim those of these waiting jobs of a key that have a place. No other process claims from the key meanwhile.

    :param early: whether to claim jobs before their time, too.
    """
    connection = connections[using]
    if not _is_made(connection, limit_key):
        _make(connection, limit_key)
    with transaction.atomic(using=using), connection.cursor() as cursor:
        if not _lock(connection, cursor, limit_key):
            return []
        chosen = [pk for pk in ids if pk not in claim.but][: places(using, {limit_key: limits})[limit_key].free]
        if chosen and early:
            cursor.execute(
                f"UPDATE {TABLE} SET status = 'new' WHERE id IN ({marks(chosen)}) AND status = {WAITS}",  # noqa: S608
                chosen,
            )
        if not chosen:
            return []
        wanted = len(chosen)
        chosen = _free_rows(cursor, limit_key, claim, chosen) or _next_free(cursor, limit_key, claim, wanted)
        if not chosen:
            return []
        cursor.execute(
            f"UPDATE {TABLE} {ownership(connection, claim.process_id)} WHERE id IN ({marks(chosen)})",
            [claim.token, claim.lease, claim.worker_id, *chosen],
        )
        if limits.rate is not None:
            _note_starts(connection, cursor, limit_key, limits.rate.seconds, len(chosen))
        cursor.execute(f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} WHERE id IN ({marks(chosen)})", chosen)  # noqa: S608
        return [Claimed(*row) for row in cursor.fetchall()]


def _is_made(connection: BaseDatabaseWrapper, limit_key: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM qorworker_limit WHERE limit_key = %s", [limit_key])
        return cursor.fetchone() is not None


def _make(connection: BaseDatabaseWrapper, limit_key: str) -> None:
    values = f"INTO qorworker_limit (limit_key, used_at) VALUES (%s, {now_sql(connection)})"
    mysql = connection.vendor == "mysql"
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT IGNORE {values}" if mysql else f"INSERT {values} ON CONFLICT DO NOTHING", [limit_key])


def _lock(connection: BaseDatabaseWrapper, cursor: Any, limit_key: str) -> bool:
    """Reserve a key for this transaction, and return False if another transaction has it.

    This never waits: a process that was stopped in the middle must not stop others. The row is written, too. SQLite has
    no other lock; and where a transaction sees an old snapshot, a second one then fails instead of counting old rows.
    """
    if connection.vendor != "sqlite":
        cursor.execute("SELECT 1 FROM qorworker_limit WHERE limit_key = %s FOR UPDATE SKIP LOCKED", [limit_key])
        if cursor.fetchone() is None:
            return False
    cursor.execute(f"UPDATE qorworker_limit SET used_at = {now_sql(connection)} WHERE limit_key = %s", [limit_key])  # noqa: S608
    return True


def _free_rows(cursor: Any, limit_key: str, claim: Claim, ids: Sequence[int]) -> list[int]:
    """Return the jobs that still wait, that this code can run, and that no other transaction has locked."""
    connection = cursor.db
    known, versions = of_versions(connection, claim.versions)
    lock = "" if connection.vendor == "sqlite" else " FOR UPDATE SKIP LOCKED"
    hint = " FORCE INDEX (PRIMARY)" if connection.vendor == "mysql" else ""
    status = {"postgresql": "status || ''", "sqlite": "+status"}.get(connection.vendor, "status")
    cursor.execute(
        f"SELECT id, limit_key FROM {TABLE}{hint} WHERE id IN ({marks(ids)}) AND {status} = 'new'{known}{lock}",  # noqa: S608
        [*ids, *versions],
    )
    return [pk for pk, key in cursor.fetchall() if key == limit_key]


def _next_free(cursor: Any, limit_key: str, claim: Claim, count: int) -> list[int]:
    """Return those of the best waiting jobs of a key that no other transaction has locked, from the first queue."""
    mysql = cursor.db.vendor == "mysql"
    if cursor.db.vendor == "sqlite":  # which has no locks of rows
        return []
    hint, exactly = (" FORCE INDEX (qorworker_job_claim)", " AND BINARY queue_name = %s") if mysql else ("", "")
    known, versions = of_versions(cursor.db, claim.versions)
    others = f"{known} AND id NOT IN ({marks(claim.but)})" if claim.but else known
    for queue in claim.queues:
        cursor.execute(
            f"SELECT id FROM {TABLE}{hint} WHERE status = 'new' AND queue_name = %s AND limit_key = %s{exactly}{others}"  # noqa: S608
            f" ORDER BY priority DESC, id LIMIT {count} FOR UPDATE SKIP LOCKED",
            [queue, limit_key, *([queue] if mysql else []), *versions, *claim.but],
        )
        if rows := cursor.fetchall():
            return [pk for (pk,) in rows]
    return []


def _note_starts(connection: BaseDatabaseWrapper, cursor: Any, limit_key: str, seconds: float, count: int) -> None:
    """Record *count* starts, and delete those that are out of the period."""
    now = now_sql(connection)
    cursor.execute(
        f"DELETE FROM qorworker_limitstart WHERE limit_key = %s AND started_at <= {now_sql(connection, '%s')}",  # noqa: S608
        [limit_key, -seconds],
    )
    rows = ", ".join([f"(%s, {now})"] * count)
    cursor.execute(f"INSERT INTO qorworker_limitstart (limit_key, started_at) VALUES {rows}", [limit_key] * count)  # noqa: S608
