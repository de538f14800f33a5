"""What a worker does for all jobs and not only its own: queue, fire, rescue, expire, notify. Parent process."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from qorworker.actions import messaging
from qorworker.actions.notify import backends_to_notify, hand_over_to, queues_of_callers, without_held, without_locked
from qorworker.actions.summarising import EVERY, summarise, summarise_if_due
from qorworker.database.connection import Database
from qorworker.maintenance.expiry import Expiry
from qorworker.maintenance.reaper import Reaper
from qorworker.maintenance.scheduler import LOOK, Scheduler
from qorworker.models import Job, JobQuerySet, Pause, Worker
from qorworker.models.ageing import Ageing
from qorworker.models.dependents import resolve_missed
from qorworker.models.sql import Position
from qorworker.queues import BaseBackend, ageing_of_queues
from qorworker.system.processes import Identity, monotonic
from qorworker.worker.parent.dispatcher import Dispatcher
from qorworker.worker.parent.duties import Duty
from qorworker.worker.parent.shutdown import Shutdown
from qorworker.worker.parent.wakeup import Wakeup

LEFT_BEHIND = 60.0  # seconds after which this worker runs a job that its caller should have run
EXPIRING = 0.5  # seconds of one round that cancels expired jobs
EXPIRY_PAUSE = 1.0  # seconds before the next round if that did not reach all schedules
NOTIFYING = 0.5  # seconds for a backend at a time: its broker may be slow, and leases must be renewed meanwhile
RESOLVING = 0.5  # seconds of one round that resolves the dependencies of jobs that have ended
AGEING = 5.0, 0.5  # seconds between two rounds that raise waiting jobs, and for one round
SUMMARISING = 0.2  # seconds for which the ends of jobs are added up
SUMMARY_PAUSE = 1.0  # seconds before the next round if that was not enough
MESSAGING = 0.2  # seconds for which events are looked for that have messages
FIRST_SUMMARY = 10.0  # seconds after its start in which a worker has more important things to do
ADOPTING = 0.5  # seconds of one round that claims jobs left behind
WAITING_LOOKED_AT = 100  # jobs left behind among which one round looks: rows may be locked
PROMOTION = 0.5  # seconds between two looks for due jobs; an earlier due time is met exactly
PROMOTION_PAUSE = 0.01  # the same at least, however many jobs are due in quick succession


class Housekeeping:
    """Moves the jobs and schedules that are due, and settles what other workers and callers left behind."""

    reaper: Reaper

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        wakeup: Wakeup,
        shutdown: Shutdown,
        takes_work: Callable[[], bool],
    ) -> None:
        self.database = database
        self.dispatcher = dispatcher
        self.wakeup = wakeup
        self.shutdown = shutdown
        self.takes_work = takes_work
        self.using = database.using
        self.scheduler = Scheduler(self.using)
        self.ageing = Ageing()
        self.promoting = Duty(self._promote, PROMOTION)
        self.scheduling = Duty(self.fire, LOOK)
        self.reaping = Duty(self._reap, 2.0)
        self.expiry = Expiry(self.using)
        self.expiring = Duty(self._expire, 5.0)
        self.adopting = Duty(self._run_left_behind, 5.0)
        self.summarising = Duty(self._summarise, EVERY)
        self.is_behind = False  # this worker has begun to add up more than one round takes
        self.only_queues: Collection[str] = ()  # look after the jobs of these queues only; none: of all

    def duties(self, worker: Worker, identity: Identity, *, for_one_job: bool) -> list[Duty]:
        """Return what this registered worker has to do. One that runs a single job leaves most to others."""
        self.reaper = Reaper(self.database, worker.pk, identity)
        duties = [self.promoting, self.reaping]
        if not for_one_job:
            duties += [self.scheduling, self.expiring]
            self.summarising.at = monotonic() + FIRST_SUMMARY
            duties.append(self.summarising)
            duties.append(Duty(self._message, messaging.EVERY))
        duties += [Duty(partial(self._notify, backend), 1.0) for backend in backends_to_notify()]
        if queues_of_callers() and not for_one_job:
            duties.append(self.adopting)
        if ageing_of_queues() and not for_one_job:
            duties.append(Duty(self._raise_waiting, AGEING[0]))
        return duties

    def duties_apart(self, worker: Worker, identity: Identity, queues: Collection[str]) -> list[Duty]:
        """Return what a registered worker has to do that looks after the jobs of these queues, and after no others."""
        self.only_queues = queues
        self.reaper = Reaper(self.database, worker.pk, identity, queues)
        return [self.promoting, Duty(self._reap_apart, 2.0)]

    def promote_at(self, at: float, now: float) -> None:
        """Queue due jobs no later than *at*, because a job will be due then."""
        self.promoting.bring_forward(max(at, now + PROMOTION_PAUSE))

    def fire(self, now: float) -> int:
        """Fire due schedules, schedule this duty for the next one, and return how many moved on."""
        self.scheduler.prepare()
        if self.shutdown.draining:
            return 0
        fired, wait = self.scheduler.look()
        self.scheduling.bring_forward(monotonic() + wait)
        self.wakeup.rung = self.wakeup.rung or bool(fired)
        return fired

    def _promote(self, now: float) -> None:
        """Queue the jobs that are due, and schedule this duty for the next one."""
        promoted, wait, jobs = self._jobs().promote(2 * PROMOTION)
        if wait is not None and (promoted or wait):  # otherwise due jobs are locked, perhaps for long
            self.promoting.bring_forward(monotonic() + max(wait, PROMOTION_PAUSE))
        if promoted:
            self.dispatcher.claimer.floors.give_back(jobs)
            self.wakeup.rung = True

    def _jobs(self) -> JobQuerySet:
        jobs: JobQuerySet = Job.objects.using(self.using)
        return jobs.on_queue(*self.only_queues) if self.only_queues else jobs

    def _reap_apart(self, now: float) -> None:
        """Rescue jobs of dead workers that looked after the same queues."""
        self.reaper.reap()

    def _reap(self, now: float) -> None:
        """Rescue jobs of dead workers, and let follow what waits for jobs that have ended: other jobs, and batches.

        Many take several rounds, with this worker's own duties in between.
        """
        self.reaper.reap(may_rest=True)
        resolve_missed(Job.objects.using(self.using), RESOLVING)
        self.dispatcher.writer.batches.settle_missed(RESOLVING)
        if self.reaper.unfinished:
            self.reaping.at = now

    def _expire(self, now: float) -> None:
        """Cancel expired jobs. Very many schedules take several rounds, with this worker's own duties in between."""
        self.expiry.run(EXPIRING)
        if self.expiry.last:
            self.expiring.bring_forward(monotonic() + EXPIRY_PAUSE)

    def _raise_waiting(self, now: float) -> None:
        """Raise the priority of jobs that have waited, in the queues that ask for it."""
        raised = self.ageing.raise_waiting(Job.objects.using(self.using), ageing_of_queues(), AGEING[1])
        self.dispatcher.claimer.floors.give_back([Position(*one) for one in raised])

    def _summarise(self, now: float) -> None:
        """Add up how jobs have ended, unless another worker did so lately. Very many take several rounds."""
        add_up = summarise if self.is_behind else summarise_if_due
        self.is_behind = not add_up(self.using, SUMMARISING)
        if self.is_behind:
            self.summarising.bring_forward(monotonic() + SUMMARY_PAUSE)

    def _message(self, now: float) -> None:
        """Have messages sent about what has happened."""
        messaging.message_if_due(self.using, MESSAGING)

    def _notify(self, backend: BaseBackend, now: float) -> None:
        hand_over_to(backend, self.using, NOTIFYING)

    def _run_left_behind(self, now: float) -> None:
        """Run jobs that their caller enqueued to run itself and then did not: it must have ended."""
        end = monotonic() + ADOPTING
        for job in self._left_behind():
            self.dispatcher.intake.claim_one(job.pk)
            if monotonic() >= end or not self.takes_work():
                self.adopting.at = now  # this worker's own duties come in between
                return

    def _left_behind(self) -> list[Job]:
        slots = self.dispatcher.intake.idle_slots() if self.takes_work() else 0
        if not slots:
            return []
        jobs = Job.objects.using(self.using).left_behind(queues_of_callers(), LEFT_BEHIND)
        jobs = jobs.not_paused(Pause.objects.using(self.using).paused())
        return without_locked(without_held(jobs, queues_of_callers(), WAITING_LOOKED_AT))[:slots]
