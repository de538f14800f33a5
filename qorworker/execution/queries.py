"""Counts the queries of attempts, and how long these take. Wherever a job runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any

from django.db import connections

Told = Callable[[int, int, float], None]  # the number of an attempt, its queries so far, the seconds that these took


class Tally:
    """The queries of one attempt. *tell* is called after each of them."""

    __slots__ = ("count", "number", "seconds", "sent", "tell")

    def __init__(self, number: int, tell: Told | None = None) -> None:
        self.number = number  # of the attempt, among those of its process
        self.count, self.seconds = 0, 0.0
        self.sent = 0  # how many of these were reported, if nothing is told
        self.tell = tell

    def add(self, seconds: float) -> None:
        """Add one query."""
        self.count += 1
        self.seconds += seconds
        if self.tell is not None:
            self.tell(self.number, self.count, self.seconds)


class QueryCounter:
    """Is around each query of each connection, as ``execute_wrapper`` puts it. It adds about a microsecond."""

    def __init__(self) -> None:
        self.process_id = 0  # of the process whose queries count: what a job forks counts nothing
        self.current_tally: Callable[[], Tally] = lambda: Tally(0)

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        begun = perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            if os.getpid() == self.process_id:
                self.current_tally().add(perf_counter() - begun)


@contextmanager
def counted(tally: Tally) -> Iterator[None]:
    """Count the queries of this thread in this block."""
    counter = QueryCounter()
    counter.process_id, counter.current_tally = os.getpid(), lambda: tally
    wrappers = [connection.execute_wrappers for connection in connections.all()]
    for each in wrappers:
        each.append(counter)
    try:
        yield
    finally:
        for each in wrappers:
            with suppress(ValueError):  # the handler has taken it away
                each.remove(counter)
