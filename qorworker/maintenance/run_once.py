"""Does once what a ``runworker`` does beside running jobs. Ticks of cron and tasks of Celery."""

from __future__ import annotations

import time
from functools import cache

from qorworker.actions.messaging import message_if_due
from qorworker.actions.notify import hand_over
from qorworker.actions.summarising import summarise_if_due
from qorworker.attempts.batch_ends import BatchEnds
from qorworker.conf import settings
from qorworker.database.connection import Database
from qorworker.maintenance.expiry import expire
from qorworker.maintenance.reaper import Reaper
from qorworker.maintenance.scheduler import Scheduler
from qorworker.models import Job
from qorworker.models.dependents import resolve_missed
from qorworker.system.processes import identity

NO_WORKER = 0  # the id of no worker
MESSAGING = 10.0  # seconds for which events are looked for that have messages
SUMMARISING = 10.0  # seconds for which the ends of jobs are added up; the next call goes on


def run_once(using: str) -> None:
    """Expire jobs, fire schedules, queue due jobs, notify backends, and rescue the jobs of dead workers.

    The dependencies of jobs that have ended are resolved, and the batches settled whose jobs have ended. At last the
    messages about them are enqueued, and it is added up how jobs have ended.
    """
    expire(using)
    scheduler_of(using).fire_all()
    resolve_missed(Job.objects.using(using))
    BatchEnds(using).settle_missed()
    Job.objects.using(using).promote_due()
    hand_over(using)
    rescue_lost(using)
    message_if_due(using, MESSAGING)
    summarise_if_due(using, SUMMARISING)


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
