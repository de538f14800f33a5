"""Limits that the server keeps for the parent: of statements, locks and idle transactions. Parent process.

Behind a pooler such as PgBouncer in transaction mode, all clients share the sessions, and settings would stay for the
site's own connections. There each transaction sets its own limits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from django.db import transaction

from qorworker.database.call_guard import answer_limit

LOCK_SECONDS = 5
SQLITE_LOCK_SECONDS = 2
IDLE = 0  # psycopg's status outside a transaction


def statement_limit() -> float:
    """Return the seconds for one statement. The server gives up before its client does."""
    return answer_limit() - 1.0


def set_limits(connection: Any) -> bool:
    """Set limits on a new session, so that no statement can block the worker. Return whether it owns the session."""
    if connection.vendor == "postgresql" and is_pooled(connection):
        if _limit_transaction not in connection.execute_wrappers:
            # Around all others: the thread that may carry out a statement would begin a transaction of its own.
            connection.execute_wrappers.insert(0, _limit_transaction)
        return False
    seconds, mariadb = statement_limit(), bool(getattr(connection, "mysql_is_mariadb", False))
    statements: dict[str, list[str]] = {
        "postgresql": [_postgresql(local=False)],
        "mysql": [
            *([f"SET SESSION max_statement_time = {seconds}"] if mariadb else []),
            *([f"SET SESSION idle_transaction_timeout = {round(seconds)}"] if mariadb else []),
            f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}",
        ],
        "sqlite": [f"PRAGMA busy_timeout = {SQLITE_LOCK_SECONDS * 1000}"],
    }
    with connection.cursor() as cursor:
        for statement in statements[connection.vendor]:
            cursor.execute(statement)
    return True


def is_pooled(connection: Any) -> bool:
    """Whether a pooler stands between this process and PostgreSQL: it makes up the process id of its sessions."""
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return bool(cursor.fetchone()[0] != connection.connection.info.backend_pid)


def _postgresql(*, local: bool) -> str:
    values: dict[str, int | str] = {
        "statement_timeout": round(statement_limit() * 1000),
        "lock_timeout": LOCK_SECONDS * 1000,
        "idle_in_transaction_session_timeout": round(statement_limit() * 1000),
    }
    if not local:
        # The statements of a worker are prepared. To plan a claim for its values each time takes longer than to run it.
        # A plan that was made while the table was empty is in use when it has grown, so it must not read all of it.
        values |= {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}
    return "SELECT " + ", ".join(
        f"set_config('{name}', '{value}', {'true' if local else 'false'})" for name, value in values.items()
    )


def _limit_transaction(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Before the first statement of each transaction, set limits that end with it."""
    connection = context["connection"]
    if connection.connection.info.transaction_status != IDLE:
        return execute(sql, params, many, context)
    alone = connection.get_autocommit()
    with transaction.atomic(using=connection.alias, savepoint=False) if alone else nullcontext():
        with connection.wrap_database_errors:
            context["cursor"].cursor.execute(_postgresql(local=True))
        return execute(sql, params, many, context)
