"""Kills children, and processes that jobs left behind, when the fork server does not answer. Parent process.

The fork server is the parent of these processes: until it reaps one, no other process can get its number.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Collection

from qorworker.system import processes, termination
from qorworker.worker.parent.channels import Child

ROUNDS = 50  # looks in a row before other work gets a turn


class FallbackKiller:
    """Stops children step by step, as the fork server would."""

    def __init__(self) -> None:
        self.fork_server = 0
        self._killed = termination.KilledProcesses()
        self._due: dict[Child, tuple[float, float]] = {}  # when the last look before its end was, and when it was due

    def step(
        self, fork_server: int, own_children: Collection[int], children: Collection[Child], now: float
    ) -> list[tuple[Child, int]]:
        """Take the next step for stopping children. Return those that have ended, each with its number of survivors."""
        if fork_server != self.fork_server:
            self.fork_server, self._killed = fork_server, termination.KilledProcesses()
            self._due.clear()
        due = [child for child in children if child.stopping and self._is_due(child, now)]
        if not due:
            return []
        spared = {child.pid for child in children if child not in due} | set(own_children)
        for child in due:
            self._due.setdefault(child, (self._killed.looked_at, processes.monotonic()))
        self._killed.note(self._kill_all_but(spared), processes.monotonic())
        return [(child, self._killed.number(self._due.pop(child)[0])) for child in due if self._is_over(child)]

    def _is_over(self, child: Child) -> bool:
        since, due_at = self._due[child]
        return self._killed.is_over(since, self._killed.looked_at - due_at)

    def _is_due(self, child: Child, now: float) -> bool:
        """Whether a child must be killed now. It is asked to end first, and its grace starts then."""
        if child.pid is None:
            return False
        if child.asked_to_end_at is None:
            child.asked_to_end_at = now
            if child.grace:
                processes.signal_child(self.fork_server, child.pid, signal.SIGTERM)
        return now >= child.asked_to_end_at + child.grace or processes.has_ended(child.pid)

    def _kill_all_but(self, spared: Collection[int | None]) -> list[int]:
        """Kill the fork server's children until a look proves that none lives. Return those that have not ended yet.

        A process that ends during a look hands on its children, perhaps past that look. So a look is a proof only if
        every process that it finds had already ended at the previous look.
        """
        ended: set[int] = set()
        for _ in range(ROUNDS):
            strays = {pid for pid in processes.children_of(self.fork_server) if pid not in spared}
            lingering = strays - ended
            if not lingering:
                break
            ended = {pid for pid in strays if processes.has_ended(pid)}
            if alive := strays - ended:
                for pid in alive:
                    processes.signal_child(self.fork_server, pid, signal.SIGKILL)
                time.sleep(termination.POLL_INTERVAL)
        return list(lingering)
