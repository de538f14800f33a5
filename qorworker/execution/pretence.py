"""Puts a connection into a transaction that is never committed. Child process.

Code on it finds what it would find otherwise: autocommit, transactions, savepoints. Its transactions are savepoints in
that one, and so is each statement outside of a transaction where a failure would break the outer one.
"""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext as _

from qorworker.execution.changes import Changes
from qorworker.text import sql

if TYPE_CHECKING:
    from qorworker.execution.rehearsal import Rehearsal

NAMES = re.compile(r"[\w$]+(?:\.[\w$]+)*")
ON_COMMIT = BaseDatabaseWrapper.on_commit  # as it is before a rehearsal replaces it
TRANSACTION, STATEMENT = "qorworker_transaction", "qorworker_statement"
REPLACED = (
    "_set_autocommit", "_start_transaction_under_autocommit", "_commit", "_rollback", "close", "_close", "connect",
    "on_commit", "run_and_clear_commit_hooks",
)  # fmt: skip
# What SQLite asks an authorizer about.
ENDS = {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH}
READS = {sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
READING_PRAGMAS = ("table_", "index_", "foreign_key", "busy_timeout", "collation_list", "function_list")
PERMANENT = """
    SELECT LOWER(CASE WHEN t.table_schema = DATABASE() THEN t.table_name
                      ELSE CONCAT(t.table_schema, '.', t.table_name) END)
    FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine
    WHERE t.table_type = 'BASE TABLE' AND (e.transactions IS NULL OR e.transactions <> 'YES')
"""


class Pretence:
    """One connection in a rehearsal."""

    def __init__(self, connection: BaseDatabaseWrapper, rehearsal: Rehearsal) -> None:
        self.connection, self.rehearsal = connection, rehearsal
        self.vendor = connection.vendor
        self.raw: Any = connection.connection
        self.changes = Changes()
        self.before: Changes | None = None  # the transaction that is open
        self.savepoints: list[tuple[str, Changes]] = []
        self.has_begun = self.is_own = False
        self.permanent: frozenset[str] = frozenset()  # tables that no rollback restores
        self.uncounted: tuple[sql.Statement, int] | None = None  # see ``_count``

    def begin(self) -> None:
        """Take over the connection, which has just been opened."""
        connection: Any = self.connection
        self._replace()
        connection.execute_wrappers.append(self.execute)
        match self.vendor:
            case "sqlite":
                self.raw.set_authorizer(self._authorize)
            case "postgresql":
                type(connection)._set_autocommit(connection, False)
                for verb in ("commit", "rollback"):
                    with suppress(AttributeError):  # psycopg 2, whose connections take no attributes
                        setattr(self.raw, verb, self._refuse(f"connection.connection.{verb}()"))
                self._run("SELECT 1")
                self.has_begun = True
            case "mysql":
                with closing(self.raw.cursor()) as cursor:
                    cursor.execute(PERMANENT)
                    self.permanent = frozenset(name for (name,) in cursor.fetchall())
                # The server itself then refuses whatever would commit, in a procedure, too.
                self._run(f"XA START '{uuid.uuid4().hex}'")
                self.has_begun = True
            case _:
                raise self.rehearsal.refuse(
                    _("A rehearsal cannot take back what is written to a database of the kind %s.") % self.vendor
                )

    def end(self) -> None:
        """Roll back all. To close the session does that on every database, whatever state it is in."""
        self._settle_count()
        connection: Any = self.connection
        with suppress(Error, connection.Database.Error):
            self.raw.close()

    def let_go(self) -> None:
        """Give the connection back. For tests: a child exits instead."""
        for name in REPLACED:
            vars(self.connection).pop(name, None)
        self.connection.execute_wrappers.remove(self.execute)
        self.connection.connection = None

    # What replaces methods of the connection.

    def _replace(self) -> None:
        connection: Any = self.connection
        connection._set_autocommit = self.set_autocommit
        if hasattr(connection, "_start_transaction_under_autocommit"):
            connection._start_transaction_under_autocommit = lambda: self.set_autocommit(False)
        connection._commit, connection._rollback = self.commit, self.rollback
        # A job may close a connection, so that it is opened anew. Here that would undo what the job has done.
        connection.close = connection._close = lambda: None
        connection.connect = self._refuse("connection.connect()")
        connection.on_commit, connection.run_and_clear_commit_hooks = self.on_commit, self.hold_hooks

    def _refuse(self, what: str) -> Callable[..., Any]:
        def refuse(*args: Any, **options: Any) -> None:
            raise self.rehearsal.refuse(
                _("The job called %s, which would leave the transaction of its rehearsal.") % what
            )

        return refuse

    def set_autocommit(self, autocommit: bool) -> None:
        """Begin what the code takes for a transaction, or end it."""
        if autocommit:
            self._commit_changes()
        else:
            self._begin()
            self._run(f"SAVEPOINT {TRANSACTION}")
            self.before = self.changes.copy()

    def commit(self) -> None:
        """Commit what the code takes for a transaction. The next one begins."""
        self._commit_changes()
        self.set_autocommit(False)

    def rollback(self) -> None:
        """Roll back what the code takes for a transaction. The next one begins."""
        self._run(f"ROLLBACK TO SAVEPOINT {TRANSACTION}")
        self.changes = self.before.copy() if self.before is not None else Changes()
        self.savepoints.clear()

    def _commit_changes(self) -> None:
        if self.before is not None:
            self._check_constraints()
            self._run(f"RELEASE SAVEPOINT {TRANSACTION}")
            self.before = None
            self.savepoints.clear()

    def _check_constraints(self) -> None:
        """Have those checked that are checked as a transaction is committed."""
        if self.vendor == "postgresql":
            self._run("SET CONSTRAINTS ALL IMMEDIATE")
            self._run("SET CONSTRAINTS ALL DEFERRED")

    def on_commit(self, function: Callable[[], Any], robust: bool = False) -> None:
        """Keep a hook until its transaction is committed; outside of one count it at once."""
        connection = self.connection
        if connection.in_atomic_block or not connection.get_autocommit():
            ON_COMMIT(connection, function, robust)
        elif not callable(function):
            raise TypeError("on_commit()'s callback must be a callable.")
        else:
            self.changes.hooks += 1

    def hold_hooks(self) -> None:
        """Count the hooks of a transaction that would be committed, instead of calling them."""
        self.changes.hooks += len(self.connection.run_on_commit)
        self.connection.run_on_commit = []

    # Statements.

    def execute(self, execute: Callable[..., Any], text: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Execute a statement of the job, if a rollback takes it back."""
        if self.is_own:
            return execute(text, params, many, context)
        self._settle_count()
        statements = self._checked(text)
        changes = any(statement.changes for statement in statements)
        if changes or any(statement.savepoint for statement in statements):
            self._begin()
        self._check_transaction()
        if self.vendor == "postgresql" and self.connection.get_autocommit():
            result = self._as_savepoint(partial(execute, text, params, many, context), changes=changes)
        else:
            result = execute(text, params, many, context)
        for statement in statements:
            self._note(statement, context["cursor"], has_rows=len(statements) == 1)
        return result

    def _as_savepoint(self, execute: Callable[[], Any], *, changes: bool) -> Any:
        self._run(f"SAVEPOINT {STATEMENT}")
        try:
            result = execute()
            if changes:
                self._check_constraints()
        except BaseException:
            with suppress(Error):  # of a connection that is broken the first failure counts
                self._run(f"ROLLBACK TO SAVEPOINT {STATEMENT}")
            raise
        self._run(f"RELEASE SAVEPOINT {STATEMENT}")
        return result

    def _checked(self, text: Any) -> list[sql.Statement]:
        plain = self._plain(text)
        try:
            statements = sql.read(plain, self.vendor)
        except sql.NotAllowed as error:
            raise self.rehearsal.refuse_statement(str(error), self.connection.alias) from None
        if self.permanent and any(statement.changes for statement in statements):
            named = re.sub(r"\s*\.\s*", ".", plain.replace("`", "").lower())
            words = {word for name in NAMES.findall(named) for word in (name, *name.split(".")[1:])}
            if tables := self.permanent & words:
                raise self.rehearsal.refuse_table(min(tables), self.connection.alias)
        return statements

    def _plain(self, text: Any) -> str:
        if isinstance(text, bytes):
            return text.decode("utf-8", "backslashreplace")
        return text if isinstance(text, str) else str(text.as_string(self.raw))

    def _note(self, statement: sql.Statement, cursor: Any, *, has_rows: bool) -> None:
        match statement.kind:
            case "SAVEPOINT":
                self.savepoints.append((statement.savepoint, self.changes.copy()))
            case "ROLLBACK":
                self._go_back(statement.savepoint)
            case _ if statement.changes:
                self._count(statement, cursor if has_rows else None)

    def _go_back(self, name: str) -> None:
        for place in range(len(self.savepoints) - 1, -1, -1):
            if self.savepoints[place][0] == name:
                self.changes = self.savepoints[place][1].copy()
                del self.savepoints[place + 1 :]
                return

    def _count(self, statement: sql.Statement, cursor: Any) -> None:
        """Count a statement and its rows. SQLite counts those of one that returns rows once these are read."""
        if cursor is None or statement.kind not in sql.WRITES:
            self.changes.add(statement.kind, statement.table, 0)
        elif self.vendor == "sqlite" and cursor.description is not None:
            self.uncounted = statement, self.raw.total_changes
        else:
            self.changes.add(statement.kind, statement.table, max(cursor.rowcount, 0))

    def _settle_count(self) -> None:
        if self.uncounted is not None:
            (statement, before), self.uncounted = self.uncounted, None
            with suppress(sqlite3.ProgrammingError):  # it is closed
                self.changes.add(statement.kind, statement.table, self.raw.total_changes - before)

    # The transaction.

    def _begin(self) -> None:
        """Begin the transaction. On SQLite with the first write: until then nobody else is kept from writing."""
        if not self.has_begun:
            self.raw.set_authorizer(None)
            self._run("BEGIN IMMEDIATE")
            self.raw.set_authorizer(self._authorize)
            self.has_begun = True

    def _check_transaction(self) -> None:
        """Refuse to go on if the database has ended the transaction, as INSERT OR ROLLBACK of SQLite does."""
        if self.rehearsal.is_over or (self.vendor == "sqlite" and self.has_begun and not self.raw.in_transaction):
            raise self.rehearsal.refuse(_("The transaction of the rehearsal is over. Nothing more can be rehearsed."))

    def _authorize(self, action: int, name: str | None, value: str | None, *where: Any) -> int:
        """Say to SQLite whether a statement may do this, also one that does not come through Django."""
        if action == sqlite3.SQLITE_PRAGMA:
            is_read = value is None or (name or "").startswith(READING_PRAGMAS)
        else:
            is_read = action in READS
        is_allowed = action not in ENDS and (is_read or self.raw.in_transaction)
        return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY

    def _run(self, text: str) -> None:
        with self.connection.wrap_database_errors, closing(self.raw.cursor()) as cursor:
            cursor.execute(text)
