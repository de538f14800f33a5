"""When the ends of jobs are written: at once, or a little later together with others. Parent process."""

from __future__ import annotations

from qorworker.worker.parent.dispatcher import Dispatcher

BATCH_OF_ENDS = 200  # this many ends are written without waiting for more
PORTION = 1000  # ends in one write: children run out of jobs while more are written
END_DELAY = 0.005  # seconds that an end waits at most


class WriteDelay:
    """Decides whether ends of jobs wait a moment, so that one write stores many."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.since: float | None = None  # when the oldest unwritten end came in
        self.last_duration = 0.0  # seconds that the last write took

    def may_wait(self, now: float, jobs_wanted: bool) -> bool:
        """Whether more jobs will end so soon that one write for all of them is cheaper."""
        ends = self.dispatcher.writer.ends
        if not ends:
            self.since = None
            return not jobs_wanted
        if self.since is None:
            self.since = now
        if len(ends) >= BATCH_OF_ENDS or now >= self.since + self._delay():
            return False
        return self.has_waiting_jobs() or self._soon_free(self._delay())

    def deadline(self) -> float | None:
        """When the waiting ends must be written; None if no end waits."""
        return None if self.since is None else self.since + self._delay()

    def written(self, now: float, seconds: float) -> None:
        """Note that ends were written, and how long that took. More may have come in meanwhile."""
        self.since, self.last_duration = now if self.dispatcher.writer.ends else None, seconds

    def has_waiting_jobs(self) -> bool:
        """Whether jobs wait in children: they end faster than each end could be written alone."""
        return any(len(child.attempts) > 1 for child in self.dispatcher.pool.children.values())

    def must_claim_first(self) -> bool:
        """Whether children have jobs waiting, which would run out while ends are written."""
        return any(len(child.attempts) > child.limit for child in self.dispatcher.pool.children.values())

    def has_backlog(self) -> bool:
        """Whether so many ends wait to be written that no more jobs are to be claimed before."""
        return len(self.dispatcher.writer.ends) >= 2 * PORTION

    def _soon_free(self, seconds: float) -> bool:
        """Whether a child is likely to end its job within this time."""
        seconds_for = self.dispatcher.durations.seconds
        return any(seconds_for(attempt.job.name) < seconds for attempt in self.dispatcher.stopping.running())

    def _delay(self) -> float:
        """Seconds to wait: with jobs waiting in children the full delay, otherwise no longer than a write takes."""
        return END_DELAY if self.has_waiting_jobs() else min(END_DELAY, self.last_duration)
