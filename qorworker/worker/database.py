"""The parent's database connection: every call may fail, and none may hang for ever. Parent process."""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar

from django.db import Error, connections

from qorworker.conf import settings
from qorworker.worker.processes import monotonic

Result = TypeVar("Result")
logger = logging.getLogger(__name__)

STATEMENT_SECONDS, LOCK_SECONDS = 20, 5
SQLITE_LOCK_SECONDS = 2
PREPARED_AFTER = 5  # times that PostgreSQL has planned the same statement
FOREIGN_SESSION = (
    "26000",
    "42P05",
)  # prepared statements come and go: a proxy changes the session behind the connection
PAUSES = (0.05, 2.0)  # seconds before a failed call is tried again: first, at most


class Database:
    """Runs the parent's database work; after a failure nothing is asked of the database for a moment."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.retry_at = 0.0
        self.failed_at = 0.0
        self.failures = 0
        self._prepared: object = None
        self._plans_kept = True

    @cached_property
    def connection(self) -> Any:
        return connections[self.using]  # it takes longer to find than to use

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        """Django's, and the driver's own: those of a cursor that the ORM closes come as they are."""
        return Error, self.connection.Database.Error

    def down(self, now: float) -> bool:
        return now < self.retry_at

    def attempt(self, now: float, work: Callable[[], Result]) -> Result | None:
        """Do *work*; None if the database is, or just proved to be, out of order."""
        if self.down(now):
            return None
        try:
            self.prepare()
            result = work()
        except self.errors as error:
            self._failed(now, error)
            return None
        if self.failures:
            _say("The database answers again.")
            self.failures = 0
        return result

    def prepare(self) -> None:
        """Put limits on a new connection, so that a stuck statement cannot stop the worker."""
        connection = self.connection
        if _is_left_open(connection):
            self._drop()
        connection.ensure_connection()
        if self._prepared is connection.connection:
            return
        statements = {
            "postgresql": [
                f"SET statement_timeout = '{STATEMENT_SECONDS}s'",
                f"SET lock_timeout = '{LOCK_SECONDS}s'",
                f"SET idle_in_transaction_session_timeout = '{STATEMENT_SECONDS}s'",
                "SET application_name = 'qorworker'",
            ],
            "mysql": [
                *([f"SET SESSION max_statement_time = {STATEMENT_SECONDS}"] if _is_mariadb(connection) else []),
                *([f"SET SESSION idle_transaction_timeout = {STATEMENT_SECONDS}"] if _is_mariadb(connection) else []),
                f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}",
            ],
            "sqlite": [f"PRAGMA busy_timeout = {SQLITE_LOCK_SECONDS * 1000}"],
        }[connection.vendor]
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        raw: Any = connection.connection
        if self._plans_kept and hasattr(raw, "prepare_threshold"):
            raw.prepare_threshold = PREPARED_AFTER
        self._prepared = raw

    def _failed(self, now: float, error: Exception) -> None:
        # Shorter than the observation: after an outage the owner of a job is back before another takes it over.
        longest = min(PAUSES[1], float(settings.OBSERVATION) / 2)
        pause = min(longest, PAUSES[0] * 2 ** min(self.failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self.failures += 1
        if getattr(error.__cause__, "sqlstate", "") in FOREIGN_SESSION:
            self._plans_kept = False
        self.failed_at = monotonic()
        self.retry_at = max(now, self.failed_at) + pause
        if self.failures in (1, 5) or self.failures % 20 == 0:
            _say("The database did not do what was asked (%s); trying again.", str(error).strip())
        if not _is_locked(error):
            self._drop()

    def _drop(self) -> None:
        """Have the next call make a new connection."""
        connection = self.connection
        if not connection.atomic_blocks:
            # In a block that could not be left Django would keep the closed connection for ever.
            connection.in_atomic_block = connection.closed_in_transaction = False
        with suppress(*self.errors):  # what cannot even be closed is replaced anyway
            connection.close()


def _is_mariadb(connection: object) -> bool:
    return bool(getattr(connection, "mysql_is_mariadb", False))


def _is_left_open(connection: Any) -> bool:
    """Whether a transaction was begun that nobody will end: what is written would never be committed."""
    if connection.atomic_blocks:  # those of a caller
        return False
    begun = connection.connection is not None and connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
    return bool(connection.in_atomic_block or begun)


def _is_locked(error: Exception) -> bool:
    """Whether somebody else writes to SQLite's file; after anything else it is opened again: it may be another one."""
    code = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _say(text: str, *arguments: object) -> None:
    with suppress(Error):  # a project may log into the very database that is out of order
        logger.warning(text, *arguments)
