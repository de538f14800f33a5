"""Takes jobs, gives them to children, and turns what children say into ends. Parent process.

The way of a job through a worker is this file: ``exchange`` → ``dispatch`` → ``on_record`` → ``Writer.end``, and the
next ``exchange`` writes it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Collection, Iterable

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.conf import settings
from qorworker.models import Job, Outcome
from qorworker.models.sql import Claim, Claimed
from qorworker.records import Record
from qorworker.registry import registry
from qorworker.signals import job_started
from qorworker.worker.attempt import RunningAttempt, exit_text, number
from qorworker.worker.claimer import Claimer
from qorworker.worker.database import Database
from qorworker.worker.limited import give_key, is_stray
from qorworker.worker.pace import AHEAD, Pace
from qorworker.worker.pipes import Child
from qorworker.worker.pool import Exit, Pool
from qorworker.worker.processes import monotonic
from qorworker.worker.writer import End, Writer

logger = logging.getLogger(__name__)

KEPT_CHILD = ("done", "row_errors", "failed", "refused", "memory")
OUTCOMES = frozenset(Outcome.values)


class Dispatcher:
    def __init__(
        self, database: Database, pool: Pool, writer: Writer, queues: Collection[str], excluded: Collection[str]
    ) -> None:
        self.database, self.pool, self.writer = database, pool, writer
        self.claimer = Claimer(writer, queues, excluded)
        self.running: dict[int, RunningAttempt] = {}  # claimed and not ended
        self.ready: deque[RunningAttempt] = deque()  # claimed and not yet with a child
        self.pace = Pace()
        pool.pipes.on_record, pool.pipes.on_output, pool.on_exit = self.on_record, self.on_output, self.on_exit

    # Taking jobs.

    def idle_slots(self) -> int:
        return max(0, sum(not child.attempts for child in self.pool.available) - len(self.ready))

    def wanted(self) -> Claim | None:
        """What to ask for now: jobs for the free slots, and re-runnable short ones ahead."""
        if not self.pool.ready or not self.claimer.more:
            return None
        slots, short = self.idle_slots(), self.pace.short()
        ahead = self.pace.ahead() * len(self.pool.available) if short else 0
        if not slots and len(self.running) * 2 > ahead:
            return None
        return self.claimer.wanted(slots, ahead - len(self.running), short)

    def exchange(self, wanted: Claim | None) -> int:
        """Write the ends that have come in, and take the jobs that are wanted; how many."""
        recovered = self.recover() if wanted else 0
        if recovered:
            wanted = None  # there may be no room for them any more
        with self.claimer.asking(wanted):
            jobs = self.writer.write_and_claim(wanted)[1]
        if wanted is None or jobs is None:
            return recovered
        self.claimer.answered(wanted, jobs)
        return self._take(jobs)

    def claim(self, wanted: Claim) -> int:
        """Take the jobs that are wanted; how many."""
        return self.recover() or self._take(self.claimer.claim(wanted))

    def claim_limited(self, now: float) -> int:
        """Take jobs of limited types if it is time to look for them, before others are taken; how many."""
        slots = self.idle_slots()
        if not self.pool.ready or not self.claimer.limited.due(now, slots, bool(self.pace.short())):
            return 0
        if self.writer.ends:
            self.exchange(None)  # that may free a place
        return self.recover() or self._take(self.claimer.claim_limited(slots, now))

    def claim_one(self, job_id: int) -> int:
        """Take one certain job; how many there were of it."""
        if recovered := self.recover():
            return recovered
        job = self.claimer.one(job_id)
        return self._take([job] if job else [])

    def recover(self) -> int:
        """Take the jobs of claims whose answer was lost; how many."""
        return self._take(self.claimer.recover())

    def _take(self, jobs: Collection[Claimed]) -> int:
        for job in jobs:
            attempt = RunningAttempt(job, self.database.using)
            if is_stray(job):
                give_key(self.database.using, job)
                self.writer.hand_back(attempt)
                self.claimer.claimed -= 1
                continue
            self.running[job.id] = attempt
            self.ready.append(attempt)
        return len(jobs)

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
            self.pool.pipes.give(child, attempt, attempt.work)
            if self._wants_own_process(attempt) or child.served >= settings.CHILD_JOBS:
                self.pool.dismiss(child)
        for child in self.pool.children.values():
            if child.unsent:
                self.pool.pipes.push(child)

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
        self.pool.pipes.drain(child)
        outcome, error = told["outcome"], str(told.get("error", ""))
        if outcome not in OUTCOMES:
            self.pool.stop(child, 0)  # not one of ours speaks like that
            return
        attempt.last_word = told
        if attempt.stop_reason and outcome not in ("done", "row_errors"):
            return  # it is being stopped: its end is written when all its processes are gone
        child.attempts.popleft()
        if outcome == Outcome.ABORTED:
            error = _("Its process was told to end, but not by this worker; or it aborted itself.")
        self._finish(attempt, outcome, error)
        if not attempt.secrets:
            # Those with secrets never count as short, so none is given to a child before the one before it is
            # done with: what it prints would be heard before its secrets are.
            self.pace.note(attempt.job.name, attempt.duration, again=attempt.job.max_attempts > 1)
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
            attempt.stop_text = _("Interrupted because its process was ended for another job.")
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
                    error += " " + _survived(exit.survivors)
                elif outcome == Outcome.ABORTED:
                    error += " " + _("All its processes have ended.")
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
            exception_class=str(told.get("exception_class", "")),
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
            self._finish(attempt, reason, " ".join((text, _("It had not started."))))
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
        return _tokens([*self.with_children(), *self.ready])


def _survived(number: int) -> str:
    told = ngettext(
        "%(counter)s of its processes could not be ended.", "%(counter)s of its processes could not be ended.", number
    )
    return told % {"counter": number}


def _tokens(attempts: Iterable[RunningAttempt]) -> dict[int, str]:
    return {attempt.job.id: attempt.job.token for attempt in attempts if not attempt.lost}
