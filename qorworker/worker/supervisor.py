"""The loop of ``runworker``: waits for news, passes it on, and does each duty in its time. Parent process.

It never calls a handler, and never dies of what a job does.
"""

from __future__ import annotations

import logging
import os
import secrets
import selectors
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from qorworker.conf import settings
from qorworker.models import Job, Worker
from qorworker.models.worker import HEARTBEAT
from qorworker.signals import worker_started, worker_stopped
from qorworker.worker import processes
from qorworker.worker.database import Database
from qorworker.worker.dispatcher import Dispatcher
from qorworker.worker.keeper import Keeper
from qorworker.worker.pool import Pool
from qorworker.worker.processes import monotonic
from qorworker.worker.reaper import Reaper
from qorworker.worker.registration import Registration
from qorworker.worker.shutdown import Shutdown
from qorworker.worker.wakeup import wakeup_for
from qorworker.worker.writer import Writer

logger = logging.getLogger(__name__)

BATCH_OF_ENDS = 200  # ends that are written without waiting for more
END_DELAY = 0.005  # seconds that an end may wait for others while children are busy with short jobs
STORY_DELAY = 0.5  # seconds between two writes of progress and log
BUFFER = 32 * 1024 * 1024  # bytes that may wait for the database before children are slowed down


@dataclass
class Options:
    """What ``runworker`` was asked to do."""

    queues: Collection[str] = ("*",)
    excluded: Collection[str] = ()
    processes: int = 2
    grace: float = 30.0  # seconds for running jobs after the first signal
    batch: bool = False  # end when nothing is left to do
    max_jobs: int | None = None
    only: int | None = None  # run this one job and end
    using: str = "default"


@dataclass
class Duty:
    """Something to be done again and again. ``work`` gets the time; it is done when the database answers."""

    work: Callable[[float], Any]
    every: float  # seconds
    at: float = 0.0
    needs_database: bool = field(default=True)


class Supervisor:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.selector = selectors.DefaultSelector()
        cookie = secrets.token_hex(16)
        self.me = processes.identity()
        self.database = Database(options.using)
        self.pool = Pool(options.processes, cookie, self.selector)
        self.writer = Writer(options.using, None, f"{self.me.host}:{self.me.process_id}")
        self.dispatcher = Dispatcher(self.database, self.pool, self.writer, options.queues, options.excluded)
        self.dispatcher.limit = 1 if options.only is not None else options.max_jobs
        self.keeper = Keeper(self.dispatcher, self.pool)
        self.pool.link.on_ready = self.keeper.tell_deadline
        self.wakeup = wakeup_for(options.using, self.selector)
        self.shutdown = Shutdown(self.dispatcher, options.grace)
        self.registration = Registration(self.writer, self.pool, self.me, cookie, self._queue_names())
        self.ends_since: float | None = None
        self.look_at = 0.0
        self.missed = False  # the one job to run was not to be had
        self.code_changed = False
        self.duties: list[Duty] = []
        self.extra_duties: list[Duty] = []

    # Life.

    def run(self) -> None:
        """Work until told to stop, or until there is nothing left that was asked for."""
        with self.shutdown.signals(self.selector):
            try:
                self._open()
                while not self._over():
                    self.step()
            finally:
                self._close()

    def _open(self) -> None:
        processes.adopt_orphans()
        worker: Worker | None = None
        while worker is None and not self.shutdown.asked:
            now = monotonic()
            worker = self.database.attempt(now, self.registration.register)
            if worker is None:
                self._listen(max(0.05, self.database.retry_at - now))
        if worker is None:
            return
        reaper = Reaper(self.database, worker.pk, self.me)
        lease = float(settings.LEASE)
        self.duties = [
            Duty(self.shutdown.tend, 0.05, needs_database=False),
            Duty(self._slow_down, 0.1, needs_database=False),
            Duty(self.keeper.outlived, 0.2, needs_database=False),
            Duty(self.keeper.limit, 0.2, needs_database=False),
            Duty(self.keeper.renew, lease / 3),
            Duty(self._write_stories, STORY_DELAY),
            Duty(self.keeper.check, 0.5),
            Duty(self._promote, 0.5),
            Duty(self._recover, 0.5),
            Duty(self.registration.beat, HEARTBEAT),
            Duty(reaper.reap, 2.0),
            Duty(self.keeper.recycle, 5.0, needs_database=False),
            *self.extra_duties,
        ]
        worker_started.send_robust(None, worker=worker)

    def _close(self) -> None:
        self.pool.close()
        self.wakeup.close()
        if self.registration.worker is not None:
            for _ in range(5):
                if self.database.attempt(self.database.retry_at, self._sign_off):
                    break
            worker_stopped.send_robust(None, worker=self.registration.worker)

    def _sign_off(self) -> bool:
        self.writer.flush(())
        if not self.dispatcher.running:
            self.registration.sign_off()
        return True

    def _queue_names(self) -> list[str]:
        known = settings.QUEUES if "*" in self.options.queues else self.options.queues
        return [name for name in known if name not in self.options.excluded]

    # One round.

    def step(self) -> None:
        """Wait for news at most until the next duty, take it in, do what is due."""
        self._listen(self._patience(monotonic()))
        now = monotonic()
        self.pool.tend(now)
        self._look_for_work(now)
        self.dispatcher.dispatch(now)
        self._write_ends(now)
        for duty in self.duties:
            if now >= duty.at and not (duty.needs_database and self.database.down(now)):
                duty.at = (now // duty.every + 1) * duty.every  # many at the same moments: fewer of them
                self._do(now, duty)

    def _listen(self, seconds: float) -> None:
        for key, _ in self.selector.select(seconds):
            # What was heard a moment ago may have closed what would be heard next.
            if self.selector.get_map().get(key.fd) is key:
                key.data(monotonic())

    def _do(self, now: float, duty: Duty) -> None:
        if duty.needs_database:
            self.database.attempt(now, lambda: duty.work(now))
        else:
            duty.work(now)

    def _patience(self, now: float) -> float:
        """Seconds until something has to be done."""
        retry_at = self.database.retry_at
        moments = [max(duty.at, retry_at) if duty.needs_database else duty.at for duty in self.duties]
        if self.ends_since is not None:
            moments.append(max(self.ends_since + END_DELAY, retry_at))
        if self._takes_work() and self.dispatcher.idle_slots():
            moments.append(retry_at if self.dispatcher.more else max(retry_at, self.look_at))
        return max(0.0, min(moments) - now) if moments else 0.05

    def _takes_work(self) -> bool:
        if self.shutdown.draining or self.keeper.overdue():
            return False
        return self.pool.ready and not self.dispatcher.exhausted()

    def _look_for_work(self, now: float) -> None:
        if not self._takes_work() or self.database.down(now):
            return
        if self.options.only is not None:
            taken = self.database.attempt(now, lambda: self.dispatcher.claim_one(self.options.only or 0))
            if taken is False:
                self.missed = self.shutdown.draining = True
            return
        if now >= self.look_at:
            self.look_at = now + self.wakeup.interval
            self.database.attempt(now, lambda: self.wakeup.look(now))
        if self.wakeup.rung and self.database.attempt(now, self._check_and_look) is not None:
            self.wakeup.rung = False
        if self.dispatcher.more:
            self.database.attempt(now, self.dispatcher.claim)

    def _check_and_look(self) -> bool:
        self.keeper.check(monotonic())
        return self.dispatcher.look()

    def _promote(self, now: float) -> None:
        if Job.objects.using(self.options.using).promote_due():
            self.wakeup.rung = True

    def _recover(self, now: float) -> None:
        if self.dispatcher.recover() and self.shutdown.draining:
            self.dispatcher.hand_back_ready()

    def _write_ends(self, now: float) -> None:
        """Write the ends that have come in: at once, or a little later together with others."""
        ends = self.writer.ends
        if not ends:
            self.ends_since = None
            return
        if self.ends_since is None:
            self.ends_since = now
        hurried = any(len(child.attempts) > 1 for child in self.pool.children.values())
        if hurried and len(ends) < BATCH_OF_ENDS and now - self.ends_since < END_DELAY:
            return
        self._flush(now, ())

    def _write_stories(self, now: float) -> None:
        self._flush(now, list(self.dispatcher.running.values()))

    def _slow_down(self, now: float) -> None:
        """Let children wait while what they said cannot be written."""
        self.pool.mute(self._backlog() > BUFFER)

    def _flush(self, now: float, running: Collection[Any]) -> None:
        lost = self.database.attempt(now, lambda: self.writer.flush(running))
        if lost is not None and not self.writer.ends:
            self.ends_since = None
        for attempt in lost or ():
            self.dispatcher.forget(attempt)

    def _backlog(self) -> int:
        return sum(attempt.buffered for attempt in self.dispatcher.running.values()) + sum(
            end.attempt.buffered for end in self.writer.ends
        )

    def _over(self) -> bool:
        if self.registration.worker is None:
            return True
        idle = not self.dispatcher.running and not self.writer.ends and not self.dispatcher.unanswered
        if self.shutdown.draining:
            # Told twice, it does not wait for a database that is out of order.
            return idle or (self.shutdown.insisted and not self.dispatcher.running and bool(self.database.failures))
        if self.dispatcher.exhausted():
            return idle
        return self.options.batch and idle and not self.dispatcher.more and self.pool.ready and self._nothing_left()

    def _nothing_left(self) -> bool:
        if not self.dispatcher.idle_slots() or self.keeper.overdue():
            return False

        def take() -> int:
            Job.objects.using(self.options.using).promote_due()
            return self.dispatcher.look() and self.dispatcher.claim()

        return self.database.attempt(monotonic(), take) == 0


def default_processes() -> int:
    """As many children as there are processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
