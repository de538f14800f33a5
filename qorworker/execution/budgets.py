"""Counts what an attempt does, and ends it beyond a budget of its type. Wherever a job runs.

What a handler does in threads that it has started itself is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils.translation import ngettext

from qorworker.exceptions import BudgetExceeded
from qorworker.execution import mail

BLOCKS = "BEGIN", "SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO"
READY = "_qorworker_session"  # an attribute of a connection: the session that is set up
_current: ContextVar[Budgets | None] = ContextVar("qorworker_budgets", default=None)


class Budgets:
    """The budgets of one attempt, and what it has used of them."""

    def __init__(self, most: Mapping[str, int]) -> None:
        self.most = most
        self.used = Counter[str]()
        self.exceeded = ""  # the sentence about the first one that was
        self.is_counting = False

    def use(self, name: str, number: int = 1) -> None:
        """Count what is about to happen. Raises ``BudgetExceeded`` if it is too much, and from then on each time."""
        if not self.is_counting:
            return
        if not self.exceeded and name in self.most:
            self.used[name] += number
            if self.used[name] > self.most[name]:
                self.exceeded = _sentence(name, self.most[name])
        if self.exceeded:
            raise BudgetExceeded(self.exceeded)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what happens in this block. Raises ``BudgetExceeded`` at its end if the block has suppressed that."""
        if "max_queries" in self.most:
            watch_queries()
        if "max_mails" in self.most:
            mail.watch()
        tokens = _current.set(self), mail.watcher.set(lambda messages: self.use("max_mails", len(messages)))
        self.is_counting = True
        try:
            yield
        finally:
            self.is_counting = False
            _current.reset(tokens[0])
            mail.watcher.reset(tokens[1])
        if self.exceeded:
            raise BudgetExceeded(self.exceeded)


@contextmanager
def uncounted() -> Iterator[None]:
    """Count no queries in this block: they are not those of the job."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def watch_queries() -> None:
    """Look at the queries of the connections of this thread, and of all that are opened from now on."""
    connection_created.connect(_watch, dispatch_uid="qorworker budgets")
    for connection in connections.all(initialized_only=True):
        _watch(connection=connection)


def _watch(*, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    vars(connection)[READY] = connection.connection
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.append(_count)


def _count(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    budgets = _current.get()
    # What begins or ends a block of a transaction is no query of the job, and its end must not fail.
    if budgets is not None and _is_ready(context["connection"]) and not str(sql).startswith(BLOCKS):
        budgets.use("max_queries")
    return execute(sql, params, many, context)


def _is_ready(connection: BaseDatabaseWrapper) -> bool:
    """Whether it is connected and set up. What Django asks of a new session are no queries of the job."""
    return vars(connection).get(READY) is connection.connection


def _sentence(name: str, most: int) -> str:
    match name:
        case "max_queries":
            text = ngettext(
                "The job would have made more than %(most)s database query (%(name)s).",
                "The job would have made more than %(most)s database queries (%(name)s).",
                most,
            )
        case "max_mails":
            text = ngettext(
                "The job would have sent more than %(most)s mail (%(name)s).",
                "The job would have sent more than %(most)s mails (%(name)s).",
                most,
            )
        case "max_log_lines":
            text = ngettext(
                "The job would have added more than %(most)s line to its log (%(name)s).",
                "The job would have added more than %(most)s lines to its log (%(name)s).",
                most,
            )
        case _:
            text = ngettext(
                "The job would have added more than %(most)s row to its results (%(name)s).",
                "The job would have added more than %(most)s rows to its results (%(name)s).",
                most,
            )
    return text % {"most": most, "name": name}
