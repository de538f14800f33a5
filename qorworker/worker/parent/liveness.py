"""Checks that the fork server answers: one that is stopped or traced is alive and of no use. Parent process."""

from __future__ import annotations

from collections.abc import Callable

INTERVAL = 1.0  # seconds between two pings
SILENT = 4  # it counts as silent after this many intervals without an answer
HOPELESS = 15  # after this many it is replaced as soon as no job runs


class Liveness:
    """Counts the intervals without an answer in which this process was awake.

    After a pause of both processes the fork server thus still has time to answer.
    """

    def __init__(self, ping: Callable[[], None]) -> None:
        self._ping = ping
        self._is_waiting = False
        self._missed = 0
        self._next_at = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether it has not answered for a while."""
        return self._missed >= SILENT

    @property
    def has_just_become_silent(self) -> bool:
        """Whether it counts as silent since the last interval."""
        return self._missed == SILENT

    @property
    def is_hopeless(self) -> bool:
        """Whether it has been silent for so long that it should be replaced."""
        return self._missed >= HOPELESS

    def ping_if_due(self, now: float) -> bool:
        """Send a ping if one is due, and return whether an interval is over."""
        if now < self._next_at:
            return False
        self._next_at = now + INTERVAL
        if self._is_waiting:
            self._missed += 1
        else:
            self._is_waiting = True
            self._ping()
        return True

    def note_answer(self) -> None:
        """Note an answer, or a new fork server."""
        self._is_waiting, self._missed = False, 0
