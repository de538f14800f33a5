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
from qorworker.models.sql import attempts, claims, plain_ends
from qorworker.models.sql.attempts import AttemptNote, AttemptUpdate, note_columns
from qorworker.models.sql.claims import Claim, Claimed
from qorworker.models.sql.claims_mysql import claim_mysql
from qorworker.models.sql.inserts import insert, insert_from
from qorworker.models.sql.parts import BATCH, TABLE, Written, fetch, marks, portions, weight
from qorworker.models.sql.plain_ends import PlainEnd


@dataclass(slots=True)
class Exchange:
    """The result of an exchange. A job that is neither in ``ours`` nor in ``busy`` no longer belongs to its attempt."""

    ours: set[int] = field(default_factory=set)  # ids of the jobs that are written
    busy: set[int] = field(default_factory=set)  # not written: another transaction has locked the row
    parents: set[int] = field(default_factory=set)  # those of ``ours`` for which other jobs wait, or have waited
    claimed: list[Claimed] = field(default_factory=list)  # best first


def exchange(
    using: str,
    updates: Sequence[AttemptUpdate],
    notes: Sequence[AttemptNote] = (),
    claim: Claim | None = None,
    plain: Sequence[PlainEnd] = (),
) -> Exchange:
    """Update attempts or end them, record those that have ended, and claim jobs.

    This moves jobs into and out of ``running``. Each job goes to one worker only, however many claim.

    :param updates: one for each attempt. If another attempt owns the job by now, its update and its note are left out.
    :param notes: the attempts among them that have ended.
    :param claim: which jobs to claim; None: none.
    :param plain: more attempts that have ended, of one worker. They have no update and no note.
    :raises ValueError: for two updates of one job, and for a status that a running job cannot get.
    """
    connection, result = connections[using], Exchange()
    by_id = {update.id: update for update in attempts.checked(updates)}
    if plain and any(end.id in by_id for end in plain):
        raise ValueError("A job can be in a batch only once.")
    steps = _steps(connection, list(by_id.values()), notes, claim and claim.sensible(), sorted(plain))
    one_statement = connection.vendor == "postgresql" and len(steps) == 1
    with nullcontext() if one_statement else transaction.atomic(using=using, savepoint=False):
        for step in steps:
            written, claimed = _take(connection, step)
            for pk, status, has_dependents in written:
                if pk in by_id:
                    by_id[pk].status = status
                if has_dependents:
                    result.parents.add(pk)
            result.ours.update(pk for pk, *_ in written)
            result.claimed += claimed
        everything: list[AttemptUpdate | PlainEnd] = [*by_id.values(), *plain]
        if missing := [each for each in everything if each.id not in result.ours]:
            try:
                result.busy = _still_held(connection, missing)
            except Error:
                if not one_statement or connection.in_atomic_block:
                    raise
                # The statement above is committed, and its answer must not get lost: these have another turn.
                result.busy = {each.id for each in missing}
    result.claimed.sort(key=claims.rank)
    return result


@dataclass(slots=True)
class Step:
    """What one statement takes."""

    updates: Sequence[AttemptUpdate] = ()
    notes: Sequence[AttemptNote] = ()
    plain: Sequence[PlainEnd] = ()
    claim: Claim | None = None


def _steps(
    connection: BaseDatabaseWrapper,
    updates: list[AttemptUpdate],
    notes: Sequence[AttemptNote],
    claim: Claim | None,
    plain: list[PlainEnd],
) -> list[Step]:
    """Return everything in portions, with the claim in the last one."""
    weights = {note.job_id: weight(note) for note in notes}
    steps = []
    for some in portions(connection, updates, lambda each: each.weight + weights.get(each.id, 0)):
        ids = {update.id for update in some}
        steps.append(Step(some, [note for note in notes if note.job_id in ids]))
    for number, start in enumerate(range(0, len(plain), plain_ends.BATCH)):
        if number or not steps:
            steps.append(Step())
        steps[-1].plain = plain[start : start + plain_ends.BATCH]
    if claim and not steps:
        steps.append(Step())
    if claim:
        steps[-1].claim = claim
    return steps


def claim(using: str, claim: Claim) -> list[Claimed]:
    """Claim jobs for a worker, and return them, the best first."""
    return exchange(using, (), claim=claim).claimed


def _take(connection: BaseDatabaseWrapper, step: Step) -> tuple[list[Written], list[Claimed]]:
    """Send one batch, and return what was written, and the jobs that were claimed."""
    if connection.vendor == "postgresql":
        return _in_one_statement(connection, step)
    mysql, claim = connection.vendor == "mysql", step.claim
    written: list[Written] = []
    claimed: list[Claimed] = []
    if step.updates and mysql:
        written = attempts.update_mysql(connection, step.updates)
    elif step.updates:
        written = [Written(*row) for row in fetch(connection, *attempts.update_sqlite(connection, step.updates))]
    ours = {each.id for each in written}
    insert(connection.alias, Attempt, note_columns(connection), [note for note in step.notes if note.job_id in ours])
    if step.plain:
        end = plain_ends.end_mysql if mysql else plain_ends.end_sqlite
        written += end(connection, step.plain)
    if claim and mysql:
        claimed = claim_mysql(connection, claim)
    elif claim:
        claimed = [Claimed(*row) for row in fetch(connection, *claims.claim_statement(connection, claim))]
    return written, claimed


def _in_one_statement(connection: BaseDatabaseWrapper, step: Step) -> tuple[list[Written], list[Claimed]]:
    updates, notes, claim = step.updates, step.notes, step.claim
    parts: list[str] = []
    selects: list[str] = []
    params: list[Any] = []

    def add(name: str, statement: tuple[str, list[Any]]) -> None:
        parts.append(f"{name} AS ({statement[0]})")
        params.extend(statement[1])

    if claim:
        add("claimed", claims.claim_statement(connection, claim))
        selects.append("SELECT claimed.* FROM claimed")
    # Status and dependents are in the columns of name and queue. A row without a priority is a written one.
    filling = ", NULL" * (len(claims.COLUMNS) - 4) if claim else ""
    has_dependents = "CASE WHEN has_dependents THEN '1' ELSE '' END"
    if updates:
        add("written", attempts.update_postgresql(connection, updates))
        selects.append(f"SELECT id, NULL::integer, status, {has_dependents}{filling} FROM written")  # noqa: S608
    if step.plain:
        named, values = plain_ends.parts_postgresql(connection, step.plain)
        parts.extend(f"{name} AS ({sql})" for name, sql in named.items())
        params.extend(values)
        selects.append(f"SELECT id, NULL::integer, 'done', {has_dependents}{filling} FROM plain")  # noqa: S608
    if notes:
        ours = f"(value ->> {AttemptNote._fields.index('job_id')})::bigint IN (SELECT id FROM written)"  # noqa: S608
        add("noted", insert_from(connection.alias, Attempt, note_columns(connection), notes, ours))
    rows = fetch(connection, f"WITH {', '.join(parts)} {' UNION ALL '.join(selects)}", params)
    written = [Written(row[0], *row[2:4]) for row in rows if row[1] is None]
    return written, [Claimed(*row) for row in rows if row[1] is not None]


def _still_held(connection: BaseDatabaseWrapper, updates: Sequence[AttemptUpdate | PlainEnd]) -> set[int]:
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
