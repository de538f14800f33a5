"""The loop of ``runworker``: it waits for events, passes them on, and does each duty in its time. Parent process.

It never calls a handler, and no job can bring it down.
"""

from __future__ import annotations

import logging
import math
import secrets
import selectors
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qorworker.attempts.writer import Writer
from qorworker.database.answers import renewal_interval
from qorworker.database.connection import Database
from qorworker.models import Job, Worker
from qorworker.models.tables import require_tables
from qorworker.models.waking import as_worker
from qorworker.models.worker import HEARTBEAT, WorkerRequest
from qorworker.queues import queues_of_workers
from qorworker.signals import worker_started, worker_stopped
from qorworker.system import processes
from qorworker.system.processes import monotonic
from qorworker.worker.grace import EXIT_GRACE
from qorworker.worker.parent.dispatcher import Dispatcher
from qorworker.worker.parent.duties import Duty
from qorworker.worker.parent.heartbeat import Heartbeat
from qorworker.worker.parent.housekeeping import Housekeeping
from qorworker.worker.parent.life_signs import LifeSigns
from qorworker.worker.parent.pool import EXIT_DELAY, Pool
from qorworker.worker.parent.sampling import INTERVAL as SAMPLING_INTERVAL
from qorworker.worker.parent.sampling import Sampling
from qorworker.worker.parent.shutdown import Shutdown
from qorworker.worker.parent.stalemate import Stalemate
from qorworker.worker.parent.wakeup import wakeup_for
from qorworker.worker.parent.watchdog import Watchdog
from qorworker.worker.parent.write_delay import PORTION, WriteDelay

if TYPE_CHECKING:
    from qorworker.worker.early import EarlyForkServer

__all__ = ["Duty", "Supervisor", "WorkerOptions"]

logger = logging.getLogger(__name__)

WRITE_INTERVAL = 0.5  # seconds between two writes of progress and log
IDLE_STEP = 1.0  # seconds between two rounds of the loop at most
MANY = 50  # jobs: with fewer it takes longer to have a thread send the statement than to wait for it
BUFFER = 32 * 1024 * 1024  # bytes that may wait to be written before children are slowed down


@dataclass
class WorkerOptions:
    """The options of ``runworker``."""

    queues: Collection[str] = ("*",)
    excluded: Collection[str] = ()
    processes: int = 2
    grace: float = 30.0  # seconds for running jobs after the first signal
    batch: bool = False  # end when no job is left
    max_jobs: int | None = None
    only: int | Callable[[], int] | None = None  # run this one job, or the job that this function makes, and end
    apart: bool = False  # look after nothing but the jobs of these queues
    using: str = "default"
    command: Sequence[str] | None = None  # the command line of this process, if it may be started again
    fork_server: EarlyForkServer | None = None  # the first one, if it was forked already
    life_signs: LifeSigns | None = None  # for what watches this process from outside


class Supervisor:
    """Owns the parts of a worker and runs its loop until a stop is requested or no work is left."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.selector = selectors.DefaultSelector()
        cookie = secrets.token_hex(16)
        self.identity = processes.identity()
        self.database = Database(options.using)
        self.pool = Pool(options.processes, cookie, self.selector)
        self.writer = Writer(options.using, None, f"{self.identity.host}:{self.identity.process_id}")
        self.dispatcher = Dispatcher(self.database, self.pool, self.writer, options.queues, options.excluded)
        self.intake = self.dispatcher.intake
        self.dispatcher.claimer.limit = 1 if options.only is not None else options.max_jobs
        self.intake.is_for_one_job = options.only is not None
        self.watchdog = Watchdog(self.dispatcher, self.pool)
        self.sampling = Sampling(self.pool)
        self.pool.fork_server.command, self.pool.fork_server.early = options.command, options.fork_server
        self.pool.fork_server.on_ready = self.watchdog.send_deadline
        self.wakeup = wakeup_for(options.using, self.selector, self.database.call_guard)
        self.shutdown = Shutdown(self.dispatcher, self.database.call_guard, options.grace)
        self.housekeeping = Housekeeping(self.database, self.dispatcher, self.wakeup, self.shutdown, self._takes_work)
        self.renewing = Duty(self.watchdog.renew, renewal_interval(), urgent=True)
        self.writing = Duty(self._write_progress, WRITE_INTERVAL)
        self.slowing_down = Duty(self._slow_down, 0.2, needs_database=False)
        self.heartbeat = Heartbeat(self.writer, self.pool, self.identity, cookie, self._queue_names())
        self.heartbeat.is_for_one_job = options.only is not None
        self.write_delay = WriteDelay(self.dispatcher)
        self.stalemate = Stalemate()
        self.is_job_unavailable = False  # the one job to run could not be claimed
        self.paused = False  # it takes no jobs for now, by request
        self.code_changed = False
        self.announced = False  # whether ``worker_started`` was sent
        self.duties: list[Duty] = []
        self.busy_duties: list[Duty] = []  # those that have something to do only while there are jobs
        self.extra_duties: list[Duty] = []

    # Life.

    def run(self) -> None:
        """Work until a stop is requested, or until the job or the batch it was started for is done."""
        with self.database.limited(), self.shutdown.signals(self.selector), as_worker():
            try:
                self._open()
                while not self._is_done():
                    self.step()
            finally:
                self._close()

    def _open(self) -> None:
        processes.adopt_orphans()
        worker: Worker | None = None
        while worker is None and not self.shutdown.stop_requests:
            now = monotonic()
            worker = self.database.call(now, self._register)
            if worker is None:
                self._listen(max(0.05, self.database.retry_at - now))
        if worker is None:
            logger.info("Stopping: the database never answered, so no job was claimed.")
            return
        # Not earlier: if this worker is killed, others find what it started by the row. A fork server that hangs while
        # it loads the project does not notice that its parent is gone.
        self.pool.fork_server.maintain(monotonic())
        self.busy_duties = [
            self.slowing_down,
            Duty(self.watchdog.stop_outlived, 0.2, needs_database=False),
            Duty(self.watchdog.enforce_limits, 0.2, needs_database=False),
            Duty(self.dispatcher.free_waiting, 0.5, needs_database=False),
            Duty(self._answer_stacks, 0.2, needs_database=False),
            Duty(self.sampling.step, SAMPLING_INTERVAL, needs_database=False),
            self.writing,
            Duty(self.watchdog.check_requests, 0.5),
            Duty(self._recover, 0.5),
            Duty(self._refresh_pauses, 0.5),
        ]
        self.duties = [
            self.renewing,
            Duty(self._beat, HEARTBEAT),
            Duty(self.watchdog.recycle_children, 5.0, needs_database=False),
            *self._life_signs(),
            *self._housekeeping_duties(worker),
            *self.extra_duties,
        ]

    def _housekeeping_duties(self, worker: Worker) -> list[Duty]:
        if self.options.apart:
            return self.housekeeping.duties_apart(worker, self.identity, self.options.queues)
        return self.housekeeping.duties(worker, self.identity, for_one_job=self.options.only is not None)

    def _life_signs(self) -> list[Duty]:
        signs = self.options.life_signs
        if signs is None:
            return []

        def give(now: float) -> None:
            signs.step(len(self.dispatcher.active), is_stopping=self.shutdown.draining)

        return [Duty(give, signs.interval, needs_database=False)]

    def _register(self) -> Worker:
        require_tables(self.options.using)
        return self.heartbeat.register()

    def _close(self) -> None:
        end = monotonic() + EXIT_GRACE + EXIT_DELAY
        while self.pool.hang_up() and not self.shutdown.is_forced and (now := monotonic()) < end:
            self._listen(end - now)
        self.pool.close()
        self.wakeup.close()
        if self.options.life_signs is not None:
            self.options.life_signs.end()
        if self.heartbeat.worker is not None:
            for _ in range(5):
                if self.database.call(self.database.retry_at, self._sign_off) or self.shutdown.is_forced:
                    break
            if self.announced:
                worker_stopped.send_robust(Worker, worker=self.heartbeat.worker)

    def _sign_off(self) -> bool:
        self.dispatcher.announce_begun()
        self.writer.flush(())
        while self.writer.ends:  # after failures it writes some at a time
            self.writer.write_and_claim(None)
        if not self.dispatcher.active and not self.writer.deferred:
            self.heartbeat.sign_off()
        return True

    def _queue_names(self) -> list[str]:
        queues = queues_of_workers() if "*" in self.options.queues else self.options.queues
        return [name for name in queues if name not in self.options.excluded]

    # One round.

    def step(self) -> None:
        """Wait for events until the next duty is due at the latest, handle them, and do what is due."""
        self._wait()
        now = monotonic()
        self.shutdown.step(now)
        self.pool.maintain(now)
        self._watch_fork_server()
        self._look_for_work(now)
        self._exchange(now)
        self._dispatch(now)
        self.housekeeping.promote_at(self.writer.next_retry, now)
        self.writer.next_retry = math.inf
        if self.writer.has_resolved:  # jobs may have been released, and may have been passed by the claims so far
            self.writer.has_resolved, self.wakeup.rung = False, True
            self.dispatcher.claimer.rests_until = 0.0
        for duty in self._current_duties():
            if duty.at <= now:
                # With slow statements all duties together may take longer than a lease lasts.
                self.renewing.attend(self.database)
                duty.attend(self.database)

    def _current_duties(self) -> list[Duty]:
        claimer = self.dispatcher.claimer
        has_jobs = self.dispatcher.active or self.writer.ends or self.writer.deferred
        if has_jobs or claimer.unanswered or claimer.has_more or claimer.limited.resume_after:
            return [*self.busy_duties, *self.duties]
        return self.duties

    def _watch_fork_server(self) -> None:
        """Announce this worker once it is ready, and stop it if the fork server cannot start."""
        if self.pool.ready and not self.announced:
            self.announced = True
            worker_started.send_robust(Worker, worker=self.heartbeat.worker)
            if self.options.life_signs is not None:
                self.options.life_signs.ready()
        if self.pool.fork_server.failure:
            self.shutdown.drain()

    def _wait(self) -> None:
        """Handle events until something is due. An idle worker looks for work in between."""
        now = monotonic()
        until = now + self._seconds_until_due(now)
        idle = self._takes_work() and self.intake.can_take() and not self.wakeup.rung
        while idle and self.wakeup.look_at < until and not self.database.is_down(now):
            look_at = self.wakeup.look_at
            events = self._listen(look_at - now)
            if events > 1 or (events and self.wakeup.look_at == look_at):
                return  # there was an event besides the one that brings the look forward
            now = monotonic()
            self._look(now)
            if self.wakeup.rung:
                return
        self._listen(until - now)

    def _listen(self, seconds: float) -> int:
        """Handle the events of the next *seconds*, and return how many there were."""
        events = self.selector.select(max(0.0, seconds))
        for key, _ in events:
            # The handler of an earlier event may have closed this one's source.
            if self.selector.get_map().get(key.fd) is key:
                key.data(monotonic())
        return len(events)

    def _seconds_until_due(self, now: float) -> float:
        """Return the seconds until something is due."""
        retry_at = self.database.retry_at
        moments = [max(duty.at, retry_at) if duty.needs_database else duty.at for duty in self._current_duties()]
        takes_work = self._takes_work()
        is_idle = takes_work and bool(self.intake.idle_slots())
        if (deadline := self.write_delay.deadline()) is not None:
            moments.append(max(deadline, retry_at))
        elif takes_work and self.intake.wants_jobs():
            moments.append(retry_at)
        if is_idle and self.options.only is None:
            moments += [max(at, retry_at) for at in self.dispatcher.claimer.limited.moments()]
        look_at = 0.0 if self.wakeup.rung else self.dispatcher.claimer.look_again_at
        if takes_work and self.options.only is None and look_at < math.inf:
            moments.append(max(look_at, retry_at))
        return min(IDLE_STEP, max(0.0, min(moments) - now)) if moments else 0.05

    def _takes_work(self) -> bool:
        if self.shutdown.draining or self.paused or self.watchdog.is_overdue():
            return False
        return self.pool.ready and not self.dispatcher.claimer.is_exhausted()

    def _look_for_work(self, now: float) -> None:
        if not self._takes_work() or self.database.is_down(now):
            return
        if self.options.only is not None:
            claimed = self.database.call(now, partial(self.intake.claim_one, self.options.only))
            if claimed == 0 and not self.dispatcher.claimer.unanswered:
                self.is_job_unavailable = self.shutdown.draining = True
            return
        self._look(now)
        is_due = self.wakeup.rung or now >= self.dispatcher.claimer.look_again_at
        if is_due and self.database.call(now, self._check_and_look) is not None:
            self.wakeup.rung = False

    def _look(self, now: float) -> None:
        """Check whether work may have arrived, if that check is due."""
        if now >= self.wakeup.look_at:
            self.database.call(now, lambda: self.wakeup.look(now))

    def _exchange(self, now: float) -> None:
        """Write the ends that have come in, and claim the next jobs."""
        self.dispatcher.announce_begun()
        takes_work = self._takes_work() and self.options.only is None
        if takes_work:
            self.database.call(now, lambda: self.intake.claim_limited(now))
            self._dispatch(now)
        claim = self.intake.next_claim() if takes_work and not self.write_delay.has_backlog() else None
        if claim is not None and self.write_delay.must_claim_first():
            # Claim first: the children work while the ends are written.
            self.database.call(now, partial(self.intake.claim, claim), self._meanwhile(claim.limit))
            self._dispatch(now)
            claim = self.intake.next_claim() if self._takes_work() else None
        if self.write_delay.may_wait(now, claim is not None) or self.database.is_down(now):
            return
        meanwhile = self._meanwhile(len(self.writer.ends))
        if self.database.call(now, lambda: self.intake.exchange(claim, PORTION), meanwhile) is not None:
            written_at = monotonic()
            self.write_delay.written(written_at, written_at - now)

    def _meanwhile(self, jobs: int) -> Callable[[], None] | None:
        """Return what to do while the database works on so many jobs."""
        return self._go_on if jobs >= MANY else None

    def _go_on(self) -> None:
        """Hear from the children, and hand them what is ready."""
        self.slowing_down.attend(self.database)
        self._listen(0)
        if not self.watchdog.is_overdue():
            self.dispatcher.dispatch(monotonic())

    def _dispatch(self, now: float) -> None:
        """Hand claimed jobs to children. Leases that are overdue are renewed first: else those jobs end at once."""
        if self.watchdog.is_overdue():
            self.database.call(now, lambda: self.watchdog.renew(now))
        if not self.watchdog.is_overdue():
            self.dispatcher.dispatch(now)
        self.dispatcher.announce_begun()

    def _check_and_look(self) -> bool:
        self.watchdog.check_requests(monotonic())
        return self.dispatcher.claimer.look()

    def _refresh_pauses(self, now: float) -> None:
        """Refresh what is paused while jobs are claimed in a row; otherwise the next look does that."""
        if self.dispatcher.claimer.has_more or self.dispatcher.claimer.limited.resume_after:
            self.dispatcher.claimer.refresh_pauses()

    def _beat(self, now: float) -> None:
        """Write the heartbeat, and do what was requested of this worker on its page."""
        self.heartbeat.beat(now)
        request, was_paused = self.heartbeat.request, self.paused
        if request == WorkerRequest.DRAIN:
            self.shutdown.drain()
            self.shutdown.suspends = True
        self.paused = request == WorkerRequest.PAUSE
        if self.paused and not was_paused:
            self.intake.hand_back_ready()
        elif was_paused and not self.paused:
            self.wakeup.rung = True

    def _recover(self, now: float) -> None:
        if self.intake.recover() and (self.shutdown.draining or self.paused):
            self.intake.hand_back_ready()

    def _write_progress(self, now: float) -> None:
        running = self.dispatcher.sharing.without_young(self.dispatcher.active, now)
        for attempt in self.writer.flush(running, len(self.writer.deferred)):
            self.dispatcher.stopping.abandon(attempt)

    def _answer_stacks(self, now: float) -> None:
        """Have the stacks that have come in written at once: somebody waits for them."""
        if self.watchdog.stacks.step(now):
            self.writing.bring_forward(now)

    def _slow_down(self, now: float) -> None:
        """Stop reading from children while what they sent cannot be written. One that may be the reason is stopped."""
        backlog = self._backlog()
        is_muted = backlog > BUFFER
        self.pool.channels.mute(is_muted)
        if self.stalemate.has_come(now, backlog, is_muted=is_muted and not self.database.is_failing):
            self.dispatcher.stopping.stop_loudest()

    def _backlog(self) -> int:
        return sum(attempt.buffered for attempt in self.dispatcher.active) + sum(
            end.attempt.buffered + len(end.attempt.returned) for end in (*self.writer.ends, *self.writer.deferred)
        )

    def _is_done(self) -> bool:
        """Whether the loop can end."""
        if self.heartbeat.worker is None:
            return True
        held, claimer = self.dispatcher.active, self.dispatcher.claimer
        idle = not (held or self.writer.ends or self.writer.deferred or claimer.unanswered)
        if self.shutdown.draining:
            # After a second signal it waits neither for a failing database nor for foreign locks.
            stuck = bool(self.database.failures or self.writer.deferred or claimer.unanswered)
            return idle or (self.shutdown.is_forced and not held and stuck)
        if claimer.is_exhausted():
            return idle
        return self.options.batch and idle and not claimer.has_more and self.pool.ready and self._has_no_work()

    def _has_no_work(self) -> bool:
        """Try to claim once more, and return whether there was nothing to claim."""
        if not self.intake.idle_slots() or self.watchdog.is_overdue() or self.paused:
            return False

        def claim() -> int:
            self.housekeeping.fire(monotonic())
            Job.objects.using(self.options.using).promote_due()
            if not self.dispatcher.claimer.find_queues():
                return 0
            self.dispatcher.claimer.limited.next_look_at = 0.0
            return self.intake.claim_limited(monotonic()) + self.intake.exchange(self.intake.next_claim())

        return self.database.call(monotonic(), claim) == 0
