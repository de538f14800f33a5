"""Pauses and resumes queues and job types. All processes.

Jobs that run continue. Jobs are enqueued and scheduled as before, and wait. Workers and other backends notice a pause
within about a second.
"""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import Any

from django.db import router, transaction

from qorworker.actions.notify import after_pause
from qorworker.conf import settings
from qorworker.exceptions import UnknownQueue
from qorworker.models import Job, Pause, PauseKind


def pause_queue(
    name: str, *, by: Any = None, reason: str = "", until: dt.datetime | None = None, origin: str = "code"
) -> None:
    """Start no more jobs of a queue until it is resumed. An earlier pause of the queue is replaced.

    :param name: the queue.
    :param by: the user who pauses it; shown where jobs wait.
    :param reason: a sentence for users; shown where jobs wait.
    :param until: when the pause ends by itself; None: never.
    :param origin: where the request comes from, for the audit.
    :raises qorworker.exceptions.UnknownQueue: if the settings do not have the queue, and no job waits in it.
    :raises qorworker.exceptions.InvalidPause: if *until* is past.

    Example::

        pause_queue("mail", by=request.user, reason="The mail server is down.", until=tomorrow)
    """
    if name not in settings.QUEUES and not Job.objects.queued().filter(queue_name=name).exists():
        raise UnknownQueue(f"There is no queue {name!r} in QORWORKER['QUEUES'], and no job waits in one called so.")
    Pause.objects.start(PauseKind.QUEUE, name, by=by, reason=reason, until=until, origin=origin)


def resume_queue(name: str, *, by: Any = None, origin: str = "code") -> bool:
    """End the pause of a queue: its waiting jobs start in their turn.

    :param by: the user who resumes it, for the audit.
    :param origin: where the request comes from, for the audit.
    :returns: False if it was not paused.
    """
    return resume(PauseKind.QUEUE, name, by=by, origin=origin)


def pause_job_type(
    name: str, *, by: Any = None, reason: str = "", until: dt.datetime | None = None, origin: str = "code"
) -> None:
    """Do what ``JobType.pause`` does, for the job type called *name*."""
    Pause.objects.start(PauseKind.JOB_TYPE, name, by=by, reason=reason, until=until, origin=origin)


def resume_job_type(name: str, *, by: Any = None, origin: str = "code") -> bool:
    """Do what ``JobType.resume`` does, for the job type called *name*."""
    return resume(PauseKind.JOB_TYPE, name, by=by, origin=origin)


def resume(kind: str, name: str, *, by: Any = None, origin: str = "code") -> bool:
    """End a pause, and notify the backends of the jobs that waited. Return False if nothing was paused."""
    using = router.db_for_write(Pause)
    with transaction.atomic(using=using):
        if not Pause.objects.end(kind, name, by=by, origin=origin):
            return False
        transaction.on_commit(partial(after_pause, using), using=using, robust=True)
    return True
