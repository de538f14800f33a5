"""Whose turn it is among the queues, where they have weights. Parent process."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from qorworker.conf import settings


class Turns:
    """Gives each queue in which jobs wait its share of the jobs that are taken, in proportion to its weight.

    The queue that has had least for its weight is next. One in which nothing waited has saved nothing up.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights
        self.had: dict[str, float] = {}  # jobs taken, divided by the weight
        self.level = 0.0  # what the queue whose turn it was last had

    def next(self, queues: Collection[str]) -> str:
        """The one of *queues* to take from."""
        for queue in queues:
            self.had[queue] = max(self.level, self.had.get(queue, 0.0))
        chosen = min(queues, key=lambda queue: (self.had[queue], queue))
        self.level = self.had[chosen]
        return chosen

    def note(self, queue: str, jobs: int) -> None:
        """So many jobs were taken from a queue."""
        self.had[queue] = max(self.level, self.had.get(queue, 0.0)) + jobs / self.weights.get(queue, 1)


def turns() -> Turns | None:
    """None if no queue has a weight: then the jobs' priorities decide across all queues."""
    weights = {name: queue["WEIGHT"] for name, queue in settings.QUEUES.items() if "WEIGHT" in queue}
    return Turns(weights) if weights else None
