"""Notices that children wait for this worker while it waits for a lock that one of them may hold. Parent process.

A job may lock the database in its own transaction, as each write does on SQLite, and report more meanwhile than this
process keeps in memory. Then neither can go on by itself.
"""

from __future__ import annotations

from qorworker.conf import settings


class Stalemate:
    """Watches how many bytes wait to be written while children are slowed down for that reason."""

    def __init__(self) -> None:
        self._bytes = 0  # at the last look
        self._since: float | None = None  # since when none of them was written

    def has_come(self, now: float, waiting: int, *, is_muted: bool) -> bool:
        """Whether nothing was written for as long as a lease lasts, although the database works.

        :param waiting: how many bytes wait to be written.
        :param is_muted: whether children are slowed down for that reason, and the database works.
        """
        if not is_muted:
            self._since = None
        elif self._since is None or waiting < self._bytes:
            self._since = now
        self._bytes = waiting
        if self._since is None or now - self._since <= float(settings.LEASE):
            return False
        self._since = now  # what ends it has as much time
        return True
