"""Writes that must not wait long for another transaction's lock. All processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connections

# MariaDB has no limit for one transaction, so the session's own is kept and comes back.
MYSQL = "SET @qorworker_lock_wait = @@SESSION.innodb_lock_wait_timeout, SESSION innodb_lock_wait_timeout = 1"
IN_VAIN = {"55P03", 1205}  # PostgreSQL's and MariaDB's number of the error


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
            # Django's own cursor refuses what follows a failure inside a transaction.
            with connection.wrap_database_errors, connection.connection.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = @qorworker_lock_wait")


def waited_in_vain(error: Error) -> bool:
    """Return whether an error means that a lock was not available in time."""
    return bool(IN_VAIN & {getattr(error.__cause__, "sqlstate", None), *error.args[:1]})
