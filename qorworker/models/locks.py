"""Locks that other transactions hold, and rows that they have written meanwhile. All processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import ceil
from typing import Any, TypeVar

from django.db import Error, OperationalError, connections, transaction

# MariaDB has no limit for one transaction, so the session's own is kept and comes back.
MYSQL = "SET @qorworker_lock_wait = @@SESSION.innodb_lock_wait_timeout, SESSION innodb_lock_wait_timeout = 1"
# A limit that the project has set stays.
POSTGRESQL_IDLE = """
    SELECT set_config('idle_in_transaction_session_timeout', '{0}s', true)
    WHERE current_setting('idle_in_transaction_session_timeout') = '0'
"""
MARIADB_IDLE = """
    SET @qorworker_idle = @@SESSION.idle_transaction_timeout,
    SESSION idle_transaction_timeout = COALESCE(NULLIF(@@SESSION.idle_transaction_timeout, 0), {0})
"""
MARIADB_IDLE_AS_BEFORE = "SET SESSION idle_transaction_timeout = @qorworker_idle"
# PostgreSQL's and MariaDB's numbers of errors.
IN_VAIN = {"55P03", 1205}
OVERTAKEN = {"40001", "40P01", 1020, 1213}
TRIES = 50  # a job may write its row again and again, in one transaction after the other
R = TypeVar("R")


@contextmanager
def short_waits(using: str) -> Iterator[None]:
    """Make statements of a transaction wait for a lock for one second at most, then raise ``OperationalError``."""
    connection = connections[using]
    mysql = connection.vendor == "mysql"
    if connection.vendor == "sqlite":  # has one lock for all writers
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(MYSQL if mysql else "SET LOCAL lock_timeout = '1s'")
    try:
        yield
    finally:
        if mysql:
            _execute(connection, "SET SESSION innodb_lock_wait_timeout = @qorworker_lock_wait")


@contextmanager
def limited_idling(using: str, seconds: float) -> Iterator[Callable[[], None]]:
    """Around a transaction: yield what it calls before it locks a row that others need, with only its commit to follow.

    From then on the server rolls it back if it hears nothing for so many *seconds*: a process that stands still, or
    whose machine is gone, would keep its locks for hours. A transaction inside of another one has no limit, nor has one
    on MySQL or SQLite, which cannot do that.
    """
    connection: Any = connections[using]
    is_limited = False

    def limit() -> None:
        nonlocal is_limited
        statement = _idle_limit(connection)
        if statement and len(connection.atomic_blocks) == 1:
            _execute(connection, statement.format(ceil(seconds)))
            is_limited = True

    try:
        yield limit
    finally:
        if is_limited and connection.vendor == "mysql" and connection.connection is not None:
            with suppress(Error):  # the session is gone, and its settings with it
                _execute(connection, MARIADB_IDLE_AS_BEFORE)


@contextmanager
def limited_transaction(using: str, seconds: float) -> Iterator[None]:
    """Open a transaction that does nothing but lock and write rows that others need, with that limit from the start."""
    with limited_idling(using, seconds) as limit, transaction.atomic(using=using):
        limit()
        yield


def _idle_limit(connection: Any) -> str:
    if connection.vendor == "postgresql":
        return POSTGRESQL_IDLE
    return MARIADB_IDLE if connection.vendor == "mysql" and connection.mysql_is_mariadb else ""


def _execute(connection: Any, statement: str) -> None:
    """Execute a statement that is none of the job's, past what counts those and what refuses them after a failure."""
    with connection.wrap_database_errors, connection.connection.cursor() as cursor:
        cursor.execute(statement)


def waited_in_vain(error: Error) -> bool:
    """Return whether an error means that a lock was not available in time."""
    return bool(IN_VAIN & _numbers(error))


def was_overtaken(error: Error) -> bool:
    """Return whether an error means that another transaction was faster, so that this one must begin again."""
    return bool(OVERTAKEN & _numbers(error))


def begin_again(work: Callable[[], R], using: str) -> R:
    """Return ``work()``, which is a transaction. It begins again if another one was faster to write one of its rows.

    Inside a larger transaction, which cannot go on then, it raises that error at once.
    """
    for _try in range(TRIES):
        try:
            return work()
        except OperationalError as error:
            if not was_overtaken(error) or connections[using].in_atomic_block:
                raise
    return work()


def keeps_snapshot(using: str) -> bool:
    """Return whether the open transaction sees rows as they were at its first query, and can write no newer ones.

    On PostgreSQL to ask this is no such query.
    """
    connection: Any = connections[using]
    if connection.vendor == "postgresql":  # the server or the role may have a default of its own
        with connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            return bool(cursor.fetchone()[0] in ("repeatable read", "serializable"))
    return bool(connection.vendor == "mysql" and connection.isolation_level != "read committed")


def _numbers(error: Error) -> set[Any]:
    return {getattr(error.__cause__, "sqlstate", None), *error.args[:1]}
