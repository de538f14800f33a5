"""Hands claimed jobs to children, and takes in what these send. Parent process.

A job takes this way through a worker: ``Intake.exchange`` → ``dispatch`` → ``on_record`` → ``Endings.finish``. The next
``exchange`` writes its end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from django.utils.translation import gettext as _

from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.writer import Writer
from qorworker.conf import settings
from qorworker.database.connection import Database
from qorworker.definitions.registry import registry
from qorworker.execution.messages import Record
from qorworker.models import Job, Outcome
from qorworker.models.sql import Claimed
from qorworker.signals import job_started
from qorworker.system import processes
from qorworker.system.processes import monotonic
from qorworker.text.cleaning import visible
from qorworker.text.masking import Mask
from qorworker.worker.parent.active_attempts import ActiveAttempts
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.claims import Claimer
from qorworker.worker.parent.durations import AHEAD, Durations
from qorworker.worker.parent.endings import Endings, aborted_text, neighbour_text, survived, unreported
from qorworker.worker.parent.intake import Intake
from qorworker.worker.parent.pool import Exit, Pool
from qorworker.worker.parent.sharing import Sharing
from qorworker.worker.parent.stopping import Stopping, running_in

logger = logging.getLogger(__name__)

REUSABLE_AFTER = ("done", "row_errors", "failed", "refused", "memory", "suspended")
OVERRUN = 2.0  # seconds after which a short job is not waited for: many times what all jobs in a child should take
OUTCOMES = frozenset(Outcome.values)


class Dispatcher:
    """Moves attempts between the intake, the children and the writer."""

    def __init__(
        self, database: Database, pool: Pool, writer: Writer, queues: Collection[str], excluded: Collection[str]
    ) -> None:
        self.database, self.pool, self.writer = database, pool, writer
        self.claimer = Claimer(writer, queues, excluded)
        self.active = ActiveAttempts()  # claimed and not ended
        writer.batches.has_active = self.active.has_batch
        self.durations = Durations()
        self.sharing = Sharing(pool)
        self.intake = Intake(pool, writer, self.claimer, self.active, self.durations, self.sharing)
        self.endings = Endings(self.active, writer)
        self.stopping = Stopping(pool, self.sharing, self.intake, self.endings)
        self.intake.abandon = self.stopping.abandon
        self._begun: list[Claimed] = []  # since ``job_started`` was last sent
        pool.channels.on_record, pool.channels.on_output = self.on_record, self.on_output
        pool.on_fork, pool.on_asked, pool.on_exit = self.on_fork, self.on_asked, self.on_exit

    # Handing jobs to children.

    def dispatch(self, now: float) -> None:
        """Hand claimed attempts to children that have room, in the order of the claim."""
        child_jobs, policy = settings.CHILD_JOBS, settings.RECHECK_PERMISSIONS
        while self.intake.ready:
            is_alone = self._wants_own_process(self.intake.ready[0])
            limit = registry.concurrency_of(self.intake.ready[0].job.name)
            child = self._child_for(self.intake.ready[0], is_alone, limit)
            if child is None:
                self.intake.stuck_since = now if self.intake.stuck_since is None else self.intake.stuck_since
                break
            attempt, self.intake.stuck_since = self.intake.ready.popleft(), None
            if limit:
                self.sharing.add(child, attempt, limit, now)
            if len(child.attempts) < child.limit:
                self._begin(child, attempt, now)
            self.pool.set_owned(child, attempt.job.max_attempts > 1)
            self.pool.channels.give(child, attempt, attempt.work(policy))
            if is_alone or child.served >= child_jobs:
                self.pool.retire(child)
        for child in self.pool.children.values():
            self.pool.channels.ask(child)
            if child.unsent:
                if not child.has_left:
                    # Threads and processes that outlive a job end with its child, so only these jobs can print.
                    child.mask = Mask.together(attempt.mask for attempt in child.attempts)
                self.pool.channels.push(child)

    def _child_for(self, attempt: RunningAttempt, is_alone: bool, limit: int | None) -> Child | None:
        if limit is not None and (child := self.sharing.with_room(attempt)):
            return child
        available = self.pool.available
        if self.sharing.children:
            available = [child for child in available if not child.shared_by]
        shortest = min(available, key=_length, default=None)
        idle = shortest if shortest is None or not shortest.attempts else None
        if limit is not None:
            return idle or self.sharing.to_wait_in(attempt, limit)
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
        return bool(attempt.job.is_dry_run) or registry.is_isolated(attempt.job.name)

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
        for attempt in running_in(child):
            attempt.process_id, attempt.changed = child.pid, True

    def on_asked(self, child: Child) -> None:
        """Hand back the attempts behind those that a child may have run when the signal to leave reached it.

        It announces that itself, but perhaps much later: while a driver in C waits for its database, no Python runs.
        What it had sent by then is heard first, so it runs no later attempt than these.
        """
        if self.pool.channels.catch_up(child) and child.attempts and not child.keeps_current:
            child.is_silent = True
            self._take_back(child, child.last_begun if child.shared_by else child.current_number)

    def _take_back(self, child: Child, last: int) -> None:
        """Hand back the attempts that a child, which begins none after number *last*, has not begun."""
        behind = self.pool.channels.take_back(child, last)
        if child.shared_by:
            self.sharing.take_back(child, behind)
        self.intake.hand_back(behind)

    def on_record(self, child: Child, record: Record) -> None:
        """Take in a record of the attempt that a child runs."""
        if record[0] == "leaving":
            self._take_back(child, record[1])
            child.leaving, child.is_silent = True, False
            self.pool.release(child)
            return
        if record[0] == "left":
            child.has_left = child.leaving = True
            if record[1] == child.current_number - 1:  # the end of the attempt it names has arrived
                self._hand_back(child)
        if child.has_left:
            return  # its last job has ended; whatever still runs in it sends for no attempt
        attempt: RunningAttempt | None = child.attempt_of(record[1])
        if attempt is None:
            return  # from a process or a thread that outlived its attempt
        attempt.process_id = child.pid
        if record[0] == "end":
            self._on_end(child, attempt, record[2])
        else:
            attempt.apply(record)

    def on_output(self, child: Child, line: str) -> None:
        """Add a line that a child printed to the log of its attempt."""
        line = child.mask(line).rstrip("\r").rpartition("\r")[2]
        if not self.pool.channels.has_begun(child):
            child.last_lines.append(line)  # the pool logs it if the child ends before it does any work
            return
        if child.has_left or not child.attempts:
            logger.warning("Process %s, which runs no job, printed: %s", child.pid, visible(line))
        elif child.given_together > 1 and child.shared_by:
            self.sharing.log_output(child, line)
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
            self.pool.stop_invalid(child)
            return
        attempt.reported_end = ending
        if child.shared_by:
            self._on_shared_end(child, attempt, outcome, error)
            return
        if attempt.was_stopped:
            self.pool.finish(child)
            return  # its end is written once all its processes have ended
        child.attempts.popleft()
        if outcome == Outcome.ABORTED:
            error = aborted_text()
        self.endings.finish(attempt, outcome, error)
        self.durations.note(attempt.job.name, attempt.duration, rerunnable=attempt.job.max_attempts > 1)
        if child.attempts:
            self._begin_next(child)
        elif child.is_silent:
            self.pool.stop(child, 0)  # its job has taken the signal away: it would start what was handed back
        elif child.leaving:
            self.pool.release(child)
        elif outcome not in REUSABLE_AFTER:
            self.pool.retire(child)

    def _on_shared_end(self, child: Child, attempt: RunningAttempt, outcome: object, error: str) -> None:
        """End an attempt that others run beside. It is over with its task."""
        if attempt.begun is None:  # the ends before it come in later
            self._begin(child, attempt, monotonic())
        self.sharing.remove(child, attempt)
        if (next_one := self.sharing.next_in(child)) and next_one.begun is None:
            self._begin(child, next_one, monotonic())
        self.sharing.durations.note(attempt.job.name, attempt.duration)
        if attempt.was_stopped:
            outcome, error = attempt.stop_reason, attempt.stopped_text
        elif outcome == Outcome.ABORTED:
            error = aborted_text()
        self.endings.finish(attempt, str(outcome), error)
        if child.is_silent and not child.attempts:
            self.pool.stop(child, 0)  # its jobs have taken the signal away
        self.pool.release(child)

    def _begin_next(self, child: Child) -> None:
        attempt: RunningAttempt = child.attempts[0]
        self._begin(child, attempt, monotonic())
        if child.stopping:
            # The signal was meant for the previous attempt, which has ended; it hits this one.
            attempt.stop_reason = Outcome.INTERRUPTED
            attempt.stop_text = neighbour_text()
        elif attempt.lost:
            self.stopping.stop(attempt, Outcome.LOST, "", 0)

    def on_exit(self, child: Child, exit: Exit) -> None:
        """Finish the attempts that an ended child ran, and hand back those that it had not begun."""
        for attempt in self._begun_in(child):
            attempt.process_id = child.pid
            outcome, error = unreported(exit)
            is_invalid = child.stopped_as_mute or child.stopped_as_invalid  # any of its attempts may be the reason
            if child.shared_by and child.stopping and not is_invalid and not attempt.stop_reason:
                outcome, error = Outcome.INTERRUPTED.value, neighbour_text()
            elif attempt.stop_reason:
                outcome, error = attempt.stop_reason, attempt.stopped_text
                if exit.survivors:
                    error += " " + survived(exit.survivors)
                elif outcome == Outcome.ABORTED:
                    error += " " + _("All its processes have ended.")
            self._remove(child, attempt)
            self.endings.finish(attempt, outcome, error, exit)
        self._hand_back(child)

    def _begun_in(self, child: Child) -> list[RunningAttempt]:
        """Return the attempts that an ended child had begun."""
        if child.shared_by:
            return self.sharing.begun_in(child)
        return list(child.attempts)[:1] if child.has_left or not child.untouched else []

    def _remove(self, child: Child, attempt: RunningAttempt) -> None:
        if child.shared_by:
            self.sharing.remove(child, attempt)
        else:
            child.attempts.remove(attempt)

    def _hand_back(self, child: Child) -> None:
        """Hand back the attempts that a child was given and did not start."""
        attempts = list(child.attempts)
        for attempt in attempts:
            self._remove(child, attempt)
        self.intake.hand_back(attempts)

    def free_waiting(self, now: float) -> None:
        """Have those attempts handed back that wait behind one that takes much longer than jobs of its type did.

        And those that no child takes, because all are busy or leave: they are claimed again once there is room.
        """
        is_stuck = self.intake.ready and self.intake.stuck_since is not None and now - self.intake.stuck_since > OVERRUN
        if is_stuck and not self.intake.is_for_one_job:  # that one is not tried again
            self.intake.hand_back_ready()
        for child in list(self.pool.children.values()):  # also those that are to be replaced after their work
            # Its end may have come in while this process waited for the database.
            if self._is_overrun(child, now) and self.pool.channels.catch_up(child) and self._is_overrun(child, now):
                self.pool.leave(child)

    def _is_overrun(self, child: Child, now: float) -> bool:
        if child.shared_by:
            return self.sharing.is_overrun(child, now - OVERRUN) and self.pool.channels.has_begun(child)
        first: RunningAttempt | None = child.attempts[0] if len(child.attempts) > 1 else None
        is_late = first is not None and first.begun is not None and now - first.begun > OVERRUN
        return is_late and self.pool.channels.has_begun(child)


def _length(child: Child) -> int:
    return len(child.attempts)
