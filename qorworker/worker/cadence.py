"""When the ends of jobs are written: at once, or a little later together with others. Parent process."""

from __future__ import annotations

from qorworker.worker.dispatcher import Dispatcher

BATCH_OF_ENDS = 200  # ends that are written without waiting for more
END_DELAY = 0.005  # seconds that an end waits at most


class Cadence:
    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.since: float | None = None  # the oldest end that is not written
        self.usual = 0.0  # seconds that the last write took

    def may_wait(self, now: float, jobs_wanted: bool) -> bool:
        """Whether others will end so soon that writing all of them together takes less time."""
        ends = self.dispatcher.writer.ends
        if not ends:
            self.since = None
            return not jobs_wanted
        if self.since is None:
            self.since = now
        if len(ends) >= BATCH_OF_ENDS or now >= self.since + self._delay():
            return False
        return self.hurried() or self._soon_free(self._delay())

    def latest(self) -> float | None:
        """When what waits is written whatever happens."""
        return None if self.since is None else self.since + self._delay()

    def written(self, seconds: float) -> None:
        """Everything was written, and that took so long."""
        self.since, self.usual = None, seconds

    def hurried(self) -> bool:
        """Whether jobs wait in children: they end faster than each could be written alone."""
        return any(len(child.attempts) > 1 for child in self.dispatcher.pool.children.values())

    def _soon_free(self, seconds: float) -> bool:
        """Whether a child is likely to end its job within this time."""
        seconds_for = self.dispatcher.pace.seconds
        return any(seconds_for(attempt.job.name) < seconds for attempt in self.dispatcher.with_children())

    def _delay(self) -> float:
        """While jobs wait in children many end in no time; otherwise waiting must not last longer than a write."""
        return END_DELAY if self.hurried() else min(END_DELAY, self.usual)
