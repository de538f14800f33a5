"""Does once what a ``runworker`` does beside running jobs. Ticks of cron and tasks of Celery."""

from __future__ import annotations

import time
from functools import cache

from qorworker.actions.notify import hand_over
from qorworker.conf import settings
from qorworker.database.connection import Database
from qorworker.maintenance.expiry import expire
from qorworker.maintenance.reaper import Reaper
from qorworker.maintenance.scheduler import Scheduler
from qorworker.models import Job
from qorworker.system.processes import identity

NO_WORKER = 0  # the id of no worker


def run_once(using: str) -> None:
    """Expire jobs, fire schedules, queue due jobs, notify backends, and rescue the jobs of dead workers."""
    expire(using)
    scheduler_of(using).fire_all()
    Job.objects.using(using).promote_due()
    hand_over(using)
    rescue_lost(using)


@cache
def scheduler_of(using: str) -> Scheduler:
    """Return the scheduler of this process: it remembers which schedules to leave alone for a while."""
    return Scheduler(using)


def rescue_lost(using: str) -> int:
    """Rescue lost jobs, waiting for the observation time if a lease has passed. Return how many."""
    reaper = Reaper(Database(using), NO_WORKER, identity())
    rescued = reaper.reap_all()
    if reaper.seen:
        time.sleep(float(settings.OBSERVATION))
        rescued += reaper.reap_all()
    return rescued
