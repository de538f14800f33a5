"""How waiting jobs become running ones. Each goes to one worker, however many claim. All processes that run jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.models.clock import now_sql
from qorworker.models.sql.parts import TABLE, fetch, marks


@dataclass(slots=True)
class Claimed:
    """What a worker needs to know of a job that it has claimed. The fields are columns, in the order of the query."""

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
    limit_key: str = ""  # jobs with the same key share their limits
    has_dependents: bool = False  # other jobs wait for it
    batch_id: int | None = None  # the batch to which it belongs
    is_dry_run: bool = False
    version: int = 1  # of its type when it was stored
    is_trusted: bool = False  # no column: requested from a shell, so no user's rights are checked again


_EXPRESSIONS = {"token": "attempt_token", "created_by": "created_by_id", "has_waited": "run_after > enqueued_at"}
COLUMNS = [field.name for field in fields(Claimed) if field.name != "is_trusted"]
CLAIMED_COLUMNS = ", ".join(_EXPRESSIONS.get(name, name) for name in COLUMNS)


class Position(NamedTuple):
    """Where a job without limits waits in the index of the claim."""

    queue_name: str
    priority: int
    id: int


class Stretch(NamedTuple):
    """A part of the walk along the index of the claim: the waiting jobs of a queue with these priorities and ids."""

    high: int  # the priorities, both included
    low: int
    first: int = 0  # the id from which on


WHOLE = (Stretch(2**31 - 1, -(2**31)),)


@dataclass(frozen=True, slots=True)
class Claim:
    """Which jobs to claim: the best ``limit`` of these queues and names, by priority, then by age.

    The first ``slots`` of them are claimed in any case. Those after that are claimed only while all jobs before them
    may wait in the memory of a process: jobs with more than one attempt, of a type in ``short``.
    """

    worker_id: int | None
    token: str
    lease: float  # seconds
    queues: Sequence[str] = ()
    names: Sequence[str] = ()
    versions: Sequence[str] = ()  # labels of the versions above the first that may be claimed
    slots: int = 1
    limit: int = 1
    short: Collection[str] = ()
    process_id: int | None = None  # of the process that runs them, if that is decided already
    but: Sequence[int] = ()  # ids of jobs to leave out
    stretches: Mapping[str, Sequence[Stretch]] = field(default_factory=dict)  # of a queue, best first; else all of it
    returned: Sequence[int] = ()  # ids of jobs in these queues that no stretch has

    def sensible(self) -> Claim | None:
        """Return the claim as it is sent, or None if it could not get a job. No more rows are locked than needed."""
        limit = self.limit if self.short else min(self.slots, self.limit)
        return replace(self, limit=limit) if self.queues and self.names and limit > 0 else None


class Heads(NamedTuple):
    """What waits in a queue."""

    limited: bool = False  # whether a job of a limited type does
    first: Mapping[int, int] = {}  # priority to id of the first unlimited job; only where claims begin there


def has_dead_entries(using: str) -> bool:
    """Whether the index keeps the entries of jobs that were claimed, as long as an older transaction may see them."""
    return connections[using].vendor in ("postgresql", "mysql")


def queues_with_jobs(using: str, *, to_claim: bool = False) -> dict[str, Heads]:
    """Return the queues in which a job waits.

    A few index probes for each queue, however many jobs wait.

    :param to_claim: whether to find their first jobs, too, where claims begin there.
    """
    connection = connections[using]
    if connection.vendor == "postgresql":
        return _heads_postgresql(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            return _probe_mysql(cursor, to_claim)
        first = f"SELECT queue_name FROM {TABLE} WHERE status = 'new'"  # noqa: S608
        cursor.execute(
            f"""WITH RECURSIVE queue(name) AS (
                SELECT ({first} ORDER BY queue_name LIMIT 1)
                UNION ALL
                SELECT ({first} AND queue_name > queue.name ORDER BY queue_name LIMIT 1)
                FROM queue WHERE queue.name IS NOT NULL
            ) SELECT name, ({first} AND queue_name = queue.name AND limit_key > '' ORDER BY limit_key LIMIT 1)
            FROM queue WHERE name IS NOT NULL"""  # noqa: S608
        )
        return {name: Heads(limited is not None) for name, limited in cursor.fetchall()}


def _heads_postgresql(connection: BaseDatabaseWrapper) -> dict[str, Heads]:
    """Go from the first job of a priority to that of the next, then to one with a limit, then to the next queue.

    So no entry is passed twice, not even one of a job that no longer waits.
    """
    job = f"SELECT queue_name, limit_key, priority, id FROM {TABLE} WHERE status = 'new'"  # noqa: S608
    rows = fetch(
        connection,
        f"""WITH RECURSIVE head(queue, limit_key, priority, id) AS (
            ({job} ORDER BY queue_name, limit_key, priority DESC, id LIMIT 1)
            UNION ALL
            SELECT following.* FROM head, LATERAL (
                ({job} AND queue_name = head.queue AND limit_key = '' AND head.limit_key = ''
                AND priority < head.priority ORDER BY priority DESC, id LIMIT 1)
                UNION ALL
                ({job} AND queue_name = head.queue AND limit_key > '' AND head.limit_key = ''
                ORDER BY limit_key, priority DESC, id LIMIT 1)
                UNION ALL
                ({job} AND queue_name > head.queue ORDER BY queue_name, limit_key, priority DESC, id LIMIT 1)
                LIMIT 1
            ) AS following
        ) SELECT queue, limit_key > '', priority, id FROM head""",  # noqa: S608
        [],
    )
    queues: dict[str, Heads] = {}
    for queue, limited, priority, pk in rows:
        heads = queues.get(queue, Heads())
        queues[queue] = Heads(True, heads.first) if limited else Heads(False, {**heads.first, priority: pk})
    return queues


def _probe_mysql(cursor: Any, to_claim: bool) -> dict[str, Heads]:
    # Inside a recursive query this would read the entries of all waiting jobs for each queue.
    queues: dict[str, Heads] = {}
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
            return queues
        queues[name] = Heads(bool(limited), _first_mysql(cursor, name) if to_claim else {})


def _first_mysql(cursor: Any, queue: str) -> dict[int, int]:
    """Return the id of the first unlimited job of each priority."""
    job = (
        f"SELECT priority, id FROM {TABLE} FORCE INDEX (qorworker_job_claim) WHERE status = 'new'"  # noqa: S608
        " AND queue_name = %s AND BINARY queue_name = %s AND limit_key = '' AND priority < %s"
        " ORDER BY priority DESC, id LIMIT 1"
    )
    first: dict[int, int] = {}
    below = WHOLE[0].high
    while True:
        cursor.execute(job, [queue, queue, below])
        row = cursor.fetchone()
        if row is None:
            return first
        below, first[row[0]] = row


def rank(job: Claimed) -> tuple[int, int]:
    """Return the sort key that puts the best job first."""
    return -job.priority, job.id


def claimed_with(using: str, tokens: Collection[str]) -> list[Claimed]:
    """Return the running jobs with these tokens, the best first: what a claim took although its answer was lost."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT {CLAIMED_COLUMNS} FROM {TABLE} WHERE status = 'running' AND attempt_token IN ({marks(tokens)})",  # noqa: S608
            list(tokens),
        )
        return sorted((Claimed(*row) for row in cursor.fetchall()), key=rank)


def ownership(connection: BaseDatabaseWrapper, process_id: int | None = None) -> str:
    """Return the SET clause that starts an attempt. Its parameters are the token, the lease and the worker."""
    now = now_sql(connection)
    return (
        f"SET status = 'running', attempt = attempt + 1, attempt_token = %s,"
        f" lease_expires_at = {now_sql(connection, '%s')}, worker_id = %s, process_id = {process_id or 'NULL'},"
        f" last_attempted_at = {now}, started_at = COALESCE(started_at, {now}),"
        f" progress = NULL, progress_text = '', error = '', abort_requested_at = NULL,"
        # Rows of earlier attempts count for one that goes on behind their checkpoint.
        " results_before = CASE WHEN checkpoint IS NULL THEN results_rows ELSE results_before END,"
        " results_errors = CASE WHEN checkpoint IS NULL THEN 0 ELSE results_errors END,"
        " results_columns = CASE WHEN checkpoint IS NULL THEN NULL ELSE results_columns END,"
        f" unique_place = CASE WHEN unique_among = 'waiting' THEN id ELSE unique_place END"
    )


def _others(claim: Claim) -> str:
    """Return the condition that leaves out the jobs in ``but``. Its parameters are their ids."""
    return f" AND id NOT IN ({marks(claim.but)})" if claim.but else ""


def _one_of(connection: BaseDatabaseWrapper, values: Sequence[str]) -> tuple[str, list[Any]]:
    """Return the condition that follows a column with one of *values*, and its parameters.

    For PostgreSQL it is the same however many they are, so the plan of the statement is kept.
    """
    if connection.vendor == "postgresql":
        return "= ANY(%s)", [list(values)]
    return f"IN ({marks(values)})", [*values]


def of_versions(connection: BaseDatabaseWrapper, versions: Sequence[str], name: str = "name") -> tuple[str, list[Any]]:
    """Return the condition that leaves rows of a newer version to code that has it, and its parameters.

    :param name: the column with the name of the job type.
    """
    if not versions and connection.vendor != "postgresql":
        return " AND version = 1", []
    mysql = connection.vendor == "mysql"
    label = f"BINARY CONCAT(version, ' ', {name})" if mysql else f"version || ' ' || {name}"
    is_known, params = _one_of(connection, versions)
    return f" AND (version = 1 OR {label} {is_known})", params


def best_waiting(connection: BaseDatabaseWrapper, claim: Claim, limit: int, lock: str = "") -> tuple[str, list[Any]]:
    """Return a query for the best *limit* waiting jobs of each queue: one walk of the claim's index for each."""
    if connection.vendor == "postgresql":
        return _best_postgresql(connection, claim, limit, lock)
    walks, params = [], []
    named, names = _one_of(connection, claim.names)
    known, versions = of_versions(connection, claim.versions)
    for number, queue in enumerate(claim.queues):
        walks.append(
            f"SELECT * FROM (SELECT id, priority, name, max_attempts FROM {TABLE}"  # noqa: S608
            f" WHERE status = 'new' AND queue_name = %s AND limit_key = '' AND name {named}"
            f"{known}{_others(claim)} ORDER BY priority DESC, id LIMIT {limit}) AS walk{number}"
        )
        params += [queue, *names, *versions, *claim.but]
    return " UNION ALL ".join(walks), params


def _best_postgresql(connection: BaseDatabaseWrapper, claim: Claim, limit: int, lock: str) -> tuple[str, list[Any]]:
    # Entries of jobs that no longer wait stay in the index while any transaction is older, and each has to be looked
    # up in the table. So a walk begins at the first entry of each stretch, one stretch after the other, and only until
    # it has enough. A single priority is a range, too: ordered by id alone, the primary key would do as an index.
    known, versions = of_versions(connection, claim.versions)
    job = f"SELECT id, priority, name, max_attempts FROM {TABLE} WHERE"  # noqa: S608
    query = (
        f"SELECT walk.* FROM unnest(%s::text[]) AS queue(name), LATERAL (SELECT line.* FROM"  # noqa: S608
        f" unnest(%s::text[], %s::int[], %s::int[], %s::bigint[]) AS stretch(queue, high, low, first), LATERAL ({job}"
        " status = 'new' AND queue_name = stretch.queue AND limit_key = '' AND priority <= stretch.high"
        f" AND priority >= stretch.low AND id >= stretch.first AND name = ANY(%s){known}{_others(claim)}"
        f" ORDER BY priority DESC, id LIMIT {limit}{lock}) AS line"
        f" WHERE stretch.queue = queue.name LIMIT {limit}) AS walk"
    )
    parts = [(queue, stretch) for queue in claim.queues for stretch in claim.stretches.get(queue, WHOLE)]
    bounds = [_array([stretch[column] for _, stretch in parts]) for column in range(3)]
    wanted = [list(claim.names), *versions, *claim.but]
    params: list[Any] = [list(claim.queues), [queue for queue, _ in parts], *bounds, *wanted]
    if claim.returned:
        # Without ALL: if the priority of a returned job has changed, it may be on a walk, too.
        query += (
            f" UNION SELECT * FROM ({job} id = ANY(%s::bigint[]) AND status || '' = 'new' AND queue_name = ANY(%s)"  # noqa: S608
            f" AND limit_key = '' AND name = ANY(%s){known}{_others(claim)}{lock}) AS returned"
        )
        params += [_array(claim.returned), list(claim.queues), *wanted]
    return query, params


def _array(numbers: Sequence[int]) -> str:
    """Return an array of PostgreSQL. A list would be sent as the type that fits, and each is a plan of its own."""
    return f"{{{','.join(map(str, numbers))}}}"


def claim_statement(connection: BaseDatabaseWrapper, claim: Claim) -> tuple[str, list[Any]]:
    """Return a statement, and its parameters, that claims jobs and returns their ``CLAIMED_COLUMNS``.

    For PostgreSQL and SQLite. Numbers of LIMIT are no parameters: a plan made without them may read every waiting row.
    """
    postgresql = connection.vendor == "postgresql"
    best, params = best_waiting(connection, claim, claim.limit, " FOR UPDATE SKIP LOCKED" if postgresql else "")
    may_wait, short = _one_of(connection, sorted(claim.short)) if claim.short else ("", [])
    waits = f"max_attempts > 1 AND name {may_wait}" if claim.short else "1 = 0"
    ranked = (
        "SELECT id, ROW_NUMBER() OVER (ORDER BY priority DESC, id) AS place,"  # noqa: S608
        f" SUM(CASE WHEN {waits} THEN 0 ELSE 1 END) OVER (ORDER BY priority DESC, id) AS must_start"
        f" FROM ({best}) AS best"
    )
    chosen = (
        f"SELECT id FROM ({ranked}) AS ranked"  # noqa: S608
        f" WHERE place <= {claim.limit} AND (place <= {claim.slots} OR must_start = 0)"
    )
    # Each id must be looked up by primary key, whatever the statistics say. An array has a fixed length, and the
    # second check of the status fits no index, or all waiting rows would be read for it.
    if postgresql:
        condition = f"id = ANY(ARRAY({chosen})) AND status || '' = 'new'"
    else:
        condition = f"id IN ({chosen}) AND +status = 'new'"
    return (
        f"UPDATE {TABLE} {ownership(connection)} WHERE {condition} RETURNING {CLAIMED_COLUMNS}",
        [claim.token, claim.lease, claim.worker_id, *short, *params],
    )
