"""What the loop of a worker does again and again, and when that is due. Parent process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qorworker.database.connection import Database
from qorworker.system.processes import monotonic


@dataclass
class Duty:
    """A periodic task. ``work`` is called with the time, and waits for the database if it needs it."""

    work: Callable[[float], Any]
    every: float  # seconds
    at: float = 0.0
    needs_database: bool = True
    urgent: bool = False  # after a failure it is repeated as soon as the database may be called again

    def attend(self, database: Database) -> None:
        """Do the work if it is due."""
        now = monotonic()
        if now < self.at or (self.needs_database and database.is_down(now)):
            return
        self.at = next_moment(now, self.every)
        if not self.needs_database:
            self.work(now)
            return
        before = database.failures
        database.call(now, lambda: self.work(now))
        if self.urgent and database.failures > before:
            self.at = now

    def bring_forward(self, at: float) -> None:
        """Have the work done at this time already, unless it is due earlier."""
        self.at = min(self.at, at)


def next_moment(now: float, every: float) -> float:
    """Return the next multiple of *every*. Duties share these moments, so the process wakes up less often."""
    return (now // every + 1) * every
