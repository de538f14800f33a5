"""The tasks that Celery's workers run for this app. The processes of Celery's workers and of its beat.

Models are imported where they are used: Celery imports this module before Django's apps are ready.
"""

from __future__ import annotations

import time
from typing import Any

from celery import shared_task, signals  # type: ignore[import-not-found, import-untyped, unused-ignore]
from django.db import InterfaceError, OperationalError, router

from qorworker.backends.celery.backend import RUN_JOB, send_next

LATER = 5.0  # seconds until a job is tried again with which the database was out of order
EAGER_PAUSES = (0.2, 0.5, 1.0)  # the same in seconds where Celery runs tasks where they are sent, and then no more


@shared_task(  # type: ignore[untyped-decorator, unused-ignore]
    bind=True, name=RUN_JOB, acks_late=True, reject_on_worker_lost=False, ignore_result=True, max_retries=None
)
def run_job(self: Any, job_id: int, using: str) -> str:
    """Run one attempt of a job, if it still waits and its time has come."""
    try:
        return _run(self, job_id, using)
    except (OperationalError, InterfaceError) as error:
        if self.request.is_eager:  # Celery would try again at once and without end, and the caller waits
            if self.request.retries == len(EAGER_PAUSES):
                raise
            time.sleep(EAGER_PAUSES[self.request.retries])
        # Else its message would be gone, and the next one come much later.
        raise self.retry(exc=error, countdown=LATER) from error


def _run(task: Any, job_id: int, using: str) -> str:
    from qorworker.attempts.in_process import run_stored
    from qorworker.backends.celery.prefork import Guard, is_child
    from qorworker.backends.celery.worker import row
    from qorworker.models import Job

    jobs = Job.objects.using(using).filter(pk=job_id)
    jobs.promote_due()
    me: dict[str, Any] = {"worker_name": str(task.request.hostname or "celery"), "worker_id": row.number}
    if not is_child():
        status = run_stored(job_id, using, **me)
        send_next(jobs.first(), status)
    else:
        with Guard() as guard:
            status = guard.run(job_id, using, **me)
            send_next(jobs.first(), status)
    return status or "not waiting"


@shared_task(name="qorworker.tend", ignore_result=True)  # type: ignore[untyped-decorator, unused-ignore]
def tend(using: str | None = None) -> None:
    """Do the work between jobs where no ``runworker`` does it: schedules, due jobs, lost messages, dead workers. For
    beat.
    """
    from qorworker.maintenance import run_once
    from qorworker.models import Job

    run_once.run_once(using or router.db_for_write(Job))


@signals.celeryd_after_setup.connect(weak=False)  # type: ignore[untyped-decorator, unused-ignore]
def on_setup(sender: str, instance: Any, **kwargs: Any) -> None:
    """Prepare a process that becomes a worker of Celery, before it has children."""
    from qorworker.backends.celery import worker

    worker.on_setup(sender, instance)
