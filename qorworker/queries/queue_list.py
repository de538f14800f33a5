"""The queries of the page of the queues: a fixed number of statements, each bounded in rows. Web."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field

from django.utils import timezone

from qorworker.conf import settings
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.pause import Pause, PauseKind
from qorworker.models.worker import Worker
from qorworker.queries.figures import Backlog, backlogs
from qorworker.queues import backend_of

LATELY = dt.timedelta(hours=24)  # for failures
SAMPLE = 1_000  # newest failed jobs that are counted


@dataclass
class Row:
    """One queue."""

    name: str
    backend: str
    is_known: bool  # named in the settings
    needs_workers: bool  # at all times
    stalled_reason: str  # why its backend is stalled
    weight: int | None
    pause: Pause | None
    backlog: Backlog
    failed: int = 0  # lately, up to SAMPLE + 1
    workers: list[Worker] = field(default_factory=list)

    @property
    def slots(self) -> int:
        """How many jobs of the queue could run at once."""
        return sum(worker.slots for worker in self.workers if worker.takes_jobs)

    @property
    def waiting(self) -> int:
        return self.backlog.queued + self.backlog.due

    @property
    def scheduled(self) -> int:
        return max(0, self.backlog.scheduled - self.backlog.due)

    @property
    def latency(self) -> dt.timedelta | None:
        """How long the oldest waiting job has waited."""
        since = self.backlog.since
        return max(timezone.now() - since, dt.timedelta()) if since is not None else None


@dataclass
class Table:
    rows: list[Row]
    paused_types: list[Pause]
    sample: int = SAMPLE

    @property
    def has_weights(self) -> bool:
        return any(row.weight is not None for row in self.rows)


def table(jobs: JobQuerySet) -> Table:
    """Return the queues of the settings, then all others that have jobs, with the figures of *jobs*."""
    pauses = Pause.objects.for_people()
    paused = {pause.name: pause for pause in pauses if pause.kind == PauseKind.QUEUE}
    by_name, failed = backlogs(jobs, [*settings.QUEUES, *paused]), _failed(jobs)
    rows: dict[str, Row] = {}
    for name in [*settings.QUEUES, *sorted(set(by_name) - set(settings.QUEUES))]:
        rows[name] = row = _row(name, paused.get(name), by_name[name])
        row.failed = failed[name]
    for worker in Worker.objects.alive().order_by("name"):
        for name in set(worker.queues) & set(rows):
            rows[name].workers.append(worker)
    return Table(list(rows.values()), [pause for pause in pauses if pause.kind == PauseKind.JOB_TYPE])


def _row(name: str, pause: Pause | None, backlog: Backlog) -> Row:
    backend = backend_of(name)
    label = type(backend).__name__.removesuffix("Backend") or type(backend).__name__
    weight = settings.QUEUES.get(name, {}).get("WEIGHT")
    return Row(
        name, label, name in settings.QUEUES, backend.needs_workers, backend.stalled_reason(), weight, pause, backlog
    )


def _failed(jobs: JobQuerySet) -> Counter[str]:
    """Return how many jobs of each queue failed lately."""
    start = timezone.now() - LATELY
    newest = jobs.failed().newest_first().values_list("queue_name", "finished_at")[: SAMPLE + 1]
    return Counter(queue for queue, moment in newest if moment is not None and moment >= start)
