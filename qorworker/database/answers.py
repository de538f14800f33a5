"""What an error or a delay of the database says about the work that failed. Workers of all kinds."""

from __future__ import annotations

import sqlite3

from qorworker.conf import settings

LOST = ("08", "57")  # classes of PostgreSQL's errors: the connection, and "operator intervention"
LOCK_TIMEOUTS = ("55P03", 1205)  # PostgreSQL's and MariaDB's errors for a lock that was not available in time
CLOSING = (1053, 1927)  # MariaDB: the server shuts down, or it has killed the connection


def was_answered(error: BaseException) -> bool:
    """Whether an error is an answer of the database: then the statement has had and will have no effect.

    Otherwise the connection was lost, or the database is going down: then the effect is unknown.
    """
    cause = error.__cause__ or error
    if getattr(cause, "sqlite_errorcode", None) is not None:
        return True
    if sqlstate := getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None):
        return str(sqlstate)[:2] not in LOST
    number = cause.args[0] if cause.args else None
    # MariaDB's client errors are numbered from 2000 to 2999.
    return isinstance(number, int) and number > 0 and number not in CLOSING and not 2000 <= number < 3000


def is_locked(error: BaseException) -> bool:
    """Whether another connection holds the lock of SQLite's file."""
    code = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def waited_for_lock(error: BaseException) -> bool:
    """Whether another connection holds a lock that the statement needed."""
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    return is_locked(error) or sqlstate == LOCK_TIMEOUTS[0] or error.args[:1] == LOCK_TIMEOUTS[1:]


def write_limit() -> float:
    """Return the seconds that a small write may take: if it takes longer, owners renew their leases too late."""
    return min(float(settings.LEASE) / 3, float(settings.OBSERVATION) / 2)


def renewal_interval() -> float:
    """Return the seconds between two renewals of a lease.

    After it and ``write_limit()`` a sixth of the observation is left for what else a worker does. So others see the
    lease of an owner that lives change, even after the clock of the database has jumped past all leases.
    """
    return min(float(settings.LEASE), float(settings.OBSERVATION)) / 3
