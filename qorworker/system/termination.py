"""Kills processes that jobs have left behind. In the parent, the fork server, and the children of Celery's pools.

The nearest ancestor that adopts orphans (``processes.adopt_orphans``) gets the children of a dying process before that
process can be reaped. So whatever a tree does while it is killed, each of its processes ends up as a child of that
ancestor, and only a look after the last process was reaped proves that none is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

from qorworker.system import processes

ROUNDS = 1000  # looks in a row before other work gets a turn
EXIT_TIMEOUT = 5.0  # seconds after KILL after which a process counts as a survivor
TOTAL_TIMEOUT = 60.0  # seconds for all processes of a job, which may be many, and may start new ones
POLL_INTERVAL = 0.002  # seconds between two looks at processes that end slowly

Look = Callable[[], Sequence[int]]


def kill_and_reap(strays: Look) -> Sequence[int]:
    """Kill and reap what *strays* finds until it finds none. Return those that were killed and have not ended yet.

    *strays* returns children of this process, also those that were killed and have not ended.
    """
    pids: Sequence[int] = ()
    for _ in range(ROUNDS):
        if not (pids := strays()):
            return ()
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not sum(map(_reaped, pids)):
            return pids
    return pids


class KilledProcesses:
    """The processes that were killed and have not ended, and when each was first found.

    All jobs of a fork server share these looks. What was found before a child had ended cannot be from its job: it was
    handed on by another one. So a caller that waits names a time, and what was found earlier does not count.
    """

    def __init__(self) -> None:
        self._found_at: dict[int, float] = {}
        self.looked_at = 0.0  # when the last look was

    def note(self, pids: Sequence[int], now: float) -> None:
        """Take in the result of a look."""
        self._found_at = {pid: self._found_at.get(pid, now) for pid in pids}
        self.looked_at = now

    def number(self, since: float) -> int:
        """Return how many of those that were found since a time had not ended at the last look."""
        return sum(found_at >= since for found_at in self._found_at.values())

    def is_over(self, since: float, waited: float) -> bool:
        """Whether all of these have ended, or it is pointless to wait any longer than the *waited* seconds."""
        ages = [self.looked_at - found_at for found_at in self._found_at.values() if found_at >= since]
        return not ages or max(ages) > EXIT_TIMEOUT or waited > TOTAL_TIMEOUT


def kill_and_reap_all(strays: Look) -> int:
    """Call ``kill_and_reap`` until all have ended or time is up. Return how many have not."""
    killed, begun = KilledProcesses(), processes.monotonic()
    while True:
        killed.note(kill_and_reap(strays), processes.monotonic())
        if killed.is_over(begun, killed.looked_at - begun):
            return killed.number(begun)
        time.sleep(POLL_INTERVAL)


def _reaped(pid: int) -> bool:
    """Reap a child if it has ended, after killing its process group, which keeps its number until then."""
    try:
        if not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        group = processes.group_of(pid)
        if group and processes.started(group) is None:  # a group with a leader is found through its leader
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
    return True
