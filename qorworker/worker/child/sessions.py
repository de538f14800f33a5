"""Resets the database sessions of a child, so that none keeps what a job did to it. Child process.

Each connection is checked after a job that used it. On PostgreSQL and MySQL the server resets the session, and the
connection is then set up as Django sets up a new one. On SQLite the settings of the session are compared with what
they were. A session that can be neither reset nor compared is closed, and the next job opens a new connection.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from qorworker.database import network
from qorworker.execution.queries import QueryCounter

# The client side of a session, in the drivers.
DRIVER_STATE = (
    "autocommit",
    "isolation_level",
    "read_only",
    "readonly",
    "deferrable",
    "prepare_threshold",
    "row_factory",
    "text_factory",
    "cursor_factory",
    "cursorclass",
)
PRAGMAS = (
    "foreign_keys",
    "defer_foreign_keys",
    "ignore_check_constraints",
    "recursive_triggers",
    "busy_timeout",
    "query_only",
    "read_uncommitted",
    "locking_mode",
    "synchronous",
    "temp_store",
    "cache_size",
    "secure_delete",
    "legacy_alter_table",
    "writable_schema",
    "trusted_schema",
    "reverse_unordered_selects",
    "automatic_index",
)
SQLITE_STATE = "SELECT {}, {}, {}".format(
    ", ".join(f"(SELECT * FROM pragma_{name})" for name in PRAGMAS),  # noqa: S608 - names from above
    "(SELECT count(*) FROM pragma_database_list WHERE name <> 'temp')",
    "(SELECT count(*) FROM sqlite_temp_master)",
)
DISCARD_ALL_BUT_PREPARED = """
    SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE '\\_pg3\\_%';
    CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; SELECT pg_advisory_unlock_all();
    DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES
"""
OPEN_TRANSACTION = (1, 2, 3)  # active, in a transaction, in a transaction that failed; idle is 0, a lost connection 4
MYSQL_CREDENTIALS_ELSEWHERE = ("read_default_file", "read_default_group")

Warn = Callable[[str], None]


def close_all() -> None:
    """Close every connection and every pool of this process before it forks."""
    for connection in connections.all():
        connection.close()
        if close_pool := getattr(connection, "close_pool", None):
            close_pool()


@dataclass(frozen=True)
class Opened:
    """A session as it was when its connection had just been opened."""

    raw: object
    driver: tuple[Any, ...]
    settings: tuple[Any, ...]
    wrappers: tuple[Any, ...]


class Sessions:
    """All connections of this process, those of other threads included."""

    def __init__(self) -> None:
        self.queries = QueryCounter()
        self._before: WeakKeyDictionary[BaseDatabaseWrapper, Opened] = WeakKeyDictionary()
        self._wrappers: WeakKeyDictionary[BaseDatabaseWrapper, tuple[Any, ...]] = WeakKeyDictionary()
        self._opening = threading.local()  # ``wrappers``: how many a connection had when it was just opened

    def watch(self) -> None:
        """Keep connections open from job to job, without a pool, and record the state of each new one."""
        for settings in connections.settings.values():
            options = {name: value for name, value in settings["OPTIONS"].items() if name != "pool"}
            # Django checks before each job that the connection still works.
            settings.update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True, OPTIONS=options)
        for connection in connections.all():
            network.notice_dead_servers(connection)
            connection.execute_wrappers.insert(0, self.queries)
            self._wrappers[connection] = tuple(connection.execute_wrappers)
        # The first and the last receiver: what a project does to its new connections belongs to their initial state,
        # and what the job had done by then does not.
        connection_created.connect(self._begin_note, weak=False)
        connection_created.receivers.insert(0, connection_created.receivers.pop())
        connection_created.connect(self._note, weak=False)

    def _begin_note(self, connection: Any, **kwargs: Any) -> None:
        if connection not in self._wrappers:  # of another thread
            connection.execute_wrappers.insert(0, self.queries)  # Django takes those of blocks away at the end
            self._wrappers[connection] = (self.queries,)
        self._opening.wrappers = len(connection.execute_wrappers)

    def _note(self, connection: Any, **kwargs: Any) -> None:
        before = self._before.get(connection)
        if before is None or before.raw is not connection.connection:
            self._before[connection] = Opened(
                connection.connection,
                _driver_state(connection),
                _settings(connection),
                (*self._wrappers.get(connection, ()), *connection.execute_wrappers[self._opening.wrappers :]),
            )

    def reset(self, warn: Warn) -> None:
        """Undo what a job did to the sessions that it used. Its threads must have ended or be idle.

        If a job uses the driver's connection past Django, only its changes on the driver's side are noticed.
        """
        if not self._before:
            return  # no job of this process has opened a connection
        states: list[tuple[Any, Opened]] = list(self._before.items())
        for connection, before in states:
            if connection.connection is None or _was_used(connection, before):
                connection.inc_thread_sharing()
                try:
                    self._reset(connection, warn)
                finally:
                    connection.dec_thread_sharing()

    def _reset(self, connection: Any, warn: Warn) -> None:
        before = self._before[connection]
        try:
            if connection.connection is None:
                kept = False  # the job closed it
            elif connection.in_atomic_block or _in_transaction(connection):
                warn(f"The handler left a transaction open on database {connection.alias!r}; it is rolled back.")
                kept = False
            else:
                kept = _is_as_opened(connection, before) and _restored(connection, before)
        except (Error, connection.Database.Error):
            kept = False  # its server may have been restarted
        if not kept:
            # Inside a block that was never left, Django would keep the closed connection for ever.
            connection.in_atomic_block = connection.closed_in_transaction = False
            with suppress(Error, connection.Database.Error):  # it is replaced even if it cannot be closed
                connection.close()
        connection.execute_wrappers[:] = before.wrappers if kept else self._wrappers.get(connection, ())
        connection.force_debug_cursor = False
        connection.health_check_done = False


def _was_used(connection: Any, before: Opened) -> bool:
    """Whether the session may have changed."""
    try:
        # Django sets this flag when a connection is first used after a check.
        return connection.health_check_done or _driver_state(connection) != before.driver or _in_transaction(connection)
    except (Error, connection.Database.Error):
        return True  # the job closed the driver's connection


def _is_as_opened(connection: Any, before: Opened) -> bool:
    """Whether the driver's side of the session is unchanged, and its thread still exists."""
    return (
        connection.connection is before.raw
        and _driver_state(connection) == before.driver
        and not connection.errors_occurred
        and any(thread.ident == connection._thread_ident for thread in threading.enumerate())
    )


def _restored(connection: Any, before: Opened) -> bool:
    """Reset the server's side of the session. Return whether it is as it was when it was new."""
    match connection.vendor:
        case "sqlite":
            return _settings(connection) == before.settings
        case "postgresql":
            if not _discard(connection.connection):
                return False
        case "mysql":
            parameters = connection.get_connection_params()
            if any(name in parameters for name in MYSQL_CREDENTIALS_ELSEWHERE):
                return False
            _change_user(connection.connection, parameters)
        case _:
            return False
    # As Django's connect() does once it has a session.
    connection.set_autocommit(connection.settings_dict["AUTOCOMMIT"])
    connection.init_connection_state()
    connection_created.send(sender=type(connection), connection=connection)
    return True


def _discard(raw: Any) -> bool:
    """Reset the session. The statements that psycopg prepared stay, because it keeps using them."""
    with raw.cursor() as cursor:
        if getattr(raw, "prepare_threshold", None) is None:
            cursor.execute("DISCARD ALL")
            return True
        cursor.execute(DISCARD_ALL_BUT_PREPARED)
        return bool(cursor.fetchone()[0] == 0)


def _change_user(raw: Any, parameters: dict[str, Any]) -> None:
    """Log in again on the same connection, then do what mysqlclient does to a new one."""
    raw.change_user(parameters.get("user", ""), parameters.get("password", ""), parameters.get("database", ""))
    raw.set_character_set(parameters["charset"], parameters.get("collation"))
    if sql_mode := parameters.get("sql_mode"):
        raw.set_sql_mode(sql_mode)
    if init_command := parameters.get("init_command"):
        raw.query(init_command)
        raw.store_result()


def _driver_state(connection: Any) -> tuple[Any, ...]:
    return tuple(getattr(connection.connection, name, None) for name in DRIVER_STATE)


def _settings(connection: Any) -> tuple[Any, ...]:
    if connection.vendor != "sqlite":
        return ()
    raw: Any = connection.connection
    cursor = sqlite3.Cursor(raw)
    cursor.row_factory = None
    return tuple(cursor.execute(SQLITE_STATE).fetchone())


def _in_transaction(connection: Any) -> bool:
    """Whether the session is in a transaction, as far as the driver knows."""
    raw: Any = connection.connection
    match connection.vendor:
        case "sqlite":
            return bool(raw.in_transaction)
        case "postgresql":
            return bool(raw.info.transaction_status in OPEN_TRANSACTION)
        case "mysql":
            return bool(raw.get_autocommit() != connection.autocommit)
    return False
