"""Claims jobs, hands them to children, and turns what children send into ends. Parent process.

A job takes this way through a worker: ``exchange`` → ``dispatch`` → ``on_record`` → ``Writer.end``. The next
``exchange`` writes its end.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.attempts.attempt import RunningAttempt, exit_text, given_up_text, number
from qorworker.attempts.limited_claims import give_key, is_stray
from qorworker.attempts.writer import End, Writer, is_atomic
from qorworker.conf import settings
from qorworker.database.connection import Database
from qorworker.definitions.registry import registry
from qorworker.execution.messages import Record
from qorworker.models import Job, Outcome
from qorworker.models.sql import Claim, Claimed
from qorworker.signals import job_started
from qorworker.system import processes
from qorworker.system.processes import monotonic
from qorworker.text.cleaning import visible
from qorworker.text.masking import Mask
from qorworker.worker.parent.active_attempts import ActiveAttempts, tokens_of
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.claims import Claimer
from qorworker.worker.parent.durations import AHEAD, Durations
from qorworker.worker.parent.pool import Exit, Pool

logger = logging.getLogger(__name__)

REUSABLE_AFTER = ("done", "row_errors", "failed", "refused", "memory")
OVERRUN = 2.0  # seconds after which a short job is not waited for: many times what all jobs in a child should take
OUTCOMES = frozenset(Outcome.values)


class Dispatcher:
    """Moves attempts between the claimer, the children and the writer."""

    def __init__(
        self, database: Database, pool: Pool, writer: Writer, queues: Collection[str], excluded: Collection[str]
    ) -> None:
        self.database, self.pool, self.writer = database, pool, writer
        self.claimer = Claimer(writer, queues, excluded)
        self.active = ActiveAttempts()  # claimed and not ended
        self.ready: deque[RunningAttempt] = deque()  # claimed and not yet with a child
        self.durations = Durations()
        self._begun: list[Claimed] = []  # since ``job_started`` was last sent
        self.trusts_requests = False  # its jobs are requested from a shell: no user's rights are checked again
        pool.channels.on_record, pool.channels.on_output = self.on_record, self.on_output
        pool.on_fork, pool.on_exit = self.on_fork, self.on_exit

    # Claiming jobs.

    def idle_slots(self) -> int:
        """Return the number of children without work that claimed attempts do not fill yet."""
        return max(0, sum(not child.attempts for child in self.pool.available) - len(self.ready))

    def next_claim(self) -> Claim | None:
        """Return the next claim: jobs for the free slots, and short re-runnable jobs ahead. None to claim nothing."""
        if not self.pool.ready or not self.claimer.has_more:
            return None
        slots, short = self.idle_slots(), self.durations.short()
        ahead = self.durations.ahead() * len(self.pool.available) if short else 0
        if not slots and len(self.active) * 2 > ahead:
            return None
        return self.claimer.next_claim(slots, ahead - len(self.active), short, self.active.lost_jobs())

    def exchange(self, claim: Claim | None) -> int:
        """Write the ends that have come in, make the claim, and return how many jobs came of it."""
        recovered = self.recover() if claim else 0
        if recovered:
            claim = None  # the recovered jobs may have filled the slots
        with self.claimer.unanswered.remembering(claim):
            jobs = self.writer.write_and_claim(claim)[1]
        if claim is None or jobs is None:
            return recovered
        self.claimer.learn_from(claim, jobs)
        return self._take(jobs)

    def claim(self, claim: Claim) -> int:
        """Make the claim without a write, and return how many jobs came of it."""
        return self.recover() or self._take(self.claimer.claim(claim))

    def claim_limited(self, now: float) -> int:
        """Claim jobs of limited types if a look for them is due, and return how many. They come before other jobs."""
        slots = self.idle_slots()
        if not self.pool.ready or not self.claimer.limited.due(now, slots, bool(self.durations.short())):
            return 0
        if self.writer.ends:
            self.exchange(None)  # that may free a slot of a limit
        return self.recover() or self._take(self.claimer.claim_limited(slots, now, self.active.lost_jobs()))

    def claim_one(self, job_id: int | Callable[[], int]) -> int:
        """Claim one given job, or the job that the given function makes. Return how many were claimed: 0 or 1."""
        if recovered := self.recover():
            return recovered
        if self.active.of_job(job_id) if isinstance(job_id, int) else self.claimer.unanswered:
            return 0  # an earlier attempt is still here, or the job may have been made already
        job = self.claimer.claim_one(job_id)
        return self._take([job] if job else [])

    def recover(self) -> int:
        """Take the jobs of claims whose answer was lost, and return how many."""
        return self._take(self.claimer.recover())

    def _take(self, jobs: Collection[Claimed]) -> int:
        for job in jobs:
            job.is_trusted = self.trusts_requests
            attempt = RunningAttempt(job, self.database.using)
            if is_stray(job):
                give_key(self.database.using, job)
                self._hand_back_claimed(attempt)
            elif self._runs_earlier_attempt(attempt):
                self._hand_back_claimed(attempt)
            else:
                self.active.add(attempt)
                self.ready.append(attempt)
        return len(jobs)

    def _runs_earlier_attempt(self, attempt: RunningAttempt) -> bool:
        """Whether a process of this worker still runs an earlier attempt of the same job: a lost one."""
        earlier = self.active.of_job(attempt.job.id)
        if earlier is not None and not earlier.lost:
            self.abandon(earlier)
        return self.active.of_job(attempt.job.id) is not None

    def _hand_back_claimed(self, attempt: RunningAttempt) -> None:
        """Hand back an attempt that was only just claimed."""
        self.writer.hand_back(attempt)
        self.claimer.claimed -= 1

    # Handing jobs to children.

    def dispatch(self, now: float) -> None:
        """Hand claimed attempts to children that have room, in the order of the claim."""
        child_jobs = settings.CHILD_JOBS
        while self.ready:
            is_alone = self._wants_own_process(self.ready[0])
            child = self._child_for(self.ready[0], is_alone)
            if child is None:
                break
            attempt = self.ready.popleft()
            if not child.attempts:
                self._begin(child, attempt, now)
            self.pool.set_owned(child, attempt.job.max_attempts > 1)
            self.pool.channels.give(child, attempt, attempt.work)
            if is_alone or child.served >= child_jobs:
                self.pool.retire(child)
        for child in self.pool.children.values():
            if child.unsent:
                if not child.has_left:
                    # Threads and processes that outlive a job end with its child, so only these jobs can print.
                    child.mask = Mask.together(attempt.mask for attempt in child.attempts)
                self.pool.channels.push(child)

    def _child_for(self, attempt: RunningAttempt, is_alone: bool) -> Child | None:
        shortest = min(self.pool.available, key=_length, default=None)
        idle = shortest if shortest is None or not shortest.attempts else None
        if is_alone:
            return idle if idle is None or idle.fresh else self.pool.fresh_child()
        name = attempt.job.name
        if idle is not None or shortest is None or attempt.job.max_attempts == 1 or not self.durations.is_short(name):
            return idle
        room = int(AHEAD / self.durations.seconds(name)) or 1
        return shortest if len(shortest.attempts) < room and self._all_short(shortest) else None

    def _all_short(self, child: Child) -> bool:
        """Whether the child runs a short job: no job may wait behind a long one."""
        first: RunningAttempt = child.attempts[0]
        return self.durations.is_short(first.job.name) and first.job.max_attempts > 1

    def _wants_own_process(self, attempt: RunningAttempt) -> bool:
        return registry.is_isolated(attempt.job.name)

    def _begin(self, child: Child, attempt: RunningAttempt, now: float) -> None:
        attempt.begun = now
        attempt.process_id = child.pid
        attempt.changed = True
        self._begun.append(attempt.job)

    def announce_begun(self) -> None:
        """Send ``job_started`` for the attempts that have begun. Its receivers may use the database."""
        if not self._begun:
            return
        begun, self._begun = self._begun, []
        if job_started.has_listeners(Job):
            for job in begun:
                job_started.send_robust(Job, job_id=job.id, name=job.name, attempt=job.attempt)

    # Messages from children.

    def on_fork(self, child: Child) -> None:
        """Note the process id of a child. It may have been given an attempt before it was forked."""
        if child.attempts:
            child.attempts[0].process_id, child.attempts[0].changed = child.pid, True

    def on_record(self, child: Child, record: Record) -> None:
        """Take in a record of the attempt that a child runs."""
        if record[0] == "leaving":
            self._hand_back_all(self.pool.channels.take_back(child, record[1]))
            child.leaving = True
            self.pool.release(child)
            return
        if record[0] == "left":
            child.has_left = child.leaving = True
            if record[1] == child.current_number - 1:  # the end of the attempt it names has arrived
                self._hand_back(child)
        if child.has_left:
            return  # its last job has ended; whatever still runs in it sends for no attempt
        attempt: RunningAttempt | None = child.attempts[0] if child.attempts else None
        if attempt is None or record[1] != child.current_number:
            return  # from a process or a thread that outlived its attempt
        attempt.process_id = child.pid
        if record[0] == "end":
            self._on_end(child, attempt, record[2])
        else:
            attempt.apply(record)

    def on_output(self, child: Child, line: str) -> None:
        """Add a line that a child printed to the log of its attempt."""
        line = child.mask(line).rstrip("\r").rpartition("\r")[2]
        child.last_lines.append(line)
        if not self.pool.channels.has_begun(child):
            return  # the pool logs it if the child ends before it does any work
        if child.has_left or not child.attempts:
            logger.warning("Process %s, which runs no job, printed: %s", child.pid, visible(line))
        else:
            child.attempts[0].add_line(time.time(), logging.INFO, line)

    def _on_end(self, child: Child, attempt: RunningAttempt, ending: dict[str, object]) -> None:
        # With leftovers a child leaves and does not wait long for its output to be read, and outside of Linux it may
        # not be able to tell whether it was.
        if ending.get("leftovers") or not processes.LINUX:
            self.pool.channels.drain(child)
        else:
            self.pool.channels.end_line(child)
        outcome, error = ending["outcome"], str(ending.get("error", ""))
        if outcome not in OUTCOMES:
            self.pool.stop(child, 0)  # no child of ours sends that
            return
        attempt.reported_end = ending
        if attempt.was_stopped:
            self.pool.finish(child)
            return  # its end is written once all its processes have ended
        child.attempts.popleft()
        if outcome == Outcome.ABORTED:
            error = _("Its process was asked to end, but not by this worker; or the job aborted itself.")
        self._finish(attempt, outcome, error)
        self.durations.note(attempt.job.name, attempt.duration, rerunnable=attempt.job.max_attempts > 1)
        if child.attempts:
            self._begin_next(child)
        elif child.leaving:
            self.pool.release(child)
        elif outcome not in REUSABLE_AFTER:
            self.pool.retire(child)

    def _begin_next(self, child: Child) -> None:
        attempt: RunningAttempt = child.attempts[0]
        self._begin(child, attempt, monotonic())
        if child.stopping:
            # The signal was meant for the previous attempt, which has ended; it hits this one.
            attempt.stop_reason = Outcome.INTERRUPTED
            attempt.stop_text = _("Interrupted because its process was ended for another job.")
        elif attempt.lost:
            self.stop(attempt, Outcome.LOST, "", 0)

    def on_exit(self, child: Child, exit: Exit) -> None:
        """Finish the attempt that an ended child ran, and hand back the attempts behind it."""
        if child.attempts and (child.has_left or not child.untouched):
            attempt: RunningAttempt = child.attempts.popleft()
            attempt.process_id = child.pid
            outcome, error = _unreported(exit)
            if attempt.stop_reason:
                outcome, error = attempt.stop_reason, attempt.stopped_text
                if exit.survivors:
                    error += " " + _survived(exit.survivors)
                elif outcome == Outcome.ABORTED:
                    error += " " + _("All its processes have ended.")
            self._finish(attempt, outcome, error, exit)
        self._hand_back(child)

    def _hand_back(self, child: Child) -> None:
        """Hand back the attempts that a child was given and did not start."""
        self._hand_back_all(child.attempts)
        child.attempts.clear()

    def _hand_back_all(self, attempts: Iterable[RunningAttempt]) -> None:
        for attempt in attempts:
            self.active.discard(attempt)
            self.writer.hand_back(attempt)

    def _finish(self, attempt: RunningAttempt, outcome: str, error: str, exit: Exit | None = None) -> None:
        self.active.discard(attempt)
        if attempt.lost:
            return
        ending = attempt.reported_end
        peak = number(ending.get("peak_memory"), 2**62) or (exit.peak if exit else None)
        update = attempt.end(outcome, error, number(ending.get("delay")))
        committed = ending.get("committed") is True
        is_done = outcome == Outcome.DONE and update.status == "done"
        has_more = attempt.has_reported or attempt.has_secrets or committed or is_atomic(attempt.job.name)
        end = End(
            attempt,
            update,
            outcome,
            traceback=str(ending.get("traceback", "")),
            exception_class=str(ending.get("exception_class", "")),
            duration=attempt.duration,
            exit_status=exit.status if exit else None,
            peak_memory=int(peak) if peak else None,
            survivors=exit.survivors if exit else 0,
            committed=committed,
            is_plain=is_done and not has_more and exit is None,
        )
        self.writer.end(end)

    def free_waiting(self, now: float) -> None:
        """Have those attempts handed back that wait behind one that takes much longer than jobs of its type did."""
        for child in self.pool.available:
            # Its end may have come in while this process waited for the database.
            if self._is_overrun(child, now) and self.pool.channels.catch_up(child) and self._is_overrun(child, now):
                self.pool.leave(child)

    def _is_overrun(self, child: Child, now: float) -> bool:
        first: RunningAttempt | None = child.attempts[0] if len(child.attempts) > 1 else None
        is_late = first is not None and first.begun is not None and now - first.begun > OVERRUN
        return is_late and self.pool.channels.has_begun(child)

    # Stopping.

    def stop(self, attempt: RunningAttempt, reason: str, text: str, grace: float) -> None:
        """Stop an attempt and everything that it started: asked first, killed after *grace* seconds."""
        if attempt in self.ready:
            self.ready.remove(attempt)
            self._finish(attempt, reason, " ".join((text, _("It had not started."))))
        elif (child := self.child_of(attempt)) and (not attempt.stop_reason or not grace):
            attempt.ask_to_end(reason, text, politely=grace > 0)
            self.pool.stop(child, grace)

    def child_of(self, attempt: RunningAttempt) -> Child | None:
        """Return the child that runs this attempt; None while it waits behind another one."""
        return next(
            (child for child in self.pool.children.values() if child.attempts and child.attempts[0] is attempt), None
        )

    def running(self) -> list[RunningAttempt]:
        """Return the attempts that run right now."""
        return [child.attempts[0] for child in self.pool.children.values() if child.attempts]

    def abandon(self, attempt: RunningAttempt) -> None:
        """Stop an attempt that was taken away, and write nothing more of it."""
        attempt.lost = True
        logger.warning("Job %s was taken from this worker; stopping it.", attempt.job.id)
        self.stop(attempt, Outcome.LOST, "", 0)

    def hand_back_ready(self) -> None:
        """Hand back the attempts that no child was given yet."""
        while self.ready:
            attempt = self.ready.pop()
            self.active.discard(attempt)
            self.writer.hand_back(attempt)

    def stoppable(self) -> dict[int, str]:
        """Return job id to token of the attempts that can be stopped: they run, or no child has them yet."""
        return tokens_of([*self.running(), *self.ready])


def _length(child: Child) -> int:
    return len(child.attempts)


def _unreported(exit: Exit) -> tuple[str, str]:
    """Return outcome and error of an attempt whose process ended on its own without reporting an end."""
    if exit.expired:
        return Outcome.LOST.value, given_up_text()
    return Outcome.CRASHED.value, exit_text(exit.status, exit.peak, exit.error)


def _survived(number: int) -> str:
    sentence = ngettext(
        "%(counter)s of its processes could not be ended.", "%(counter)s of its processes could not be ended.", number
    )
    return sentence % {"counter": number}
