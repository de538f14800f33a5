"""Writes that must not wait for somebody else's transaction for long. Parent process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connections

IN_VAIN = {"55P03", 1205}  # PostgreSQL's and MariaDB's number of the error


@contextmanager
def short_waits(using: str) -> Iterator[None]:
    """Inside a transaction: a lock is waited for no longer than a second, then ``OperationalError``."""
    connection = connections[using]
    mysql = connection.vendor == "mysql"
    if connection.vendor == "sqlite":  # has one lock for all, which is held by whoever writes
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 1" if mysql else "SET LOCAL lock_timeout = '1s'")
    try:
        yield
    finally:
        if mysql:
            # Django's own cursor refuses what follows a failure inside a transaction.
            with connection.wrap_database_errors, connection.connection.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = DEFAULT")


def waited_in_vain(error: Error) -> bool:
    """Whether a lock was not to be had in time."""
    return bool(IN_VAIN & {getattr(error.__cause__, "sqlstate", None), *error.args[:1]})
