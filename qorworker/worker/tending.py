"""What a ``runworker`` does beside running jobs, once, for those who do not stay: ticks of cron, tasks of Celery."""

from __future__ import annotations

import time
from functools import cache

from qorworker.backends.handover import hand_over
from qorworker.conf import settings
from qorworker.models import Job
from qorworker.worker.database import Database
from qorworker.worker.expiry import expire
from qorworker.worker.processes import identity, monotonic
from qorworker.worker.reaper import Reaper
from qorworker.worker.scheduler import Scheduler

NOBODY = 0  # no worker's number


def tend(using: str) -> None:
    """Withdraw what did not start in time, fire schedules, queue jobs whose time has come, tell backends of them.

    And settle the jobs of dead workers.
    """
    expire(using)
    scheduler_of(using).fire_all()
    Job.objects.using(using).promote_due()
    hand_over(using)
    rescue(using)


@cache
def scheduler_of(using: str) -> Scheduler:
    """That of this process, which remembers whom to leave alone for a while."""
    return Scheduler(using)


def rescue(using: str) -> int:
    """Settle what can be settled, waiting out the observation time if a lease is past; how many jobs."""
    reaper = Reaper(Database(using), NOBODY, identity())
    settled = reaper.reap(monotonic())
    if reaper.seen:
        time.sleep(float(settings.OBSERVATION))
        settled += reaper.take_over(monotonic())
    return settled
