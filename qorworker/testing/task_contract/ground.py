"""The base of the contract for backends of Django's task framework. Test processes only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qorworker.compat import (
    TaskResult,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
    task_started,
)


class Ground:
    """The base of every part of the contract."""

    alias = "default"
    other_queue = "other"  # a second queue of the backend, for tests of names; "" if it has none
    sends_signals_here = True  # started and finished are sent in the process of the test, at the latest by ``drain``
    accepts_timedelta = False  # as ``run_after``
    is_strict = False  # refuses NaN, and arguments that the function does not take, when a task is enqueued
    patience = 30.0

    @pytest.fixture
    def running(self) -> Iterator[None]:
        """Run tasks during each test."""
        yield

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        return str(tmp_path / "lines")

    def drain(self) -> None:
        """Run what waits, unless something else does that."""

    # What the tests use.

    @property
    def backend(self) -> Any:
        return task_backends[self.alias]

    def here(self, task: Any, **changes: Any) -> Any:
        return task.using(backend=self.alias, **changes)

    def run(self, task: Any, *args: Any, **kwargs: Any) -> TaskResult[Any, Any]:
        """Return the result of a task that has ended."""
        return self.ended(self.here(task).enqueue(*args, **kwargs))

    def ended(self, result: TaskResult[Any, Any]) -> TaskResult[Any, Any]:
        self.drain()
        deadline = time.monotonic() + self.patience
        while not result.is_finished:
            assert time.monotonic() < deadline, f"{result.task.name} is {result.status}"
            time.sleep(0.02)
            result.refresh()
        return result


@contextmanager
def heard() -> Iterator[list[tuple[str, type[Any], str, TaskResultStatus]]]:
    """The signals that are sent meanwhile: name, sender, id and status."""
    events: list[tuple[str, type[Any], str, TaskResultStatus]] = []

    def receiver_for(name: str) -> Callable[..., None]:
        def receive(sender: type[Any], task_result: TaskResult[Any, Any], **kwargs: Any) -> None:
            events.append((name, sender, task_result.id, task_result.status))

        return receive

    signals = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
    receivers = {name: receiver_for(name) for name in signals}
    for name, signal in signals.items():
        signal.connect(receivers[name])
    try:
        yield events
    finally:
        for name, signal in signals.items():
            signal.disconnect(receivers[name])
