"""Takes samples of what the processes of jobs use that run for longer. Parent process."""

from __future__ import annotations

from qorworker.system.usage import usage_of
from qorworker.worker.board import read_queries
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.pool import Pool
from qorworker.worker.parent.stopping import running_in

INTERVAL = 1.0  # seconds between two looks whether a sample is due


class Sampling:
    """Samples each attempt in its time. A process that attempts share is looked at once for all of them."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def step(self, now: float) -> None:
        """Take the samples that are due."""
        for child in self.pool.children.values():
            if child.pid is not None and child.attempts:
                self._sample(child, child.pid, now)

    def _sample(self, child: Child, pid: int, now: float) -> None:
        running = [attempt for attempt in running_in(child) if attempt.begun is not None]
        due = [attempt for attempt in running if now >= attempt.sample_due_at]
        usage = usage_of(pid) if due else None
        if usage is None:
            return
        if not child.shared_by:
            running[0].queries = read_queries(child.board, child.current_number)
        for attempt in due:
            attempt.take_sample(now, usage, len(running) if child.shared_by else 1)
