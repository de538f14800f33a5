"""The queries of several pages of the admin, bounded in rows whatever the tables hold. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Exists, Min, OuterRef, Q

from qorworker.conf import settings
from qorworker.models.batch import Batch
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.message import Message
from qorworker.models.pause import Pause, PauseKind
from qorworker.models.worker import Worker
from qorworker.queries import counting
from qorworker.queues import backend_of
from qorworker.status import JobStatus


def one_job(jobs: JobQuerySet, pk: int) -> Job | None:
    """Return the job with all that the header of its page shows."""
    spawned = Exists(Batch.objects.filter(spawned_by=OuterRef("pk")))
    told = Exists(Message.objects.filter(job=OuterRef("pk")))
    rows = jobs.select_related("created_by", "worker", "schedule").annotate(has_spawned=spawned, has_messages=told)
    return rows.filter(pk=pk).first()


def exists(pk: int) -> bool:
    return Job.objects.filter(pk=pk).exists()


def newest_id(jobs: JobQuerySet) -> int:
    """Return the highest id of *jobs*; 0 without jobs."""
    return jobs.newest_first().values_list("pk", flat=True).first() or 0


def started_with(token: str, user: Any, after: int) -> Job | None:
    """Return the job that *user* started with this one-time token since job *after*."""
    return Job.objects.of_user(user).filter(pk__gt=after, form_tokens__started=token).first()


def remember_token(job: Job, token: str) -> None:
    job.form_tokens = {"started": token}
    Job.objects.using(job._state.db).filter(pk=job.pk).update(form_tokens=job.form_tokens)


@dataclass(frozen=True)
class Held:
    """A paused queue or job type; for a queue also how many jobs wait in it, up to ``CAP + 1``."""

    pause: Pause
    waiting: int = 0


@dataclass(frozen=True)
class Situation:
    """What the top of every page shows. Waiting jobs are not counted while all is well."""

    running: int  # up to CAP + 1, as ``waiting``
    workers: int
    is_lacking: bool = False  # jobs wait for workers, and no worker takes jobs
    are_paused: bool = False  # in that case: workers exist, and all of them are paused or about to end
    waiting: int = 0
    since: dt.datetime | None = None
    held: tuple[Held, ...] = ()
    stalled_reasons: tuple[str, ...] = ()  # why backends are stalled


def figures(jobs: JobQuerySet) -> Situation:
    """Return only how many of *jobs* run and how many workers are alive, by one query."""
    counts = counting.count_each({"running": jobs.few(Q(status=JobStatus.RUNNING)), "workers": Worker.objects.alive()})
    return Situation(counts["running"], counts["workers"])


def situation(jobs: JobQuerySet) -> Situation:
    """Return how many of *jobs* run, how many workers are alive, what is paused, and how many wait if no worker takes
    jobs.

    Only queues that workers serve all the time count: those of other backends need no worker.
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
        tuple(dict.fromkeys(reason for each in backends if (reason := each.stalled_reason()))),
    )


def _waiting(jobs: JobQuerySet, others: Collection[str]) -> tuple[int, dt.datetime | None]:
    """Return how many jobs wait in other queues than *others*, and since when."""
    # By the columns in the index of waiting jobs. Only the time of one of them is read from the table.
    counts = (
        jobs.few(Q(status=JobStatus.NEW) & ~Q(queue_name__in=others))
        .order_by()[: counting.CAP + 1]
        .aggregate(count=Count("pk"), first=Min("pk"))
    )
    if not counts["count"]:
        return 0, None
    return counts["count"], jobs.filter(pk=counts["first"]).values_list("run_after", flat=True).first()


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
