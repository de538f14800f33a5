"""What was seen of the last attempt of a job while it ran: samples of its process, and its stack. All processes.

Both are kept in the row of the job, as JSON, and written by whatever runs the attempt.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils.dateparse import parse_datetime

from qorworker.models.alters import alters_data
from qorworker.models.audit import Origin
from qorworker.models.clock import DatabaseNow
from qorworker.models.job_verbs import SHOW_STACK, changing, row_of
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models.job import Job


class Sample(NamedTuple):
    """What the process of an attempt used at one moment."""

    seconds: float  # since the attempt began
    memory: int  # bytes that the process and its descendants hold
    cpu: float  # seconds of processor time that these have used since the first sample
    queries: int  # to databases, from the begin of the attempt on
    query_seconds: float  # that these took
    quiet: float  # seconds since the job last logged or reported anything, as far as samples tell
    together: int = 1  # attempts that share the process, and so memory and processor time


@dataclass(frozen=True)
class Stack:
    """Where an attempt was when somebody asked for its stack."""

    text: str  # empty if there is none
    source: str  # a ``StackSource``
    taken_at: dt.datetime
    requested_at: dt.datetime  # the request that it answers


class StackSource:
    """Where a stack comes from."""

    PYTHON = "python"  # the interpreter of the process: its threads and its asyncio tasks
    TASK = "task"  # the event loop that the job shares with others: only the tasks of this job
    C = "c"  # a signal handler in C, because the interpreter did not get to answer
    WAITING = "waiting"  # nowhere: it has not begun, and waits in its worker
    NONE = "none"  # nowhere: the process did not answer


def vitals(self: Job) -> list[Sample]:
    """The samples of the last attempt that ran for more than a few seconds, in order, at most 60.

    They are taken every few seconds, and further apart the longer the attempt takes.
    """
    kept = json.loads(self.samples) if self.samples else {}
    return [Sample(*values) for values in kept.get("samples", ())]


def vitals_attempt(self: Job) -> int:
    """The number of the attempt that ``vitals`` are of; 0 if there are none."""
    return int(json.loads(self.samples)["attempt"]) if self.samples else 0


def stack(self: Job) -> Stack | None:
    """The answer to the last request for its stack that was answered; None if there is none."""
    kept: dict[str, Any] = json.loads(self.last_stack) if self.last_stack else {}
    taken, requested = (parse_datetime(kept.get(name, "")) for name in ("taken_at", "requested_at"))
    if taken is None or requested is None:
        return None
    return Stack(kept["text"], kept["source"], taken, requested)


def stored_stack(text: str, source: str, taken_at: dt.datetime, requested_at: dt.datetime) -> str:
    """Return a stack as the row keeps it. *text* has no secrets and is short enough."""
    return json.dumps(
        {"text": text, "source": source, "taken_at": taken_at.isoformat(), "requested_at": requested_at.isoformat()}
    )


def awaits_stack(self: Job) -> bool:
    """Whether it runs, and its stack was requested and has not come yet."""
    if self.status != JobStatus.RUNNING or self.stack_requested_at is None:
        return False
    if self.last_attempted_at is not None and self.stack_requested_at < self.last_attempted_at:
        return False  # of an earlier attempt
    answer = stack(self)
    return answer is None or answer.requested_at != self.stack_requested_at


def can_request_stack(self: Job) -> bool:
    """Whether it runs, so that its stack can be requested."""
    return self.status == JobStatus.RUNNING


@alters_data
def request_stack(self: Job, *, by: Any = None, origin: str = Origin.CODE) -> None:
    """Ask for the Python stack of a running job. It goes on, and its ``stack`` has the answer a moment later.

    A further request replaces the one before.

    :param by: the user who asks for it, for the audit.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.InvalidTransition: if it is not running.

    Example::

        job.request_stack(by=request.user)
    """
    with changing(self, SHOW_STACK, by, origin) as result:
        result.moved = row_of(self).running().update(stack_requested_at=DatabaseNow())
