"""The parent's database connection: every call may fail, and none may hang for ever. Workers of all kinds."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from typing import Any, TypeVar

from django.db import Error, connections

from qorworker.conf import settings
from qorworker.database import network
from qorworker.database.answers import is_locked, waited_for_lock, was_answered, write_limit
from qorworker.database.call_guard import CallGuard, answer_limit
from qorworker.database.overlap import Overlap
from qorworker.database.session_limits import set_limits
from qorworker.database.sqlite import missing_options, unwritable
from qorworker.system.processes import monotonic

Result = TypeVar("Result")
logger = logging.getLogger(__name__)

NAMES: dict[str, dict[str, str]] = {"postgresql": {"application_name": "qorworker"}, "mysql": {}}
PREPARED_AFTER = 5  # executions of the same statement
# Prepared statements appear and vanish: a pooler changes the session behind the connection.
FOREIGN_SESSION = ("26000", "42P05")
PAUSES = (0.05, 2.0)  # seconds after a failed call without another one: first, at most


class Database:
    """Runs the parent's calls to the database, with a pause after a failure."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.call_guard = CallGuard()
        self.overlap = Overlap()
        self.retry_at = 0.0
        self.failed_at = 0.0  # when a call last failed in a way that would also fail the writes of others
        self.failures = 0
        self.is_failing = False  # the last call failed, and not for a lock
        self._prepared: object = None
        self._plans_kept = True

    @cached_property
    def connection(self) -> Any:
        """The connection of this thread. It is kept because looking it up takes longer than using it."""
        return connections[self.using]

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        """The errors of Django and of the driver: a cursor that the ORM closes raises the driver's own."""
        return Error, self.connection.Database.Error

    def is_down(self, now: float) -> bool:
        """Whether the pause after a failure is not over yet."""
        return now < self.retry_at

    def call(
        self, now: float, work: Callable[[], Result], meanwhile: Callable[[], None] | None = None
    ) -> Result | None:
        """Call *work* and return its result. None if the database is down, or fails now.

        *meanwhile* is called again and again while the database carries out a statement.
        """
        if self.is_down(now):
            return None
        begun = monotonic()
        self.call_guard.begin()
        try:
            self.prepare()
            if meanwhile is None:
                result = work()
            else:
                with self._overlapping(meanwhile):
                    result = work()
        except self.errors as error:
            self._failed(now, begun, error)
            return None
        finally:
            self.call_guard.end()
        if self.failures:
            _warn("The database answers again.")
            self.failures, self.is_failing = 0, False
        return result

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Make the connection the parent's own for this block: no call hangs for ever, the call guard aborts it."""
        connection = self.connection
        if connection.in_atomic_block:
            yield
            return
        wrappers = list(connection.execute_wrappers)
        connection.execute_wrappers.append(self.overlap.execute)
        try:
            with self._with_time_limits(connection) if connection.vendor in NAMES else nullcontext():
                yield
        finally:
            self.overlap.close()
            connection.execute_wrappers = wrappers

    @contextmanager
    def _with_time_limits(self, connection: Any) -> Iterator[None]:
        settings_dict, watched = connection.settings_dict, self.call_guard.connections
        connection.execute_wrappers.append(self._mark)
        self._drop()
        connection.settings_dict = network.limited(settings_dict, connection.vendor, **NAMES[connection.vendor])
        watched.append(connection)
        try:
            yield
        finally:
            self._drop()  # later users would be surprised by the settings of this session
            watched.remove(connection)
            connection.settings_dict = settings_dict

    def _mark(self, execute: Callable[..., Any], *statement: Any) -> Any:
        self.call_guard.mark()
        try:
            return execute(*statement)
        finally:
            self.call_guard.mark()

    @contextmanager
    def _overlapping(self, meanwhile: Callable[[], None]) -> Iterator[None]:
        """Call *meanwhile* while statements of this block run in the thread.

        It may use the connection all the same, as the handler of a log message does that writes to the database. So
        what everything calls before it uses the driver waits for the statement.
        """
        connection = self.connection

        def ensure_connection() -> None:
            self.overlap.wait()
            type(connection).ensure_connection(connection)

        connection.ensure_connection = ensure_connection
        try:
            with self.overlap.meanwhile(meanwhile):
                yield
        finally:
            del connection.ensure_connection

    def prepare(self) -> None:
        """Set the limits of a new connection."""
        connection = self.connection
        if _is_left_open(connection):
            self._drop()
        connection.ensure_connection()
        if self._prepared is connection.connection:
            return
        self.call_guard.add(connection)
        network.probe(connection)
        is_own = set_limits(connection)
        raw: Any = connection.connection
        if is_own and self._plans_kept and hasattr(raw, "prepare_threshold"):
            raw.prepare_threshold = PREPARED_AFTER
        self._prepared = raw

    def _failed(self, now: float, begun: float, error: Exception) -> None:
        # Shorter than the observation time: after an outage the owner of a job is back before it loses the job.
        longest = min(PAUSES[1], float(settings.OBSERVATION) / 2)
        pause = min(longest, PAUSES[0] * 2 ** min(self.failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self.failures += 1
        if getattr(error.__cause__, "sqlstate", "") in FOREIGN_SESSION:
            self._plans_kept = False
        failed, self.is_failing = monotonic(), not waited_for_lock(error)
        self.retry_at = max(now, failed) + pause
        if is_locked(error) or not was_answered(error) or failed - begun > write_limit():
            self.failed_at = failed
        if self.call_guard.gave_up:
            _warn("The database did not answer for %g seconds; trying again on a new connection.", answer_limit())
        elif self.failures in (1, 5) or self.failures % 20 == 0:
            _warn("A call to the database failed (%s); trying again.", str(error).strip())
            if problem := unwritable(self.connection, error):
                _warn("%s", problem)
            elif missing := missing_options(self.connection):
                _warn("Add to the OPTIONS of database %r: %s", self.using, ", ".join(missing))
        if not is_locked(error):  # after any other error SQLite's file is opened again: it may have been replaced
            self._drop()

    def _drop(self) -> None:
        """Close the connection, so that the next call opens a new one."""
        connection = self.connection
        if not connection.atomic_blocks:
            # Inside a block that was never left, Django would keep the closed connection for ever.
            connection.in_atomic_block = connection.closed_in_transaction = False
        self.call_guard.forget(connection)
        with suppress(*self.errors):  # it is replaced even if it cannot be closed
            connection.close()


def _is_left_open(connection: Any) -> bool:
    """Whether an abandoned transaction is open, in which writes would never be committed."""
    if connection.atomic_blocks:  # they belong to a caller
        return False
    begun = connection.connection is not None and connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
    return bool(connection.in_atomic_block or begun)


def _warn(text: str, *arguments: object) -> None:
    with suppress(Error):  # a project may log into the very database that fails
        logger.warning(text, *arguments)
