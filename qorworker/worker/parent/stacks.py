"""Gets the stacks of running attempts for those who ask for them. Parent process.

A child is asked in two ways at once. Its interpreter sends a stack with its asyncio tasks, but not while code in C
runs. A handler in C writes a stack in any case. The loop of a child that attempts share is asked for the tasks of one
of them, and the handler in C only if that does not answer.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from qorworker.attempts.attempt import RunningAttempt
from qorworker.execution import messages
from qorworker.models.job_vitals import StackSource
from qorworker.system.usage import state_of
from qorworker.worker.board import read_stack
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.pool import Pool
from qorworker.worker.parent.stopping import Stopping

PATIENCE = 0.4  # seconds for an answer of the interpreter or the loop
LAST_PATIENCE = 0.2  # the same for the handler in C, once a loop has not answered
CALLER = str(Path(messages.__file__).with_name("middleware.py"))  # calls handlers, and so is not imported here


@dataclass(eq=False)
class Asked:
    """A child that was asked for the stack of an attempt."""

    child: Child
    until: float  # when no more answer of the interpreter is expected
    is_last: bool  # whether the handler in C was asked, too


class Stacks:
    """Asks for stacks, and hands what comes to the attempts."""

    def __init__(self, pool: Pool, stopping: Stopping) -> None:
        self.pool, self.stopping = pool, stopping
        self.asked: dict[RunningAttempt, Asked] = {}

    def request(self, attempt: RunningAttempt, requested_at: dt.datetime, now: float) -> None:
        """Ask for the stack of an attempt, once for each request: it is seen again and again."""
        if attempt.stack_asked_at == requested_at:
            return
        attempt.stack_asked_at, attempt.reported_stack = requested_at, None
        child = self.stopping.child_of(attempt)
        if child is None or child.pid is None or attempt.begun is None:
            attempt.answer_stack("", StackSource.WAITING)
        elif child.shared_by:
            self.stopping.sharing.ask_for_stack(attempt)
            self.asked[attempt] = Asked(child, now + PATIENCE, is_last=False)
        else:
            self.pool.ask_for_stack(child)
            self.asked[attempt] = Asked(child, now + PATIENCE, is_last=True)

    def step(self, now: float) -> bool:
        """Take the answers that have come, and give up on those that are overdue. Return whether there were any."""
        before = len(self.asked)
        for attempt, asked in list(self.asked.items()):
            child = asked.child
            if self.stopping.child_of(attempt) is not child:
                del self.asked[attempt]  # it has ended
            elif attempt.reported_stack is not None:
                source = StackSource.TASK if child.shared_by else StackSource.PYTHON
                self._answer(attempt, attempt.reported_stack, source)
            elif now >= asked.until and not asked.is_last:
                self.pool.ask_for_stack(child)
                asked.until, asked.is_last = now + LAST_PATIENCE, True
            elif now >= asked.until:
                dump = without_caller(read_stack(child.board)).strip()
                state = state_of(child.pid) if child.pid is not None else ""
                self._answer(attempt, dump or state, StackSource.C if dump else StackSource.NONE)
        return len(self.asked) < before

    def _answer(self, attempt: RunningAttempt, text: str, source: str) -> None:
        del self.asked[attempt]
        attempt.answer_stack(text, source)


def without_caller(dump: str) -> str:
    """Return a dump of ``faulthandler`` without what calls the handler: in each thread the last calls come first."""
    lines, is_inside = [], False
    for line in dump.splitlines():
        if not line.startswith(" "):
            is_inside = False
        is_inside = is_inside or CALLER in line
        if not is_inside:
            lines.append(line)
    return "\n".join(lines)
