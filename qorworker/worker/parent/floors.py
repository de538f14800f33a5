"""Remembers where the claims of this worker begin: behind the jobs that it has found taken. Parent process.

PostgreSQL, MariaDB and MySQL keep the index entries of claimed jobs while an older transaction is open, and each claim
would pass all of them. For each queue and priority there is a floor, an id: no job before it waits, as far as this
worker knows. A job may come to wait there all the same: it was retried, released or rescued, or its id was assigned
long before it was committed. What this worker returns itself it remembers. Everything else is found by the next look at
all entries.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from qorworker.models.sql import WHOLE, Claim, Claimed, Heads, Position, Stretch
from qorworker.models.sql.claims import rank

SLACK = 200  # ids that a walk begins earlier: jobs that were committed a little late are found at once
QUEUES = 50  # queues without waiting jobs that are remembered; the rest is found by the next look at all entries
PRIORITIES = 20  # with a floor of their own in a queue
RETURNED = 100  # jobs that were returned and are remembered


class Floors:
    """The floors of one worker, which hold for the jobs that it may claim."""

    def __init__(self) -> None:
        self._scope: tuple[Sequence[str], Sequence[int]] = (), ()  # names and ids that claims are confined to
        self.top = 0  # the highest id seen
        self._floors: dict[str, dict[int, int]] = {}  # queue to priority to the id where a walk begins
        self._returned: list[Position] = []

    @property
    def queues(self) -> Collection[str]:
        """The queues in which jobs waited."""
        return self._floors.keys()

    def hold_for(self, names: Sequence[str], but: Sequence[int]) -> None:
        """Forget the floors if claims may now take other jobs than those that they were made for."""
        if self._scope != (names, but):
            self._scope = names, but
            for floors in self._floors.values():
                floors.clear()

    def stretches(self, queue: str) -> Sequence[Stretch]:
        """Return what a claim walks in a queue, in the order of the claim."""
        floors = sorted(self._floors.get(queue, {}).items(), reverse=True)
        if not floors:
            return WHOLE
        (everything,) = WHOLE
        ends = [(everything.high + 1, 0), *floors, (everything.low - 1, 0)]
        stretches = []
        for (above, _), (priority, floor) in pairwise(ends):
            if above - 1 > priority:  # the priorities in between, of which no job was seen
                stretches.append(Stretch(above - 1, priority + 1))
            if priority >= everything.low:
                stretches.append(Stretch(priority, priority, floor))
        return stretches

    def returned(self, queues: Collection[str]) -> list[int]:
        """Return the jobs in these queues that this worker has returned, and that no stretch has."""
        return [job.id for job in self._returned if job.queue_name in queues and job.id < self._floor(job)]

    def give_back(self, jobs: Collection[Position]) -> None:
        """Remember jobs that wait again."""
        self._returned = [*self._returned, *jobs][-RETURNED:]

    def raise_for(self, claim: Claim, jobs: Sequence[Claimed]) -> None:
        """Learn from what a claim took: everything before the last of these jobs is taken, or everything at all."""
        self.top = max([self.top, *[job.id for job in jobs]])
        if self._scope != (claim.names, claim.but) or not (jobs or claim.slots):
            return  # made before the scope changed; or the first job may not wait in a child, so none was taken
        last = None if len(jobs) < claim.slots else rank(jobs[-1])
        for queue in claim.queues:
            self._raise_in(queue, claim, {job.priority for job in jobs if job.queue_name == queue}, last)
        if self._returned:
            passed = {job for job in self._returned if last is None or (-job.priority, job.id) <= last}
            self._returned = [job for job in self._returned if job not in passed or job.id not in claim.returned]

    def _raise_in(self, queue: str, claim: Claim, found: set[int], last: tuple[int, int] | None) -> None:
        floors = self._floors.setdefault(queue, {})
        begun = {stretch.high: stretch.first for stretch in claim.stretches.get(queue, ())}
        for priority in [*(known for known in floors if known not in found), *found]:  # the latest at the end
            floor = floors.pop(priority, 0)
            has_seen = begun.get(priority, 0) <= floor  # else a look has lowered it since the claim was made
            floors[priority] = max(floor, self._seen_to(priority, last) + 1 - SLACK) if has_seen else floor
        for priority in list(floors)[:-PRIORITIES]:
            del floors[priority]

    def set_to(self, heads: Mapping[str, Heads]) -> None:
        """Set the floors to what a look at all entries has found."""
        self.top = max([self.top, *(pk for each in heads.values() for pk in each.first.values())])
        quiet = [queue for queue in self._floors if queue not in heads]
        for queue in quiet[: max(0, len(quiet) - QUEUES)]:
            del self._floors[queue]
        for queue, each in heads.items():
            self._floors[queue] = {**self._floors.pop(queue, {}), **each.first}  # to the end: the latest
        for queue, floors in self._floors.items():
            first = heads[queue].first if queue in heads else {}
            for priority in floors:
                floors[priority] = first.get(priority, max(floors[priority], self.top + 1 - SLACK))

    def _floor(self, job: Position) -> int:
        return self._floors.get(job.queue_name, {}).get(job.priority, 0)

    def _seen_to(self, priority: int, last: tuple[int, int] | None) -> int:
        """Return the id up to which a claim has seen all jobs of a priority; *last* is the rank of its last job."""
        if last is None or -priority < last[0]:
            return self.top
        return last[1] if -priority == last[0] else 0
