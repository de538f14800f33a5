"""How an idle worker learns that there is work: told, by looking at a counter, or by asking. Parent process."""

from __future__ import annotations

import logging
import selectors
from functools import cached_property
from typing import Any

from django.db import Error, connections

from qorworker.conf import settings

logger = logging.getLogger(__name__)

CHANNEL = "qorworker"
SQLITE_INTERVAL = 0.02  # seconds: reading the counter costs little, to be woken for it costs more
POLLING_INTERVAL = 0.1  # seconds, where there is no counter and nobody tells
RECONNECT = 5.0


class Wakeup:
    """Asks in fixed intervals: MariaDB."""

    def __init__(self, using: str, selector: selectors.BaseSelector) -> None:
        self.using = using
        self.selector = selector
        self.rung = True  # look once at the start

    @property
    def interval(self) -> float:
        """Seconds after which ``look`` is due."""
        return min(POLLING_INTERVAL, float(settings.POLL_INTERVAL))

    def look(self, now: float) -> None:
        """Find out whether something may have changed; sets ``rung``."""
        self.rung = True

    def close(self) -> None:
        pass


class CounterWakeup(Wakeup):
    """SQLite counts the commits of others."""

    version: int | None = None
    ask_at = 0.0

    @cached_property
    def connection(self) -> Any:
        return connections[self.using]

    @property
    def interval(self) -> float:
        return SQLITE_INTERVAL

    def look(self, now: float) -> None:
        with self.connection.wrap_database_errors:
            version = self.connection.connection.execute("PRAGMA data_version").fetchone()[0]
        # The worker's own commits are not counted, so once in a while it looks anyway.
        if version != self.version or now >= self.ask_at:
            self.version, self.ask_at, self.rung = version, now + float(settings.POLL_INTERVAL), True


class ListenWakeup(Wakeup):
    """PostgreSQL tells, on a connection of its own; polling stays as the net below."""

    def __init__(self, using: str, selector: selectors.BaseSelector) -> None:
        super().__init__(using, selector)
        self.connection: Any = None
        self.retry_at = 0.0

    @property
    def interval(self) -> float:
        return float(settings.POLL_INTERVAL)

    def look(self, now: float) -> None:
        self.rung = True
        if self.connection is None and now >= self.retry_at:
            self._listen(now)

    def _listen(self, now: float) -> None:
        connection: Any = connections[self.using].copy()
        # A pool would hand this connection to others and take it back.
        connection.settings_dict = {
            **connection.settings_dict,
            "OPTIONS": {key: value for key, value in connection.settings_dict["OPTIONS"].items() if key != "pool"},
        }
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
                cursor.execute("SET application_name = 'qorworker listener'")
            with connection.wrap_database_errors:
                descriptor = connection.connection.fileno()
        except (Error, OSError) as error:
            logger.info("Notifications are not to be had (%s); polling instead.", error)
            self.retry_at = now + RECONNECT
            connection.close()
            return
        self.selector.register(descriptor, selectors.EVENT_READ, self._hear)
        self.connection, self.descriptor = connection, descriptor

    def _hear(self, now: float) -> None:
        try:
            raw = self.connection.connection
            if hasattr(raw, "notifies") and callable(raw.notifies):
                list(raw.notifies(timeout=0))
            else:
                raw.poll()
                del raw.notifies[:]
        except Exception as error:  # the driver's own error classes
            logger.info("The connection for notifications was lost (%s).", error)
            self.close()
            self.retry_at = now + 0.5
        self.rung = True

    def close(self) -> None:
        if self.connection is not None:
            self.selector.unregister(self.descriptor)
            self.connection.close()
            self.connection = None


def wakeup_for(using: str, selector: selectors.BaseSelector) -> Wakeup:
    """The best way that this database has."""
    kinds: dict[str, type[Wakeup]] = {"postgresql": ListenWakeup, "sqlite": CounterWakeup}
    return kinds.get(connections[using].vendor, Wakeup)(using, selector)
