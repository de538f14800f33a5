"""Rescues the jobs of dead workers. Every worker does this for all others. Parents, cron and Celery's beat.

On the same machine the death of a worker can be proved, and its jobs are rescued at once. A job of another machine is
taken over only if its lease has passed *and* stayed unchanged for a while by this worker's own clock: after an outage
of the database, or a jump of its clock, live workers come first.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker.attempts import rescue
from qorworker.conf import settings
from qorworker.database.answers import renewal_interval, write_limit
from qorworker.database.connection import Database
from qorworker.models import Job, Worker
from qorworker.models.refusals import FAILURES, describe, is_refusal
from qorworker.models.worker import WorkerKind
from qorworker.system import processes
from qorworker.system.resting import rest_after

logger = logging.getLogger(__name__)

ENDING = 2.0  # seconds at most for the fork server of a dead neighbour to end what its jobs have started
SHARE = 0.5  # seconds of one round, so that this worker's own leases are renewed in time


@dataclass(frozen=True)
class Sighting:
    """A lease that had passed, and since when it was seen like that."""

    token: str
    lease: dt.datetime
    since: float  # this worker's clock


class Reaper:
    """Finds lost jobs and ends their attempts, in rounds of limited length."""

    def __init__(
        self,
        database: Database,
        own_worker_id: int,
        identity: processes.Identity,
        only_queues: Collection[str] = (),
    ) -> None:
        """:param only_queues: leave other queues alone, and workers that serve others, too; empty: no limit."""
        self.database, self.using = database, database.using
        self.only_queues = only_queues
        self.own_worker_id, self.identity = own_worker_id, identity
        self.seen: dict[int, Sighting] = {}
        self.tried: set[int] = set()  # jobs of dead neighbours that had their turn, until all have: some may be locked
        self.until: float | None = None  # when this round ends, once it has rescued a job or settled a dead neighbour
        self.unfinished = False  # whether the round ended before all of them had their turn
        self.rests_until = 0.0  # when to search for expired leases again: that passes the leases of finished jobs, too

    def reap(self, *, may_rest: bool = False) -> int:
        """Rescue jobs for up to ``SHARE`` seconds, and return how many.

        :param may_rest: whether to leave out the search for expired leases if the last one took long.
        """
        may_rest = may_rest and not self.unfinished
        self.until, self.unfinished = None, False
        rescued = self.rescue_from_dead_neighbours()
        if may_rest and processes.monotonic() < self.rests_until:
            return rescued
        return rescued + self.rescue_expired()

    def reap_all(self) -> int:
        """Rescue jobs for as long as it takes, and return how many."""
        rescued = self.reap()
        while self.unfinished:
            rescued += self.reap()
        return rescued

    def rescue_from_dead_neighbours(self) -> int:
        """Rescue the jobs of workers of this machine whose process is provably gone."""
        rescued = 0
        here = self.identity
        workers = Worker.objects.using(self.using).not_stopped().of_machine(here.boot_id, here.pid_namespace)
        others: Iterable[Worker] = workers.others_than(self.own_worker_id)
        if self.only_queues:
            others = [each for each in others if set(each.queues) <= set(self.only_queues)]
        gone = [each for each in others if processes.provably_gone(each.process_id, each.process_started)]
        for number, worker in enumerate(gone):
            if number and not self.has_time():
                return rescued
            processes.await_end(worker.cookie, min(ENDING, renewal_interval()))
            killed = processes.kill_with_cookie(worker.cookie)
            logger.warning("Worker %s is gone; %s processes that it left were ended.", worker.name, killed)
            for job in Job.objects.using(self.using).of_worker(worker.pk):
                if job.pk in self.tried:
                    continue
                if not self.has_time():
                    return rescued
                if worker.kind == WorkerKind.CELERY and not (
                    job.process_id and processes.provably_gone(job.process_id)
                ):
                    continue  # a child that outlived its worker ends its job itself
                text = _("The worker %s ended without finishing this job.") % worker.name
                rescued += self._unless_refused(job.pk, partial(rescue.end_lost, self.using, job, worker, text))
                self.tried.add(job.pk)
            Worker.objects.using(self.using).stop_dead(worker.pk)
        self.tried.clear()
        return rescued

    def rescue_expired(self) -> int:
        """Rescue jobs whose lease stayed expired for the observation time."""
        start = processes.monotonic()
        jobs = Job.objects.using(self.using)
        leases = (jobs.on_queue(*self.only_queues) if self.only_queues else jobs).expired_leases()
        self.rests_until = processes.monotonic() + rest_after(processes.monotonic() - start)
        is_reliable = not leases or self.can_write()
        now = processes.monotonic()
        self.seen = {
            pk: self.seen[pk] if is_reliable and self.still_counts(pk, token, lease) else Sighting(token, lease, now)
            for pk, (token, lease) in leases.items()
        }
        rescued = 0
        for pk in [pk for pk, sighting in self.seen.items() if now - sighting.since >= float(settings.OBSERVATION)]:
            if not self.has_time():
                break
            rescued += self._unless_refused(pk, partial(self.rescue, pk))
        return rescued

    def _unless_refused(self, pk: int, rescue: Callable[[], int]) -> int:
        """Rescue a job. Return 0 if the database refuses that: it is tried again later, after the other jobs."""
        try:
            return rescue()
        except FAILURES as error:
            if not is_refusal(error):
                raise
            logger.error("Job %s of a dead worker cannot be ended: %s", pk, describe(error))
            self.seen.pop(pk, None)
            return 0

    def has_time(self) -> bool:
        """Whether this round may go on. It always rescues one job or worker, however slow the database."""
        now = processes.monotonic()
        if self.until is None:
            self.until = now + SHARE
        self.unfinished = now >= self.until
        return not self.unfinished

    def can_write(self) -> bool:
        """Whether a write gets through in time. If it does not, the owners' renewals do not either."""
        before = processes.monotonic()
        Worker.objects.using(self.using).beat(self.own_worker_id)
        return processes.monotonic() - before < write_limit()

    def still_counts(self, pk: int, token: str, lease: dt.datetime) -> bool:
        """Whether a lease was seen unchanged before, and the database has served this worker ever since."""
        seen = self.seen.get(pk)
        return seen is not None and (seen.token, seen.lease) == (token, lease) and seen.since > self.database.failed_at

    def rescue(self, pk: int) -> int:
        """Take a job over from its silent owner and end its attempt. Return 0 if the owner was faster."""
        sighting = self.seen[pk]
        job = rescue.take_over(self.using, pk, sighting.token)
        if job is None:
            return 0
        return rescue.end_lost(self.using, job, job.worker, _lost_text(job.worker, sighting.lease))


def _lost_text(worker: Worker | None, lease: dt.datetime) -> str:
    since = timezone.localtime(lease) if timezone.is_aware(lease) else lease
    if worker is None:
        return _("The worker of this job stopped answering; its hold on the job ran out at %s.") % f"{since:%H:%M:%S}"
    sentence = _("The worker %(name)s stopped answering; its hold on the job ran out at %(time)s.")
    return sentence % {"name": worker.name, "time": f"{since:%H:%M:%S}"}
