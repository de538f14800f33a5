"""Takes jobs, gives them to children, and turns what children say into ends. Parent process.

The way of a job through a worker is this file: ``claim`` → ``dispatch`` → ``on_record`` → ``Writer.end``.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError

from qorworker.conf import settings
from qorworker.models import Job, Outcome
from qorworker.models.sql import Claim, Claimed, claim, claim_one, claimed_with, queues_with_jobs
from qorworker.records import Record
from qorworker.registry import registry
from qorworker.signals import job_started
from qorworker.worker.attempt import RunningAttempt, exit_text, number
from qorworker.worker.database import Database
from qorworker.worker.pace import AHEAD, Pace
from qorworker.worker.pool import Child, Exit, Pool
from qorworker.worker.processes import monotonic
from qorworker.worker.writer import End, Writer

logger = logging.getLogger(__name__)

KEPT_CHILD = ("done", "row_errors", "failed", "refused", "memory")
OUTCOMES = frozenset(Outcome.values)
BATCH = 1000  # jobs claimed by one statement


class Dispatcher:
    def __init__(
        self, database: Database, pool: Pool, writer: Writer, queues: Collection[str], excluded: Collection[str]
    ) -> None:
        self.database, self.pool, self.writer = database, pool, writer
        self.queues, self.excluded = queues, excluded
        self.running: dict[int, RunningAttempt] = {}  # claimed and not ended
        self.ready: deque[RunningAttempt] = deque()  # claimed and not yet with a child
        self.unanswered: list[str] = []  # tokens of claims of which nobody knows whether they were carried out
        self.pace = Pace()
        self.found: list[str] = []  # queues in which something waited
        self.more = False  # the last claim left something behind
        self.claimed = 0
        self.limit: int | None = None  # attempts to start in all
        pool.on_record, pool.on_output, pool.on_exit = self.on_record, self.on_output, self.on_exit

    # Taking jobs.

    def idle_slots(self) -> int:
        return max(0, sum(not child.attempts for child in self.pool.available) - len(self.ready))

    def look(self) -> bool:
        """Ask in which queues a job waits; whether there is one for this worker."""
        self.found = [queue for queue in queues_with_jobs(self.database.using) if self.serves(queue)]
        self.more = bool(self.found)
        return self.more

    def serves(self, queue: str) -> bool:
        return queue not in self.excluded and ("*" in self.queues or queue in self.queues)

    def claim(self) -> int:
        """Take jobs for the free slots, and re-runnable short ones ahead; how many."""
        self.recover()
        if not self.pool.ready:
            return 0
        slots, short = self.idle_slots(), self.pace.short()
        ahead = self.pace.ahead() * len(self.pool.available) if short else 0
        limit = max(slots, ahead - len(self.running))
        if self.limit is not None:
            limit = min(limit, self.limit - self.claimed)
        if limit < 1 or (not slots and len(self.running) * 2 > ahead):
            return 0
        with self._asking() as token:
            jobs = claim(
                self.database.using,
                Claim(
                    self.writer.worker_id or 0,
                    token,
                    self.found,
                    registry.names(),
                    min(slots, limit),
                    min(limit, BATCH),
                    short,
                    float(settings.LEASE),
                ),
            )
        # Fewer than the free slots: nothing is left. Otherwise ask again when there is room.
        self.more = len(jobs) >= max(1, min(slots, limit))
        for job in jobs:
            self._take(job)
        return len(jobs)

    def claim_one(self, job_id: int) -> bool:
        """Take one certain job."""
        if self.recover():
            return True
        with self._asking() as token:
            wanted = Claim(self.writer.worker_id or 0, token, (), (), 1, 1, (), float(settings.LEASE))
            job = claim_one(self.database.using, job_id, wanted)
        if job is not None:
            self._take(job)
        return job is not None

    @contextmanager
    def _asking(self) -> Iterator[str]:
        """A token for a claim, remembered if it fails: it may have been carried out and only its answer lost."""
        token = secrets.token_hex(16)
        try:
            yield token
        except (OperationalError, InterfaceError):
            self.unanswered.append(token)
            raise

    def recover(self) -> int:
        """Take the jobs of claims whose answer was lost; how many."""
        if not self.unanswered:
            return 0
        jobs = claimed_with(self.database.using, self.unanswered)
        self.unanswered.clear()
        for job in jobs:
            self._take(job)
        return len(jobs)

    def _take(self, job: Claimed) -> None:
        attempt = RunningAttempt(job, self.database.using)
        self.running[job.id] = attempt
        self.ready.append(attempt)
        self.claimed += 1

    def exhausted(self) -> bool:
        return self.limit is not None and self.claimed >= self.limit

    # Giving them to children.

    def dispatch(self, now: float) -> None:
        """Hand what was claimed to children with room, in the order of the claim."""
        while self.ready:
            child = self._child_for(self.ready[0])
            if child is None:
                break
            attempt = self.ready.popleft()
            if not child.attempts:
                self._begin(child, attempt, now)
            self.pool.own(child, attempt.job.max_attempts > 1)
            self.pool.give(child, attempt, attempt.work)
            if self._wants_own_process(attempt) or child.served >= settings.CHILD_JOBS:
                self.pool.dismiss(child)
        for child in self.pool.children.values():
            if child.unsent:
                self.pool.push(child)

    def _child_for(self, attempt: RunningAttempt) -> Child | None:
        available = self.pool.available
        idle = next((child for child in available if not child.attempts), None)
        if self._wants_own_process(attempt):
            return idle if idle is None or idle.fresh else self.pool.replace(idle)
        name = attempt.job.name
        if idle is not None or attempt.job.max_attempts == 1 or not self.pace.is_short(name):
            return idle
        room = int(AHEAD / self.pace.seconds(name)) or 1
        shortest = min(available, key=lambda child: len(child.attempts), default=None)
        if shortest is None or len(shortest.attempts) >= room or not self._all_short(shortest):
            return None
        return shortest

    def _all_short(self, child: Child) -> bool:
        """Nothing must wait behind a job that may take long."""
        first: RunningAttempt = child.attempts[0]
        return self.pace.is_short(first.job.name) and first.job.max_attempts > 1

    def _wants_own_process(self, attempt: RunningAttempt) -> bool:
        job_type = registry.find(attempt.job.name)
        return job_type is not None and job_type.isolation == "process"

    def _begin(self, child: Child, attempt: RunningAttempt, now: float) -> None:
        attempt.begun = now
        attempt.process_id = child.pid
        attempt.changed = True
        if job_started.has_listeners(Job):
            job = attempt.job
            job_started.send_robust(Job, job_id=job.id, name=job.name, attempt=job.attempt)

    # What children say.

    def on_record(self, child: Child, record: Record) -> None:
        if record[0] == "left":
            child.left = child.leaving = True
            return
        attempt: RunningAttempt | None = child.attempts[0] if child.attempts else None
        if attempt is None or record[1] != attempt.job.id:
            return  # a process that outlived its job speaks for it no more
        attempt.process_id = child.pid
        if record[0] == "end":
            self._on_end(child, attempt, record[2])
        else:
            attempt.hear(record)

    def on_output(self, child: Child, line: str) -> None:
        if not child.attempts:
            logger.warning("Process %s, which runs no job, printed: %s", child.pid, line)
        else:
            child.attempts[0].add_line(time.time(), logging.INFO, line.rstrip("\r").rpartition("\r")[2])

    def _on_end(self, child: Child, attempt: RunningAttempt, told: dict[str, object]) -> None:
        self.pool.drain(child)
        outcome, error = told["outcome"], str(told.get("error", ""))
        if outcome not in OUTCOMES:
            self.pool.stop(child, 0)  # not one of ours speaks like that
            return
        attempt.last_word = told
        if attempt.stop_reason and outcome not in ("done", "row_errors"):
            return  # it is being stopped: its end is written when all its processes are gone
        child.attempts.popleft()
        if outcome == Outcome.ABORTED:
            error = "Its process was told to end, but not by this worker; or it aborted itself."
        self._finish(attempt, outcome, error)
        if not attempt.secrets:
            # Those with secrets never count as short, so none is given to a child before the one before it is
            # done with: what it prints would be heard before its secrets are.
            self.pace.note(attempt.job.name, attempt.duration)
        if child.attempts:
            self._begin_next(child)
        elif child.leaving:
            self.pool.release(child)
        elif outcome not in KEPT_CHILD:
            self.pool.dismiss(child)

    def _begin_next(self, child: Child) -> None:
        attempt: RunningAttempt = child.attempts[0]
        self._begin(child, attempt, monotonic())
        if child.stopping:
            # The signal was meant for the one before, which ended meanwhile; it hits this one.
            attempt.stop_reason = Outcome.INTERRUPTED
            attempt.stop_text = "Interrupted because its process was ended for another job."
        elif attempt.lost:
            self.stop(attempt, Outcome.LOST, "", 0)

    def on_exit(self, child: Child, exit: Exit) -> None:
        """A child's process has ended: say so for the job it ran, and hand back those behind it."""
        begun = bool(child.attempts) and (not child.left or child.attempts[0].last_word)
        if begun and not child.untouched:
            attempt: RunningAttempt = child.attempts.popleft()
            attempt.process_id = child.pid
            outcome, error = Outcome.CRASHED.value, exit_text(exit.status, exit.peak, exit.error)
            if attempt.stop_reason:
                outcome, error = attempt.stop_reason, attempt.stop_text
                if exit.survivors:
                    error += f" {exit.survivors} of its processes could not be ended."
                elif outcome == Outcome.ABORTED:
                    error += " All its processes have ended."
            self._finish(attempt, outcome, error, exit)
        for attempt in child.attempts:
            self.running.pop(attempt.job.id, None)
            self.writer.hand_back(attempt)
        child.attempts.clear()

    def _finish(self, attempt: RunningAttempt, outcome: str, error: str, exit: Exit | None = None) -> None:
        self.running.pop(attempt.job.id, None)
        if attempt.lost:
            return
        told = attempt.last_word
        peak = number(told.get("peak_memory"), 2**62) or (exit.peak if exit else None)
        end = End(
            attempt,
            attempt.end(outcome, error, number(told.get("delay"))),
            outcome,
            traceback=str(told.get("traceback", "")),
            duration=attempt.duration,
            exit_status=exit.status if exit else None,
            peak_memory=int(peak) if peak else None,
            survivors=exit.survivors if exit else 0,
            committed=told.get("committed") is True,
        )
        self.writer.end(end)

    # Stopping.

    def stop(self, attempt: RunningAttempt, reason: str, text: str, grace: float) -> None:
        """End a running attempt and everything that it started."""
        if attempt in self.ready:
            self.ready.remove(attempt)
            self._finish(attempt, reason, f"{text} It had not started.")
        elif (child := self.child_of(attempt)) and (not attempt.stop_reason or not grace):
            if not attempt.stop_reason:
                attempt.stop_reason, attempt.stop_text = reason, text
            self.pool.stop(child, grace)

    def child_of(self, attempt: RunningAttempt) -> Child | None:
        """The child that runs this attempt now; None while it waits behind another one."""
        return next(
            (child for child in self.pool.children.values() if child.attempts and child.attempts[0] is attempt), None
        )

    def with_children(self) -> list[RunningAttempt]:
        """The attempts that run right now."""
        return [child.attempts[0] for child in self.pool.children.values() if child.attempts]

    def forget(self, attempt: RunningAttempt) -> None:
        """An attempt was taken away: stop it and write nothing more of it."""
        attempt.lost = True
        logger.warning("Job %s was taken from this worker; stopping it.", attempt.job.id)
        self.stop(attempt, Outcome.LOST, "", 0)

    def hand_back_ready(self) -> None:
        """Return what was claimed and not given to a child."""
        while self.ready:
            attempt = self.ready.pop()
            self.running.pop(attempt.job.id, None)
            self.writer.hand_back(attempt)

    def tokens(self) -> dict[int, str]:
        """The attempts that this worker holds."""
        return _tokens(self.running.values())

    def stoppable(self) -> dict[int, str]:
        """Those that can be stopped: what no child has yet, and what each child runs. Short ones wait in between."""
        heads = [child.attempts[0] for child in self.pool.children.values() if child.attempts]
        return _tokens([*heads, *self.ready])


def _tokens(attempts: Iterable[RunningAttempt]) -> dict[int, str]:
    return {attempt.job.id: attempt.job.token for attempt in attempts if not attempt.lost}
