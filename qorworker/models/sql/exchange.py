"""One round of a worker with the database: ends of attempts go out, claimed jobs come in. All processes that run jobs.

It is one transaction; on PostgreSQL one statement, because each statement takes a round trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.attempt import Attempt
from qorworker.models.sql import attempts, claims
from qorworker.models.sql.attempts import AttemptNote, AttemptUpdate, note_columns
from qorworker.models.sql.claims import Claim, Claimed
from qorworker.models.sql.claims_mysql import claim_mysql
from qorworker.models.sql.inserts import insert, insert_from
from qorworker.models.sql.parts import BATCH, TABLE, fetch, marks, portions, weight


@dataclass(slots=True)
class Exchange:
    """The result of an exchange. A job that is neither in ``ours`` nor in ``busy`` no longer belongs to its attempt."""

    ours: set[int] = field(default_factory=set)  # ids of the jobs that are written
    busy: set[int] = field(default_factory=set)  # not written: another transaction has locked the row
    claimed: list[Claimed] = field(default_factory=list)  # best first


def exchange(
    using: str, updates: Sequence[AttemptUpdate], notes: Sequence[AttemptNote] = (), claim: Claim | None = None
) -> Exchange:
    """Update attempts or end them, record those that have ended, and claim jobs.

    This moves jobs into and out of ``running``. Each job goes to one worker only, however many claim.

    :param updates: one for each attempt. If another attempt owns the job by now, its update and its note are left out.
    :param notes: the attempts among them that have ended.
    :param claim: which jobs to claim; None: none.
    :raises ValueError: for two updates of one job, and for a status that a running job cannot get.
    """
    connection, result = connections[using], Exchange()
    by_id = {update.id: update for update in attempts.checked(updates)}
    claim = claim and claim.sensible()
    weights = {note.job_id: weight(note) for note in notes}
    steps = list(portions(connection, list(by_id.values()), lambda each: each.weight + weights.get(each.id, 0)))
    if claim and not steps:
        steps = [[]]
    one_statement = connection.vendor == "postgresql" and len(steps) == 1
    with nullcontext() if one_statement else transaction.atomic(using=using, savepoint=False):
        for step in steps:
            ids = {update.id for update in step}
            noted = [note for note in notes if note.job_id in ids]
            written, claimed = _take(connection, step, noted, claim if step is steps[-1] else None)
            for pk, status in written:
                by_id[pk].status = status
            result.ours.update(pk for pk, _ in written)
            result.claimed += claimed
        if missing := [update for update in by_id.values() if update.id not in result.ours]:
            try:
                result.busy = _still_held(connection, missing)
            except Error:
                if not one_statement or connection.in_atomic_block:
                    raise
                # The statement above is committed, and its answer must not get lost: these have another turn.
                result.busy = {update.id for update in missing}
    result.claimed.sort(key=claims.rank)
    return result


def claim(using: str, claim: Claim) -> list[Claimed]:
    """Claim jobs for a worker, and return them, the best first."""
    return exchange(using, (), claim=claim).claimed


def _take(
    connection: BaseDatabaseWrapper, updates: list[AttemptUpdate], notes: list[AttemptNote], claim: Claim | None
) -> tuple[list[tuple[int, str]], list[Claimed]]:
    """Send one batch, and return id and status of the jobs that were written, and the jobs that were claimed."""
    if connection.vendor == "postgresql":
        return _in_one_statement(connection, updates, notes, claim)
    mysql = connection.vendor == "mysql"
    written: list[tuple[int, str]] = []
    claimed: list[Claimed] = []
    if updates and mysql:
        written = attempts.update_mysql(connection, updates)
    elif updates:
        written = [(pk, status) for pk, status in fetch(connection, *attempts.update_sqlite(connection, updates))]
    ours = {pk for pk, _ in written}
    insert(connection.alias, Attempt, note_columns(connection), [note for note in notes if note.job_id in ours])
    if claim and mysql:
        claimed = claim_mysql(connection, claim)
    elif claim:
        claimed = [Claimed(*row) for row in fetch(connection, *claims.claim_statement(connection, claim))]
    return written, claimed


def _in_one_statement(
    connection: BaseDatabaseWrapper, updates: list[AttemptUpdate], notes: list[AttemptNote], claim: Claim | None
) -> tuple[list[tuple[int, str]], list[Claimed]]:
    parts: list[str] = []
    selects: list[str] = []
    params: list[Any] = []

    def add(name: str, statement: tuple[str, list[Any]]) -> None:
        parts.append(f"{name} AS ({statement[0]})")
        params.extend(statement[1])

    if claim:
        add("claimed", claims.claim_statement(connection, claim))
        selects.append("SELECT claimed.* FROM claimed")
    if updates:
        add("written", attempts.update_postgresql(connection, updates))
        # The status is in the column of the name. A row without a priority is a written one.
        filling = ", NULL" * (len(claims.COLUMNS) - 3) if claim else ""
        selects.append(f"SELECT id, NULL, status{filling} FROM written")  # noqa: S608
    if notes:
        ours = f"(value ->> {AttemptNote._fields.index('job_id')})::bigint IN (SELECT id FROM written)"  # noqa: S608
        add("noted", insert_from(connection.alias, Attempt, note_columns(connection), notes, ours))
    rows = fetch(connection, f"WITH {', '.join(parts)} {' UNION ALL '.join(selects)}", params)
    written = [(row[0], row[2]) for row in rows if row[1] is None]
    return written, [Claimed(*row) for row in rows if row[1] is not None]


def _still_held(connection: BaseDatabaseWrapper, updates: list[AttemptUpdate]) -> set[int]:
    """Return jobs that were not written although they belong to that attempt: their rows are locked."""
    if connection.vendor == "sqlite":
        return set()
    held: set[int] = set()
    for start in range(0, len(updates), BATCH):
        step = updates[start : start + BATCH]
        tokens = {update.id: update.token for update in step}
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, attempt_token FROM {TABLE} WHERE id IN ({marks(tokens)})",  # noqa: S608
                list(tokens),
            )
            held.update(pk for pk, token in cursor.fetchall() if token == tokens[pk])
    return held
