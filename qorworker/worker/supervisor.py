"""The loop of ``runworker``: waits for news, passes it on, and does each duty in its time. Parent process.

It never calls a handler, and never dies of what a job does.
"""

from __future__ import annotations

import os
import secrets
import selectors
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from qorworker.backends import queues_of_workers
from qorworker.backends.handover import hand_over, queues_of_callers, told_backends, without_held
from qorworker.conf import settings
from qorworker.models import Job, Pause, Worker
from qorworker.models.worker import HEARTBEAT, WorkerRequest
from qorworker.signals import worker_started, worker_stopped
from qorworker.worker import processes
from qorworker.worker.cadence import Cadence
from qorworker.worker.database import Database
from qorworker.worker.dispatcher import Dispatcher
from qorworker.worker.expiry import expire
from qorworker.worker.keeper import Keeper
from qorworker.worker.pool import Pool
from qorworker.worker.processes import monotonic
from qorworker.worker.reaper import Reaper
from qorworker.worker.registration import Registration
from qorworker.worker.scheduler import LOOK, Scheduler
from qorworker.worker.shutdown import Shutdown
from qorworker.worker.wakeup import wakeup_for
from qorworker.worker.writer import Writer

LEFT_BEHIND = 60.0  # seconds after which a job that its caller was to run is run here
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
        self.dispatcher.claimer.limit = 1 if options.only is not None else options.max_jobs
        self.keeper = Keeper(self.dispatcher, self.pool)
        self.pool.link.on_ready = self.keeper.tell_deadline
        self.wakeup = wakeup_for(options.using, self.selector)
        self.shutdown = Shutdown(self.dispatcher, options.grace)
        self.scheduler = Scheduler(options.using)
        self.scheduling = Duty(self._fire, LOOK)
        self.registration = Registration(self.writer, self.pool, self.me, cookie, self._queue_names())
        self.cadence = Cadence(self.dispatcher)
        self.look_at = 0.0
        self.missed = False  # the one job to run was not to be had
        self.paused = False  # somebody wants it to take no jobs for a while
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
            Duty(self._slow_down, 0.2, needs_database=False),
            Duty(self.keeper.outlived, 0.2, needs_database=False),
            Duty(self.keeper.limit, 0.2, needs_database=False),
            Duty(self.keeper.renew, lease / 3),
            Duty(self._write_stories, STORY_DELAY),
            Duty(self.keeper.check, 0.5),
            Duty(self._promote, 0.5),
            Duty(self._recover, 0.5),
            Duty(self._heed_pauses, 0.5),
            Duty(self._beat, HEARTBEAT),
            Duty(reaper.reap, 2.0),
            Duty(self.keeper.recycle, 5.0, needs_database=False),
            *([self.scheduling, Duty(self._expire, 5.0)] if self.options.only is None else []),
            *([Duty(self._hand_over, 1.0)] if told_backends() else []),
            *([Duty(self._adopt, 5.0)] if queues_of_callers() and self.options.only is None else []),
            *self.extra_duties,
        ]
        worker_started.send_robust(Worker, worker=worker)

    def _close(self) -> None:
        self.pool.close()
        self.wakeup.close()
        if self.registration.worker is not None:
            for _ in range(5):
                if self.database.attempt(self.database.retry_at, self._sign_off):
                    break
            worker_stopped.send_robust(Worker, worker=self.registration.worker)

    def _sign_off(self) -> bool:
        self.writer.flush(())
        if not self.dispatcher.running and not self.writer.held_up:
            self.registration.sign_off()
        return True

    def _queue_names(self) -> list[str]:
        known = queues_of_workers() if "*" in self.options.queues else self.options.queues
        return [name for name in known if name not in self.options.excluded]

    # One round.

    def step(self) -> None:
        """Wait for news at most until the next duty, take it in, do what is due."""
        self._wait()
        now = monotonic()
        self.shutdown.tend(now)
        self.pool.tend(now)
        self._look_for_work(now)
        self._exchange(now)
        self.dispatcher.dispatch(now)
        for duty in self.duties:
            if now >= duty.at and not (duty.needs_database and self.database.down(now)):
                duty.at = _next(now, duty.every)
                self._do(now, duty)

    def _wait(self) -> None:
        """Take in what is heard, until something has to be done. An idle worker looks for work meanwhile."""
        now = monotonic()
        until = now + self._patience(now)
        idle = self._takes_work() and self.dispatcher.idle_slots() and not self.wakeup.rung
        while idle and self.look_at < until and not self.database.down(now):
            if self._listen(self.look_at - now):
                return
            now = monotonic()
            self._look(now)
            if self.wakeup.rung:
                return
        self._listen(until - now)

    def _listen(self, seconds: float) -> bool:
        """Whether something was heard within this time."""
        heard = self.selector.select(max(0.0, seconds))
        for key, _ in heard:
            # What was heard a moment ago may have closed what would be heard next.
            if self.selector.get_map().get(key.fd) is key:
                key.data(monotonic())
        return bool(heard)

    def _do(self, now: float, duty: Duty) -> None:
        if duty.needs_database:
            self.database.attempt(now, lambda: duty.work(now))
        else:
            duty.work(now)

    def _patience(self, now: float) -> float:
        """Seconds until something has to be done."""
        retry_at = self.database.retry_at
        moments = [max(duty.at, retry_at) if duty.needs_database else duty.at for duty in self.duties]
        if (latest := self.cadence.latest()) is not None:
            moments.append(max(latest, retry_at))
        elif self._takes_work() and self.dispatcher.claimer.more and self.dispatcher.idle_slots():
            moments.append(retry_at)
        if self._takes_work() and self.options.only is None and self.dispatcher.idle_slots():
            moments += [max(at, retry_at) for at in self.dispatcher.claimer.limited.moments()]
        if self._takes_work() and self.wakeup.rung and self.options.only is None:
            moments.append(retry_at)
        return max(0.0, min(moments) - now) if moments else 0.05

    def _takes_work(self) -> bool:
        if self.shutdown.draining or self.paused or self.keeper.overdue():
            return False
        return self.pool.ready and not self.dispatcher.claimer.exhausted()

    def _look_for_work(self, now: float) -> None:
        if not self._takes_work() or self.database.down(now):
            return
        if self.options.only is not None:
            taken = self.database.attempt(now, lambda: self.dispatcher.claim_one(self.options.only or 0))
            if taken == 0:
                self.missed = self.shutdown.draining = True
            return
        self._look(now)
        if self.wakeup.rung and self.database.attempt(now, self._check_and_look) is not None:
            self.wakeup.rung = False

    def _look(self, now: float) -> None:
        """Find out in time whether something may have changed."""
        if now >= self.look_at:
            self.look_at = _next(now, self.wakeup.interval)
            self.database.attempt(now, lambda: self.wakeup.look(now))

    def _exchange(self, now: float) -> None:
        """Write the ends that have come in and take the next jobs."""
        takes = self._takes_work() and self.options.only is None
        if takes:
            self.database.attempt(now, lambda: self.dispatcher.claim_limited(now))
            self.dispatcher.dispatch(now)
        wanted = self.dispatcher.wanted() if takes else None
        if wanted is not None and self.cadence.hurried():
            # More for the children first: they are at it while the ends are written.
            self.database.attempt(now, partial(self.dispatcher.claim, wanted))
            self.dispatcher.dispatch(now)
            wanted = None
        if self.cadence.may_wait(now, wanted is not None) or self.database.down(now):
            return
        if self.database.attempt(now, lambda: self.dispatcher.exchange(wanted)) is not None:
            self.cadence.written(monotonic() - now)

    def _check_and_look(self) -> bool:
        self.keeper.check(monotonic())
        return self.dispatcher.claimer.look()

    def _heed_pauses(self, now: float) -> None:
        """While it takes one job after another; else it looks anyway before it takes one."""
        if self.dispatcher.claimer.more or self.dispatcher.claimer.limited.behind:
            self.dispatcher.claimer.heed_pauses()

    def _beat(self, now: float) -> None:
        """Show a sign of life, and do what people ask of this worker."""
        self.registration.beat(now)
        request, before = self.registration.request, self.paused
        if request == WorkerRequest.DRAIN:
            self.shutdown.drain()
        self.paused = request == WorkerRequest.PAUSE
        if self.paused and not before:
            self.dispatcher.hand_back_ready()
        elif before and not self.paused:
            self.wakeup.rung = True

    def _promote(self, now: float) -> None:
        if Job.objects.using(self.options.using).promote_due():
            self.wakeup.rung = True

    def _fire(self, now: float) -> int:
        """Make the jobs of schedules that are due, and be back when the next one is; how many moved on."""
        self.scheduler.prepare()
        if self.shutdown.draining:
            return 0
        fired, wait = self.scheduler.look()
        self.scheduling.at = min(self.scheduling.at, monotonic() + wait)
        self.wakeup.rung = self.wakeup.rung or bool(fired)
        return fired

    def _expire(self, now: float) -> None:
        expire(self.options.using)

    def _hand_over(self, now: float) -> None:
        hand_over(self.options.using)

    def _adopt(self, now: float) -> None:
        """Run what a process enqueued to run it itself, and then did not: it must have ended."""
        slots = self.dispatcher.idle_slots() if self._takes_work() else 0
        using = self.options.using
        jobs = Job.objects.using(using).left_behind(queues_of_callers(), LEFT_BEHIND)
        jobs = jobs.not_paused(Pause.objects.using(using).paused())
        for job in without_held(jobs, queues_of_callers(), slots) if slots else ():
            self.dispatcher.claim_one(job.pk)

    def _recover(self, now: float) -> None:
        if self.dispatcher.recover() and self.shutdown.draining:
            self.dispatcher.hand_back_ready()

    def _write_stories(self, now: float) -> None:
        for attempt in self.writer.flush(list(self.dispatcher.running.values())):
            self.dispatcher.forget(attempt)

    def _slow_down(self, now: float) -> None:
        """Let children wait while what they said cannot be written."""
        self.pool.pipes.mute(self._backlog() > BUFFER)

    def _backlog(self) -> int:
        return sum(attempt.buffered for attempt in self.dispatcher.running.values()) + sum(
            end.attempt.buffered for end in (*self.writer.ends, *self.writer.held_up)
        )

    def _over(self) -> bool:
        if self.registration.worker is None:
            return True
        running, claimer = self.dispatcher.running, self.dispatcher.claimer
        idle = not (running or self.writer.ends or self.writer.held_up or claimer.unanswered)
        if self.shutdown.draining:
            # Told twice, it does not wait for a database that is out of order, nor for locks of others.
            stuck = bool(self.database.failures or self.writer.held_up)
            return idle or (self.shutdown.insisted and not running and stuck)
        if claimer.exhausted():
            return idle
        return self.options.batch and idle and not claimer.more and self.pool.ready and self._nothing_left()

    def _nothing_left(self) -> bool:
        if not self.dispatcher.idle_slots() or self.keeper.overdue() or self.paused:
            return False

        def take() -> int:
            self._fire(monotonic())
            Job.objects.using(self.options.using).promote_due()
            if not self.dispatcher.claimer.look():
                return 0
            self.dispatcher.claimer.limited.at = 0.0
            return self.dispatcher.claim_limited(monotonic()) + self.dispatcher.exchange(self.dispatcher.wanted())

        return self.database.attempt(monotonic(), take) == 0


def _next(now: float, every: float) -> float:
    """The next multiple: many things are done at the same moments, so the process is woken less often."""
    return (now // every + 1) * every


def default_processes() -> int:
    """As many children as there are processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
