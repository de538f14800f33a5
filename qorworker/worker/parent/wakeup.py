"""How an idle worker learns of work: by notification, by a counter, or by polling. Parent process."""

from __future__ import annotations

import logging
import selectors
from functools import cached_property
from typing import Any

from django.db import Error, connections

from qorworker.conf import settings
from qorworker.database import network
from qorworker.database.call_guard import CallGuard
from qorworker.database.session_limits import is_pooled

logger = logging.getLogger(__name__)

CHANNEL = "qorworker"
SQLITE_INTERVAL = 0.02  # seconds; the reading costs little, but each wake-up of the process costs more
POLLING_INTERVAL = 0.1  # seconds, where there is neither a counter nor a notification
RECONNECT = 5.0
POOLER_RETRY = 300.0  # seconds before a pooled connection is tried again
CHECK = 30.0  # seconds between two checks that a quiet connection still works


class Wakeup:
    """Polls in fixed intervals: MariaDB."""

    def __init__(self, using: str, selector: selectors.BaseSelector) -> None:
        self.using = using
        self.selector = selector
        self.rung = True  # whether to look for work; it does once at the start

    @property
    def interval(self) -> float:
        """Seconds between two calls of ``look``."""
        return min(POLLING_INTERVAL, float(settings.POLL_INTERVAL))

    def look(self, now: float) -> None:
        """Set ``rung`` if work may have arrived."""
        self.rung = True

    def close(self) -> None:
        """Close what it has opened."""


class CounterWakeup(Wakeup):
    """Reads SQLite's counter of foreign commits."""

    version: int | None = None
    look_anyway_at = 0.0

    @cached_property
    def connection(self) -> Any:
        return connections[self.using]

    @property
    def interval(self) -> float:
        return SQLITE_INTERVAL

    def look(self, now: float) -> None:
        with self.connection.wrap_database_errors:
            version = self.connection.connection.execute("PRAGMA data_version").fetchone()[0]
        # The counter leaves out the worker's own commits, so it looks anyway once in a while.
        if version != self.version or now >= self.look_anyway_at:
            self.version, self.look_anyway_at, self.rung = version, now + float(settings.POLL_INTERVAL), True


class ListenWakeup(Wakeup):
    """Listens for PostgreSQL's notifications on its own connection. Polling remains as the safety net."""

    def __init__(self, using: str, selector: selectors.BaseSelector, call_guard: CallGuard | None = None) -> None:
        super().__init__(using, selector)
        self.call_guard = call_guard or CallGuard()
        self.connection: Any = None
        self.retry_at = 0.0
        self.check_at = 0.0

    @property
    def interval(self) -> float:
        return super().interval if self.connection is None else float(settings.POLL_INTERVAL)

    def look(self, now: float) -> None:
        self.rung = True
        if self.connection is None and now >= self.retry_at:
            self._listen(now)
        elif self.connection is not None and now >= self.check_at:
            self._check(now)

    def _listen(self, now: float) -> None:
        connection: Any = connections[self.using].copy()
        options = connections.settings[self.using]["OPTIONS"]  # the project's options, without those of the worker
        connection.settings_dict = network.limited(
            {**connection.settings_dict, "OPTIONS": options}, connection.vendor, application_name="qorworker listener"
        )
        self.call_guard.connections.append(connection)
        try:
            if not (pooled := is_pooled(connection)):
                with connection.cursor() as cursor:
                    cursor.execute(f"LISTEN {CHANNEL}")
                with connection.wrap_database_errors:
                    descriptor = connection.connection.fileno()
        except (Error, OSError) as error:
            logger.info("Notifications are not available (%s); polling instead.", error)
            self._drop(connection, now + RECONNECT)
            return
        if pooled:
            logger.info("Notifications do not pass a connection pooler; polling instead.")
            self._drop(connection, now + POOLER_RETRY)
            return
        self.selector.register(descriptor, selectors.EVENT_READ, self._on_notification)
        self.connection, self.descriptor, self.check_at = connection, descriptor, now + CHECK

    def _check(self, now: float) -> None:
        """Check that the server still knows this connection: a lost one would never bring a notification."""
        self.check_at = now + CHECK
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except (Error, OSError) as error:
            self._lose(now, error)

    def _on_notification(self, now: float) -> None:
        try:
            raw = self.connection.connection
            if hasattr(raw, "notifies") and callable(raw.notifies):
                list(raw.notifies(timeout=0))
            else:
                raw.poll()
                del raw.notifies[:]
        except Exception as error:  # the driver's own error classes
            self._lose(now, error)
        self.rung = True

    def _lose(self, now: float, error: Exception) -> None:
        logger.info("The connection for notifications was lost (%s).", error)
        self.close()
        self.retry_at = now + 0.5

    def _drop(self, connection: Any, retry_at: float) -> None:
        self.retry_at = retry_at
        self.call_guard.connections.remove(connection)
        connection.close()

    def close(self) -> None:
        if self.connection is not None:
            self.selector.unregister(self.descriptor)
            self.call_guard.connections.remove(self.connection)
            self.connection.close()
            self.connection = None


def wakeup_for(using: str, selector: selectors.BaseSelector, call_guard: CallGuard) -> Wakeup:
    """Return the best way that this database offers."""
    vendor = connections[using].vendor
    if vendor == "postgresql":
        return ListenWakeup(using, selector, call_guard)
    return CounterWakeup(using, selector) if vendor == "sqlite" else Wakeup(using, selector)
