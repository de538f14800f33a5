"""How an idle worker learns of work: by notification, by a counter, or by polling. Parent process."""

from __future__ import annotations

import logging
import selectors
from contextlib import suppress
from functools import cached_property
from typing import Any

from django.db import Error, connections

from qorworker.conf import settings
from qorworker.database import network
from qorworker.database.call_guard import CallGuard
from qorworker.database.session_limits import is_pooled
from qorworker.system.file_watch import FileWatch
from qorworker.worker.parent.duties import next_moment

logger = logging.getLogger(__name__)

CHANNEL = "qorworker"
SQLITE_INTERVAL = 0.02  # seconds; the reading costs little, but each wake-up of the process costs more
# Seconds from a write to the looks after it. It is seen only once it is committed, which the disk may delay.
LOOKS = (0.0, 0.002, 0.006, *(number * SQLITE_INTERVAL for number in range(1, 51)))
# Seconds from a commit to the looks for another one whose write was over before the files were watched anew.
LATER_LOOKS = (0.03, 0.1, 0.3)
POLLING_INTERVAL = 0.07  # seconds, where there is neither a counter nor a notification
RECONNECT = 5.0
POOLER_RETRY = 300.0  # seconds before a pooled connection is tried again
CHECK = 30.0  # seconds between two checks that a quiet connection still works


class Wakeup:
    """Polls in fixed intervals: MariaDB."""

    def __init__(self, using: str, selector: selectors.BaseSelector) -> None:
        self.using = using
        self.selector = selector
        self.rung = True  # whether to look for work; it does once at the start
        self.look_at = 0.0  # when the next look is due

    @property
    def interval(self) -> float:
        """Seconds between two calls of ``look``."""
        return min(POLLING_INTERVAL, float(settings.POLL_INTERVAL))

    def look(self, now: float) -> None:
        """Set ``rung`` if work may have arrived, and ``look_at`` in any case."""
        try:
            self._look(now)
        finally:
            self.look_at = self._next_look(now)

    def _look(self, now: float) -> None:
        self.rung = True

    def _next_look(self, now: float) -> float:
        return next_moment(now, self.interval)

    def close(self) -> None:
        """Close what it has opened."""


class CounterWakeup(Wakeup):
    """Reads SQLite's counter of foreign commits: after each write to the database's files where they can be watched,
    else in short intervals.
    """

    version: int | None = None
    look_anyway_at = 0.0

    def __init__(self, using: str, selector: selectors.BaseSelector) -> None:
        super().__init__(using, selector)
        self._looks: list[float] = []  # when to look after the last writes
        self._written_at = 0.0  # when the last write counts as done
        self._own_changes = 0  # rows that this connection had written at the last look
        self._watch: FileWatch | None = None
        self._is_watching = False
        with suppress(OSError):
            self._watch = FileWatch()
            selector.register(self._watch, selectors.EVENT_READ, self._on_write)

    @cached_property
    def connection(self) -> Any:
        return connections[self.using]

    @property
    def interval(self) -> float:
        return float(settings.POLL_INTERVAL) if self._is_watching else SQLITE_INTERVAL

    def _next_look(self, now: float) -> float:
        return min([super()._next_look(now), *self._looks])

    def _look(self, now: float) -> None:
        self._looks = [at for at in self._looks if at > now]
        self._is_watching = False
        if (changes := self.connection.connection.total_changes) != self._own_changes:
            self._own_changes, self._looks = changes, []  # a busy worker would be woken by each of its own writes
        else:
            self._arm()  # first, so that no write between the look and this remains unnoticed
        with self.connection.wrap_database_errors:
            version = self.connection.connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self.version:
            self._looks = [now + seconds for seconds in LATER_LOOKS]
        # The counter leaves out the worker's own commits, so it looks anyway once in a while.
        if version != self.version or now >= self.look_anyway_at:
            self.version, self.look_anyway_at, self.rung = version, now + float(settings.POLL_INTERVAL), True

    def _arm(self) -> None:
        """Watch the files anew: one of them may have been replaced."""
        path = str(self.connection.settings_dict["NAME"])
        with suppress(OSError):
            if self._watch is not None:
                self._watch.arm([path, *([f"{path}-wal"] if self._has_log else [])])
                self._is_watching = True

    @cached_property
    def _has_log(self) -> bool:
        """Whether commits are written to a file beside the database."""
        with self.connection.wrap_database_errors:
            mode = self.connection.connection.execute("PRAGMA journal_mode").fetchone()[0]
        return bool(mode == "wal")

    def _on_write(self, now: float) -> None:
        assert self._watch is not None
        self._watch.clear()
        if self._written_at > now:
            return  # a look after this one is planned
        self._written_at = max(now, self._written_at + SQLITE_INTERVAL)
        earlier = [at for at in self._looks if at < self._written_at]
        self._looks = [*earlier, *(self._written_at + seconds for seconds in LOOKS)]
        self.look_at = self._looks[0]

    def close(self) -> None:
        if self._watch is not None:
            self.selector.unregister(self._watch)
            self._watch.close()
            self._watch = None


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

    def _look(self, now: float) -> None:
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
