"""The workers as cards: how each does, what it is at, and what is wrong with it. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

import qorworker
from qorworker import permissions
from qorworker.backends import backend_of
from qorworker.models import Job, Worker, worker_page
from qorworker.models.worker import SILENT_AFTER
from qorworker.registry import registry

CLOCKS_DIFFER = dt.timedelta(seconds=2)
NAMED = 5  # job types named in a warning


@dataclass(frozen=True)
class Card:
    worker: Worker
    state: str  # alive, gone, stopped
    silent_for: dt.timedelta
    up: dt.timedelta
    jobs: list[Job]  # that the user may see
    hidden: int  # jobs that the user may not see
    warnings: list[str]

    @property
    def busy(self) -> int:
        return len(self.jobs) + self.hidden


def state_of(worker: Worker, now: dt.datetime) -> str:
    if worker.stopped_at is not None:
        return "stopped"
    return "gone" if (now - worker.heartbeat_at).total_seconds() > SILENT_AFTER else "alive"


def cards(user: Any, workers: Iterable[Worker], now: dt.datetime) -> list[Card]:
    """One for each worker; *now* by the database's clock."""
    workers = list(workers)
    running = worker_page.jobs_of(worker for worker in workers if worker.stopped_at is None)
    return [_card(user, worker, running.get(worker.pk, []), now) for worker in workers]


def _card(user: Any, worker: Worker, running: list[Job], now: dt.datetime) -> Card:
    state = state_of(worker, now)
    jobs = [job for job in running if permissions.can(user, "view", job=job)]
    end = worker.stopped_at or (worker.heartbeat_at if state == "gone" else now)
    return Card(
        worker,
        state,
        silent_for=max(now - worker.heartbeat_at, dt.timedelta()),
        up=max(end - worker.started_at, dt.timedelta()),
        jobs=jobs,
        hidden=len(running) - len(jobs),
        warnings=_warnings(user, worker) if state == "alive" else [],
    )


def _warnings(user: Any, worker: Worker) -> list[str]:
    found = []
    if worker.version != qorworker.__version__:
        told = _("It runs qorworker %(its)s, this site %(ours)s. Restart it after an update.")
        found.append(told % {"its": worker.version, "ours": qorworker.__version__})
    unknown = [
        job_type
        for job_type in registry.all()
        if job_type.queue_name in worker.queues
        and job_type.name not in worker.job_types
        and permissions.can(user, "view", job_type)
    ]
    if unknown:
        names = ", ".join(str(job_type.title) for job_type in unknown[:NAMED])
        if (more := len(unknown) - NAMED) > 0:
            names = _("%(names)s and %(number)d more") % {"names": names, "number": more}
        told = ngettext(
            "It does not know this job: %(names)s. Restart it so that it finds its code.",
            "It does not know these jobs: %(names)s. Restart it so that it finds their code.",
            len(unknown),
        )
        found.append(told % {"names": names})
    return found


def general_warnings(user: Any, now: dt.datetime) -> list[str]:
    """What is wrong with no single worker."""
    found = []
    served = worker_page.served_queues()
    needed = {job_type.queue_name for job_type in registry.all() if permissions.can(user, "view", job_type)}
    needed = {queue for queue in needed if backend_of(queue).needs_workers}
    if served:  # that there is none at all is told on every page
        found += [
            _("No worker serves the queue “%(queue)s”. Its jobs wait until one does.") % {"queue": queue}
            for queue in sorted(needed - served)
        ]
    differs = abs(timezone.now() - now)
    if differs > CLOCKS_DIFFER:
        told = _("The clock of this site and that of the database differ by %(seconds)d s: times here may be wrong.")
        found.append(told % {"seconds": round(differs.total_seconds())})
    return found
