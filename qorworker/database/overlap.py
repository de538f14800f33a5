"""Runs statements in a thread, so that the loop goes on while the database works. Parent process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

PAUSE = 0.003  # seconds between two rounds of the loop meanwhile; each event by itself would cost a wake-up


class Overlap:
    """Carries out a connection's statements in its thread while the caller's own thread does other work.

    Never two at once: whatever else needs the connection meanwhile calls ``wait`` first. Results, errors and
    transactions stay in the hands of the caller, so no code but this needs to be aware of the thread.
    """

    def __init__(self) -> None:
        self._work: Callable[[], None] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._current: Future[Any] | None = None
        self._caller: int | None = None  # the thread that waits for it

    @contextmanager
    def meanwhile(self, work: Callable[[], None]) -> Iterator[None]:
        """In this block call *work* again and again as long as a statement takes. It must need no database."""
        self._work = work
        try:
            yield
        finally:
            self._work = None

    def execute(self, execute: Callable[..., Any], *statement: Any) -> Any:
        """Return ``execute(*statement)``, in the thread if there is other work. For ``execute_wrappers``."""
        if self._work is None:
            return execute(*statement)
        if self._caller is not None:
            self.wait()
            return execute(*statement)
        self._caller = threading.get_ident()
        try:
            self._current = current = self._submit(execute, *statement)
            if current is None:
                return execute(*statement)
            while not _is_done(current, PAUSE):
                self._work()
            return current.result()
        finally:
            self.wait()  # also after an error of the other work
            self._current = self._caller = None

    def _submit(self, execute: Callable[..., Any], *statement: Any) -> Future[Any] | None:
        """Have the thread carry it out. None if the system has no room for a thread."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "qorworker statements")
        try:
            return self._executor.submit(execute, *statement)
        except RuntimeError:
            self._executor = None  # it still holds the statement, which must not be carried out twice
            return None

    def wait(self) -> None:
        """Wait until no statement is being carried out. One that consists of several does not wait for itself."""
        if self._current is not None and threading.get_ident() == self._caller:
            self._current.exception()

    def close(self) -> None:
        """End the thread."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None


def _is_done(current: Future[Any], seconds: float) -> bool:
    try:
        current.exception(seconds)
    except TimeoutError:
        return current.done()
    return True
