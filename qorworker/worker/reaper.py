"""Settles the jobs of workers that are gone. Every worker does this, for all others. Parent process.

On the same machine a worker's death can be proved, and its jobs are settled at once. For another machine a job
is taken over only if its lease is past *and* was seen unchanged for a while by this worker's own clock: after an
outage of the database, or a jump of its clock, live workers come first.
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass

from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker.conf import settings
from qorworker.models import Job, Worker
from qorworker.models.worker import WorkerKind
from qorworker.worker import processes, takeover
from qorworker.worker.database import Database

logger = logging.getLogger(__name__)

PROMPT = 0.5  # seconds within which a small write is done when nothing is in its way


@dataclass(frozen=True)
class Sighting:
    token: str
    lease: dt.datetime
    since: float  # this worker's clock


class Reaper:
    def __init__(self, database: Database, own_worker_id: int, me: processes.Identity) -> None:
        self.database, self.using = database, database.using
        self.own_worker_id, self.me = own_worker_id, me
        self.seen: dict[int, Sighting] = {}

    def reap(self, now: float) -> int:
        """Settle what can be settled now; how many jobs."""
        return self.bury_neighbours() + self.take_over(now)

    def bury_neighbours(self) -> int:
        """Settle the jobs of workers of this machine whose process is provably gone."""
        settled = 0
        workers = Worker.objects.using(self.using).not_stopped().of_machine(self.me.boot_id, self.me.pid_namespace)
        for worker in workers.others_than(self.own_worker_id):
            if not processes.provably_gone(worker.process_id, worker.process_started):
                continue
            found = processes.sweep(worker.cookie)
            logger.warning("Worker %s is gone; %s processes that it left were ended.", worker.name, found)
            for job in Job.objects.using(self.using).of_worker(worker.pk):
                if worker.kind == WorkerKind.CELERY and not (job.process_id and processes.is_gone(job.process_id)):
                    continue  # a child that has outlived its worker ends its job itself
                text = _("The worker %s ended without finishing this job.") % worker.name
                settled += takeover.settle(self.using, job, worker, text)
            Worker.objects.using(self.using).stop(worker.pk)
        return settled

    def take_over(self, now: float) -> int:
        """Settle jobs whose lease stayed past for the observation time."""
        leases = Job.objects.using(self.using).leases()
        fair = not leases or self.can_write(now)
        self.seen = {
            pk: self.seen[pk]
            if fair and self.still_counts(pk, token, lease)
            else Sighting(token, lease, processes.monotonic())
            for pk, (token, lease) in leases.items()
        }
        overdue = [pk for pk, sighting in self.seen.items() if now - sighting.since >= float(settings.OBSERVATION)]
        return sum(map(self.seize, overdue))

    def can_write(self, now: float) -> bool:
        """Whether writes get through without delay. When they do not, the owners' renewals do not either."""
        Worker.objects.using(self.using).beat(self.own_worker_id)
        return processes.monotonic() - now < PROMPT

    def still_counts(self, pk: int, token: str, lease: dt.datetime) -> bool:
        """Whether a lease was seen like this before, and the database has served this worker ever since."""
        seen = self.seen.get(pk)
        return seen is not None and (seen.token, seen.lease) == (token, lease) and seen.since > self.database.failed_at

    def seize(self, pk: int) -> int:
        """Become the owner of a job whose own did not come back, and settle it; 0 if the owner was faster."""
        sighting = self.seen[pk]
        job = takeover.seize(self.using, pk, sighting.token)
        if job is None:
            return 0
        return takeover.settle(self.using, job, job.worker, _silence(job.worker, sighting.lease))


def _silence(worker: Worker | None, lease: dt.datetime) -> str:
    since = timezone.localtime(lease) if timezone.is_aware(lease) else lease
    if worker is None:
        return _("The worker of this job stopped answering; its hold on the job ran out at %s.") % f"{since:%H:%M:%S}"
    told = _("The worker %(name)s stopped answering; its hold on the job ran out at %(time)s.")
    return told % {"name": worker.name, "time": f"{since:%H:%M:%S}"}
