"""Which attempts share a child, and what is asked about one of them alone. Parent process.

A child takes attempts of one type together until none is left in it; then it takes any work again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import takewhile

from qorworker.attempts.attempt import RunningAttempt
from qorworker.execution.messages import CANCEL, STACK, SUSPEND
from qorworker.status import CRASH_LIMIT
from qorworker.text.cleaning import visible
from qorworker.worker.parent.channels import Child, last_ones
from qorworker.worker.parent.durations import Durations
from qorworker.worker.parent.pool import Pool

logger = logging.getLogger(__name__)

# Seconds for which a worker neither looks at an attempt that shares a child, nor writes that it runs: there are
# thousands, and most end sooner. With this the parent had a fifth of its time and more for these ends.
YOUNG = 0.5


class Sharing:
    """The children that run attempts together, and these attempts."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.children: list[Child] = []
        self._places: dict[RunningAttempt, tuple[Child, int]] = {}  # where each runs, under which number
        self._given: dict[RunningAttempt, float] = {}  # when each was handed to its child, in that order
        self.latest, self.limit = "", 0  # the type of which an attempt began last, and how many run together
        self.durations = Durations()
        self._kill_at: dict[RunningAttempt, float] = {}  # when the child of one that was asked to end is killed

    def __len__(self) -> int:
        return len(self._places)

    def child_of(self, attempt: RunningAttempt) -> Child | None:
        """Return the child in which an attempt runs together with others."""
        return self._places[attempt][0] if attempt in self._places else None

    def room(self, idle: int) -> int:
        """Return how many more attempts of the latest type its children take, and *idle* ones besides them."""
        if not self.latest:
            return 0
        most = self.durations.together(self.latest, self.limit)
        children = [child for child in self.children if child.shared_by == self.latest and not child.leaving]
        children = [child for child in children if child.limit == self.limit]  # those that run no job alone
        free = [most - len(child.attempts) for child in children] + [most] * idle
        is_due = any(2 * each >= most - self.limit and each > 0 for each in free)  # else it has enough to go on with
        return sum(each for each in free if each > 0) if is_due else 0

    def with_room(self, attempt: RunningAttempt) -> Child | None:
        """Return the fullest child that runs the type of an attempt and begins it at once."""
        children = [child for child in self._children_for(attempt) if len(child.attempts) < child.limit]
        return max(children, key=_length, default=None)

    def to_wait_in(self, attempt: RunningAttempt, limit: int) -> Child | None:
        """Return the emptiest child in which an attempt may wait behind others of its type."""
        child = min(self._children_for(attempt), key=_length, default=None)
        most = self.durations.together(attempt.job.name, limit)
        return child if child and child.limit == limit and len(child.attempts) < most else None

    def _children_for(self, attempt: RunningAttempt) -> list[Child]:
        name = "" if is_alone(attempt) else attempt.job.name
        return [child for child in self.children if child.shared_by == name and not child.leaving]

    def add(self, child: Child, attempt: RunningAttempt, limit: int, now: float) -> None:
        """Note that a child gets this attempt. It is given to the child right after that."""
        if not child.attempts:
            child.shared_by, child.limit = attempt.job.name, 1 if is_alone(attempt) else limit
            child.together.clear()
            child.given_together, child.has_secrets = 0, False
            self.children.append(child)
            if child.limit == limit:
                self.latest, self.limit = attempt.job.name, limit
        number = child.served + 1
        child.together[number] = attempt
        child.given_together += 1
        child.has_secrets = child.has_secrets or bool(attempt.mask)
        self._places[attempt], self._given[attempt] = (child, number), now

    def remove(self, child: Child, attempt: RunningAttempt) -> None:
        """Note that an attempt has ended, or was taken back."""
        child.attempts.remove(attempt)
        self._forget(child, attempt)

    def _forget(self, child: Child, attempt: RunningAttempt) -> None:
        del child.together[self._places.pop(attempt)[1]]
        self._kill_at.pop(attempt, None)
        del self._given[attempt]
        if not child.attempts and child.shared_by:
            child.shared_by, child.limit = "", 1
            self.children.remove(child)

    def begun_in(self, child: Child) -> list[RunningAttempt]:
        """Return the attempts that an ended child had begun: it begins them in their order, up to its limit."""
        if child.has_left:
            return []
        last_read = child.served - last_ones(child.lengths, child.unread)
        return [child.together[number] for number in sorted(child.together) if number <= last_read][: child.limit]

    def take_back(self, child: Child, attempts: list[RunningAttempt]) -> None:
        """Note that attempts were taken back from a child, which does not begin them."""
        for attempt in attempts:
            self._forget(child, attempt)

    def given_before(self, moment: float) -> Iterable[RunningAttempt]:
        """Return the attempts that were handed to their child before *moment*."""
        return takewhile(lambda attempt: self._given[attempt] < moment, self._given)

    def without_young(self, attempts: Iterable[RunningAttempt], now: float) -> Iterator[RunningAttempt]:
        """Yield *attempts* without those that share a child since just now, and have reported nothing."""
        moment = now - YOUNG
        return (each for each in attempts if each.has_reported or self._given.get(each, moment) <= moment)

    def is_overrun(self, child: Child, before: float) -> bool:
        """Whether an attempt has waited in a child since *before*: those that run take long, or block their loop."""
        waits = None if child.keeps_current else child.together.get(child.last_begun + 1)
        return waits is not None and self._given[waits] < before

    def next_in(self, child: Child) -> RunningAttempt | None:
        """Return the attempt that takes the place of one that has ended, if the child is still full."""
        return child.attempts[child.limit - 1] if len(child.attempts) >= child.limit else None

    def log_output(self, child: Child, line: str) -> None:
        """Log a line that came past Python: nobody knows of which of the jobs. Secrets of ended jobs are not masked."""
        text = "(not shown, because one of them has secrets)" if child.has_secrets else visible(line)
        logger.warning("Process %s, which runs jobs of %s together, printed: %s", child.pid, child.shared_by, text)

    def cancel(self, attempt: RunningAttempt, kill_at: float) -> None:
        """Ask for the end of one attempt. If it does not end in time, its child is killed with all that it runs."""
        child, number = self._places[attempt]
        self.pool.channels.request(child, CANCEL, number)
        self._kill_at[attempt] = kill_at

    def suspend(self, attempt: RunningAttempt) -> None:
        """Ask for the end of the loop of an attempt, between two items."""
        child, number = self._places[attempt]
        self.pool.channels.request(child, SUSPEND, number)

    def ask_for_stack(self, attempt: RunningAttempt) -> None:
        """Ask the loop of its child for the stack of an attempt."""
        child, number = self._places[attempt]
        self.pool.channels.request(child, STACK, number)

    def kill_overdue(self, now: float) -> None:
        """Kill the children of attempts that did not end in time."""
        for attempt, kill_at in list(self._kill_at.items()):
            child = self.child_of(attempt)  # None if its end has come in together with that of an earlier one
            if child is None or now < kill_at:
                continue
            if self.pool.channels.catch_up(child) and attempt in self._places:  # its end may just have come in
                self.pool.stop(child, 0)


def is_alone(attempt: RunningAttempt) -> bool:
    """Whether an attempt of a shared type runs without others: one more crash would be its end, and perhaps theirs.

    A job that may not be run again, because it was enqueued before its type was shared, must not end with another.
    """
    return attempt.job.crashes >= CRASH_LIMIT - 1 or attempt.job.max_attempts == 1


def _length(child: Child) -> int:
    return len(child.attempts)
