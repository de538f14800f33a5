"""Shares a worker among its queues by their weights. Parent process."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from qorworker.conf import settings


class FairShare:
    """Gives each queue in which jobs wait a share of the claims, in proportion to its weight.

    The queue that has had least for its weight is next. A queue in which no job waited saves up nothing.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights
        self.used: dict[str, float] = {}  # jobs claimed from each queue, divided by its weight
        self.level = 0.0  # what the last chosen queue had used

    def next(self, queues: Collection[str]) -> str:
        """Return the one of *queues* to claim from."""
        for queue in queues:
            self.used[queue] = max(self.level, self.used.get(queue, 0.0))
        chosen = min(queues, key=lambda queue: (self.used[queue], queue))
        self.level = self.used[chosen]
        return chosen

    def count(self, queue: str, jobs: int) -> None:
        """Count *jobs* that were claimed from a queue."""
        self.used[queue] = max(self.level, self.used.get(queue, 0.0)) + jobs / self.weights.get(queue, 1)


def fair_share() -> FairShare | None:
    """Return the shares of the settings. None without weights: then priorities decide across all queues."""
    weights = {name: queue["WEIGHT"] for name, queue in settings.QUEUES.items() if "WEIGHT" in queue}
    return FairShare(weights) if weights else None
