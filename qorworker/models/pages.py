"""What the pages of the admin ask of the rows: each page's questions, bounded in rows whatever the tables hold. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import router
from django.db.models import Count, Min, Q

from qorworker.backends import backend_of
from qorworker.conf import settings
from qorworker.models import counting, pruning
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.pause import Pause, PauseKind
from qorworker.models.worker import Worker
from qorworker.status import JobStatus


def one_job(jobs: JobQuerySet, pk: int) -> Job | None:
    """The job with all that its page's header shows."""
    return jobs.select_related("created_by", "worker", "schedule").filter(pk=pk).first()


def delete_ended(job: Job, user: Any) -> bool:
    """Delete a job with its story and its uploads; False if it has not ended, or was taken up again meanwhile.

    Either is written down.
    """
    using = router.db_for_write(Job, instance=job)
    if pruning.delete_ended([job], using, by=user, origin=Origin.ADMIN):
        return True
    AuditEntry.objects.using(using).record("delete", job=job, user=user, origin=Origin.ADMIN, outcome="too late")
    return False


def exists(pk: int) -> bool:
    return Job.objects.filter(pk=pk).exists()


def newest_id(jobs: JobQuerySet) -> int:
    return jobs.newest_first().values_list("pk", flat=True).first() or 0


def started_with(token: str, user: Any, after: int) -> Job | None:
    """The job that *user* started with this one-time token since job number *after*."""
    return Job.objects.of_user(user).filter(pk__gt=after, meta__form_token=token).first()


def remember_token(job: Job, token: str) -> None:
    job.meta = {**job.meta, "form_token": token}
    Job.objects.using(job._state.db).filter(pk=job.pk).update(meta=job.meta)


@dataclass(frozen=True)
class Held:
    """Something that is paused; of a queue also how many jobs wait in it, up to CAP + 1."""

    pause: Pause
    waiting: int = 0


@dataclass(frozen=True)
class Situation:
    """What is told at the top of every page. Of waiting jobs nothing is asked while all is well."""

    running: int  # up to CAP + 1, as ``waiting``
    workers: int
    is_lacking: bool = False  # jobs wait for workers, and none takes any
    are_paused: bool = False  # in that case: there are some, and all of them are paused or about to end
    waiting: int = 0
    since: dt.datetime | None = None
    held: tuple[Held, ...] = ()
    silences: tuple[str, ...] = ()  # what backends say that wait for something that does not come


def situation(jobs: JobQuerySet) -> Situation:
    """How many of *jobs* run, how many workers are alive, what is paused; if no worker takes jobs, how many wait.

    Only of queues that workers serve all the time: those of other backends need none.
    """
    counts = counting.count_each(
        {
            "running": jobs.few(Q(status=JobStatus.RUNNING)),
            "workers": Worker.objects.alive(),
            "ours": Worker.objects.alive().runworkers(),
            "taking": Worker.objects.alive().runworkers().taking(),
            "paused": Pause.objects.in_force(),
        }
    )
    backends = [backend_of(name) for name in settings.QUEUES]
    others = [each.queue_name for each in backends if not each.needs_workers]
    is_lacking = not counts["taking"] and len(others) < len(backends)
    waiting, since = _waiting(jobs, others) if is_lacking else (0, None)
    return Situation(
        counts["running"],
        counts["workers"],
        is_lacking,
        bool(counts["ours"]),
        waiting,
        since,
        tuple(_held(jobs)) if counts["paused"] else (),
        tuple(dict.fromkeys(told for each in backends if (told := each.silence()))),
    )


def _waiting(jobs: JobQuerySet, others: Collection[str]) -> tuple[int, dt.datetime | None]:
    """How many wait in other queues than *others*, and since when."""
    # By what the index of waiting jobs has; the time of only one of them is read from the table.
    found = (
        jobs.few(Q(status=JobStatus.NEW) & ~Q(queue_name__in=others))
        .order_by()[: counting.CAP + 1]
        .aggregate(count=Count("pk"), first=Min("pk"))
    )
    if not found["count"]:
        return 0, None
    return found["count"], jobs.filter(pk=found["first"]).values_list("run_after", flat=True).first()


def _held(jobs: JobQuerySet) -> Iterator[Held]:
    pauses = Pause.objects.for_people()
    rules = {
        pause.name: jobs.few(Q(status=JobStatus.NEW, queue_name=pause.name))
        for pause in pauses
        if pause.kind == PauseKind.QUEUE
    }
    waiting = counting.count_each(rules) if rules else {}
    for pause in pauses:
        yield Held(pause, waiting.get(pause.name, 0) if pause.kind == PauseKind.QUEUE else 0)
