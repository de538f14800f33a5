"""What a state of the model consists of: the row of one job, two workers, what is on its way, what may still happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

NEW, RUNNING, DONE, FAILED, KILLED = "new", "running", "done", "failed", "killed"
OVER = (DONE, FAILED, KILLED)

NOBODY = -1  # a worker that is no more

# Of a worker.
UP, STOPPED, PAUSED, DEAD = "up", "stopped", "paused", "dead"  # stopped: the parent only; paused: its machine

# Of an attempt in its worker.
CLAIMED, BEGUN, RETURNED = "claimed", "begun", "returned"
STOPPING, ABORTING, GIVING_UP = "stopping", "aborting", "giving up"  # asked to end: lost; aborted; its lease ends
ABORTED, GIVEN_UP = "aborted", "given up"  # and ended
TO_WRITE = (RETURNED, ABORTED, GIVEN_UP)
EXECUTING = (BEGUN, STOPPING, ABORTING, GIVING_UP)


@dataclass(frozen=True)
class Bounds:
    """How far the search goes. Times are in ticks."""

    lease: int = 3
    statement: int = 1  # for which a statement may go on after its client has lost the connection
    claims: int = 2
    faults: int = 2
    requests: int = 1  # of people: aborts and retries


class Row(NamedTuple):
    """The job, as the database has it."""

    status: str = NEW
    token: int = 0
    attempt: int = 0
    most: int = 1  # attempts
    lease: int = 0  # ticks until it ends
    owner: int = -1
    is_to_abort: bool = False


class Worker(NamedTuple):
    """A worker with room for one job, as far as it knows itself."""

    mode: str = UP
    is_linked: bool = True
    deadline: int = 0  # ticks until it may not own anything any more
    is_fresh: bool = True  # it has renewed its leases in this tick
    token: int = 0  # of the attempt in its books
    stage: str = ""
    left: int = 0  # an attempt that is not in its books, and whose process goes on
    asked: int = 0  # the token of a claim that is on its way to the database
    answer: int = 0  # of one that is on its way back
    unanswered: tuple[tuple[int, int], ...] = ()  # of those whose answer was lost, with ticks to remember each
    seen: int = -1  # for how many ticks it has seen the same lease, that is past
    decided: int = 0  # the token of which it has decided to take the job over
    seized: int = 0  # its own token for a job that it has taken over


class State(NamedTuple):
    row: Row
    workers: tuple[Worker, Worker]
    is_repeatable: bool
    is_one_machine: bool  # each of them can see whether the other one lives
    next_token: int = 1
    late: tuple[tuple[int, int, int], ...] = ()  # claims whose client has hung up: worker, token, ticks
    is_down: bool = False  # the database
    starts: int = 0  # of the handler, since a person asked for it
    ends: int = 0
    is_harmed: bool = False  # the owner was frozen, cut off or killed since its claim
    has_jumped: bool = False  # the clock of the database
    had_harm: bool = False
    claims: int = 0  # that may still be made
    faults: int = 0  # that may still happen
    requests: int = 0
    wrong: str = ""  # what must not be

    def with_row(self, **changes: object) -> State:
        return self._replace(row=self.row._replace(**changes))  # type: ignore[arg-type]

    def with_worker(self, number: int, **changes: object) -> State:
        workers = list(self.workers)
        workers[number] = workers[number]._replace(**changes)  # type: ignore[arg-type]
        return self._replace(workers=tuple(workers))  # type: ignore[arg-type]


def beginnings(bounds: Bounds) -> list[State]:
    """A job that waits, and two idle workers: for each kind of job, on one machine and on two."""
    worker = Worker(deadline=bounds.lease - 1)
    left = {"claims": bounds.claims, "faults": bounds.faults, "requests": bounds.requests}
    return [
        State(Row(most=most), (worker, worker), most > 1, is_one_machine, **left)
        for most in (1, 2)
        for is_one_machine in (True, False)
    ]
