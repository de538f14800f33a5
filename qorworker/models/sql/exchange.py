"""One round of a worker with the database: what became of its attempts goes out, the next jobs come in. Parent process.

All or nothing, in one transaction; on PostgreSQL in one statement, because each takes a journey of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.sql import attempts, claims
from qorworker.models.sql.attempts import AttemptUpdate, note_columns
from qorworker.models.sql.claims import Claim, Claimed
from qorworker.models.sql.inserts import insert, insert_from
from qorworker.models.sql.parts import BATCH, TABLE, fetch, marks
from qorworker.models.story import Attempt

Note = Sequence[Any]  # of an attempt that has ended, in the order of ``note_columns``


@dataclass(slots=True)
class Exchange:
    """What came of it. A job that is neither in ``ours`` nor in ``busy`` is no longer with its attempt."""

    ours: set[int] = field(default_factory=set)  # ids of the jobs that are written
    busy: set[int] = field(default_factory=set)  # not written: somebody else has the row locked
    claimed: list[Claimed] = field(default_factory=list)  # best first


def exchange(
    using: str, updates: Sequence[AttemptUpdate], notes: Sequence[Note] = (), wanted: Claim | None = None
) -> Exchange:
    """Bring attempts up to date or end them, note those that have ended, and take jobs.

    Moves jobs into and out of ``running``. An attempt whose token was taken away is left out, and its note too.
    Each job goes to one worker only, however many ask. Raises ``ValueError`` for updates that cannot be.
    """
    connection, result = connections[using], Exchange()
    by_id = {update.id: update for update in attempts.checked(updates)}
    wanted = wanted and wanted.sensible()
    steps = _batches(list(by_id.values())) or ([[]] if wanted else [])
    one_statement = connection.vendor == "postgresql" and len(steps) == 1
    with nullcontext() if one_statement else transaction.atomic(using=using, savepoint=False):
        for step in steps:
            ids = {update.id for update in step}
            mine = [note for note in notes if note[0] in ids]
            written, claimed = _take(connection, step, mine, wanted if step is steps[-1] else None)
            for pk, status in written:
                by_id[pk].status = status
            result.ours.update(pk for pk, _ in written)
            result.claimed += claimed
        if missing := [update for update in by_id.values() if update.id not in result.ours]:
            result.busy = _still_held(connection, missing)
    result.claimed.sort(key=claims.rank)
    return result


def claim(using: str, wanted: Claim) -> list[Claimed]:
    """Take jobs for a worker, best first."""
    return exchange(using, (), wanted=wanted).claimed


def _batches(updates: list[AttemptUpdate]) -> list[list[AttemptUpdate]]:
    return [updates[start : start + BATCH] for start in range(0, len(updates), BATCH)]


def _take(
    connection: BaseDatabaseWrapper, updates: list[AttemptUpdate], notes: list[Note], wanted: Claim | None
) -> tuple[list[tuple[int, str]], list[Claimed]]:
    """One batch: id and status of what was written, and the jobs that were taken."""
    if connection.vendor == "postgresql":
        return _in_one_statement(connection, updates, notes, wanted)
    mysql = connection.vendor == "mysql"
    written: list[tuple[int, str]] = []
    claimed: list[Claimed] = []
    if updates and mysql:
        written = attempts.update_mysql(connection, updates)
    elif updates:
        written = [(pk, status) for pk, status in fetch(connection, *attempts.update_sqlite(connection, updates))]
    ours = {pk for pk, _ in written}
    insert(connection.alias, Attempt, note_columns(connection), [note for note in notes if note[0] in ours])
    if wanted and mysql:
        claimed = claims.claim_mysql(connection, wanted)
    elif wanted:
        claimed = [Claimed(*row) for row in fetch(connection, *claims.claim_statement(connection, wanted))]
    return written, claimed


def _in_one_statement(
    connection: BaseDatabaseWrapper, updates: list[AttemptUpdate], notes: list[Note], wanted: Claim | None
) -> tuple[list[tuple[int, str]], list[Claimed]]:
    parts: list[str] = []
    asked: list[str] = []
    params: list[Any] = []

    def add(name: str, statement: tuple[str, list[Any]]) -> None:
        parts.append(f"{name} AS ({statement[0]})")
        params.extend(statement[1])

    if wanted:
        add("claimed", claims.claim_statement(connection, wanted))
        asked.append("SELECT claimed.* FROM claimed")
    if updates:
        add("written", attempts.update_postgresql(connection, updates))
        # The status stands where a claimed job has its name; none of those is without a priority.
        filling = ", NULL" * (len(fields(Claimed)) - 3) if wanted else ""
        asked.append(f"SELECT id, NULL, status{filling} FROM written")  # noqa: S608
    if notes:
        ours = "(value ->> 0)::bigint IN (SELECT id FROM written)"
        add("noted", insert_from(connection.alias, Attempt, note_columns(connection), notes, ours))
    rows = fetch(connection, f"WITH {', '.join(parts)} {' UNION ALL '.join(asked)}", params)
    written = [(row[0], row[2]) for row in rows if row[1] is None]
    return written, [Claimed(*row) for row in rows if row[1] is not None]


def _still_held(connection: BaseDatabaseWrapper, updates: list[AttemptUpdate]) -> set[int]:
    """Jobs that were not written although they are with that attempt: their rows are locked."""
    if connection.vendor == "sqlite":
        return set()
    held: set[int] = set()
    for step in _batches(updates):
        tokens = {update.id: update.token for update in step}
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, attempt_token FROM {TABLE} WHERE id IN ({marks(tokens)})",  # noqa: S608
                list(tokens),
            )
            held.update(pk for pk, token in cursor.fetchall() if token == tokens[pk])
    return held
