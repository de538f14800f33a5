"""Figures for dashboards and alarms: queues, workers, durations. All processes.

Every function takes few statements and reads a bounded number of rows, whatever the table holds. A count goes up to
``CAP + 1``, which means: more than ``CAP``.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.models import Job, Worker, database_now
from qorworker.queries import figures, worker_list
from qorworker.queries.catalogue import last_durations
from qorworker.queries.counting import CAP
from qorworker.status import FAILURES

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType

__all__ = [
    "CAP",
    "Activity",
    "BusyWorker",
    "Durations",
    "QueueFigures",
    "activity",
    "all_durations",
    "durations",
    "queues",
    "workers",
]

SAMPLE, LOOKED_AT = 100, 300  # successful runs that tell durations, among this many of the last runs


@dataclass(frozen=True)
class QueueFigures:
    """The state of the jobs of one queue."""

    name: str
    queued: int = 0  # could start now
    latency: dt.timedelta = dt.timedelta()  # how long the oldest of these has been waiting
    scheduled: int = 0  # wait for their time, or for their next attempt
    paused: int = 0  # wait until they are resumed
    running: int = 0
    failed: int = 0  # have ended as failed and are still kept
    workers: Sequence[Worker] = field(default=())  # alive and serving it


def queues() -> dict[str, QueueFigures]:
    """Return the queues of ``QORWORKER["QUEUES"]``, and all others that have jobs, by name."""
    jobs = Job.objects.all()
    now, alive = database_now(jobs.db), list(Worker.objects.using(jobs.db).alive().order_by("id"))
    return {
        name: QueueFigures(
            name,
            queued=min(backlog.queued + backlog.due, CAP + 1),
            latency=max(now - backlog.since, dt.timedelta()) if backlog.since else dt.timedelta(),
            scheduled=max(backlog.scheduled - backlog.due, 0),
            paused=backlog.paused,
            running=backlog.running,
            failed=backlog.failed,
            workers=[worker for worker in alive if name in worker.queues],
        )
        for name, backlog in sorted(figures.backlogs(jobs, settings.QUEUES).items())
    }


@dataclass(frozen=True)
class BusyWorker:
    """A living worker and its running jobs, the earliest first."""

    worker: Worker
    jobs: Sequence[Job]

    @property
    def idle(self) -> int:
        """How many more jobs it could run now."""
        return max(0, self.worker.slots - len(self.jobs))


def workers() -> list[BusyWorker]:
    """Return the living workers, the newest first, with their running jobs."""
    alive = list(Worker.objects.alive())
    busy = worker_list.jobs_of(alive)
    return [BusyWorker(worker, busy.get(worker.pk, [])) for worker in alive]


@dataclass(frozen=True)
class Durations:
    """How long some runs took, and how many they were."""

    count: int
    median: dt.timedelta
    p95: dt.timedelta  # 95 of 100 took no longer


def durations(job_type: JobType[..., Any] | str) -> Durations | None:
    """Return how long the last successful runs of a type took, up to 100 of them; None if it had none lately."""
    name = job_type if isinstance(job_type, str) else job_type.name
    seconds = last_durations(Job.objects.all(), [name], sample=SAMPLE, looked_at=LOOKED_AT)
    return _durations(seconds.get(name, []))


def all_durations() -> dict[str, Durations]:
    """Return the same for every job type of this process that had successful runs lately, by name."""
    names = [job_type.name for job_type in registry.all()]
    seconds = last_durations(Job.objects.all(), names, sample=SAMPLE, looked_at=LOOKED_AT)
    return {name: took for name in names if (took := _durations(seconds.get(name, []))) is not None}


@dataclass(frozen=True)
class Activity:
    """What happened in a queue lately."""

    finished: int  # attempts that ended
    failed: int  # those of them that ended badly
    per_minute: float
    waits: Durations | None  # from when jobs were due until they started
    outcomes: Mapping[str, int] = field(default_factory=dict)  # how many attempts ended in which way


def activity(span: dt.timedelta = dt.timedelta(minutes=5)) -> dict[str, Activity]:
    """Return what happened in each queue during the last *span*. Queues in which no attempt ended are missing.

    This reads the last 2,000 attempts. If more have ended, the figures cover the time of these.
    """
    using = Job.objects.all().db
    now = database_now(using)
    ended = figures.ended_since(using, now - span)
    if len(ended) == figures.ENDED:
        span = max(now - min(each.finished_at for each in ended), dt.timedelta(seconds=1))
    by_queue: dict[str, list[figures.Ended]] = {}
    for each in ended:
        by_queue.setdefault(each.queue_name, []).append(each)
    return {
        name: Activity(
            finished=len(some),
            failed=sum(each.outcome in FAILURES for each in some),
            per_minute=len(some) / (span.total_seconds() / 60),
            outcomes=Counter(each.outcome for each in some),
            waits=_durations([each.waited.total_seconds() for each in some if each.waited is not None]),
        )
        for name, some in sorted(by_queue.items())
    }


def _durations(seconds: list[float]) -> Durations | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    p95 = ordered[-(-len(ordered) * 95 // 100) - 1]  # the nearest rank: a real case, not a mean of two
    return Durations(len(ordered), dt.timedelta(seconds=median(ordered)), dt.timedelta(seconds=p95))
