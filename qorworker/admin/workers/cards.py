"""The workers as cards: the state of each, its jobs, and what is wrong with it. Web."""

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
from qorworker.definitions.registry import registry
from qorworker.models import Job, Worker
from qorworker.models.worker import SILENT_AFTER
from qorworker.queries import worker_list
from qorworker.queues import backend_of

CLOCKS_DIFFER = dt.timedelta(seconds=2)
NAMED = 5  # job types named in a warning


@dataclass(frozen=True)
class Card:
    """A worker as its page shows it."""

    worker: Worker
    state: str  # alive, gone, stopped
    silent_for: dt.timedelta
    up: dt.timedelta
    jobs: list[Job]  # that the user may see
    hidden: int | None  # jobs that the user may not see; None if not even their number may be shown
    warnings: list[str]

    @property
    def busy(self) -> int | None:
        """Return how many slots are taken; None if that may not be shown."""
        return len(self.jobs) + self.hidden if self.hidden is not None else None


def state_of(worker: Worker, now: dt.datetime) -> str:
    """Return one of ``alive``, ``gone`` and ``stopped``; *now* is a time by the clock of the database."""
    if worker.stopped_at is not None:
        return "stopped"
    return "gone" if (now - worker.heartbeat_at).total_seconds() > SILENT_AFTER else "alive"


def cards(user: Any, workers: Iterable[Worker], now: dt.datetime) -> list[Card]:
    """Return one card for each worker; *now* is a time by the clock of the database."""
    workers = list(workers)
    running = worker_list.jobs_of(worker for worker in workers if worker.stopped_at is None)
    return [_card(user, worker, running.get(worker.pk, []), now) for worker in workers]


def _card(user: Any, worker: Worker, running: list[Job], now: dt.datetime) -> Card:
    state = state_of(worker, now)
    jobs = [job for job in running if permissions.can(user, "view", job=job)]
    counts_all = permissions.Visibility(user).sees_everything or permissions.can(user, "manage_worker")
    end = worker.stopped_at or (worker.heartbeat_at if state == "gone" else now)
    return Card(
        worker,
        state,
        silent_for=max(now - worker.heartbeat_at, dt.timedelta()),
        up=max(end - worker.started_at, dt.timedelta()),
        jobs=jobs,
        hidden=len(running) - len(jobs) if counts_all else None,
        warnings=_warnings(user, worker) if state == "alive" else [],
    )


def _warnings(user: Any, worker: Worker) -> list[str]:
    warnings = [worker.trouble] if worker.trouble else []
    if worker.version != qorworker.__version__:
        sentence = _("It runs qorworker %(its)s, this site %(ours)s. Restart it after an update.")
        warnings.append(sentence % {"its": worker.version, "ours": qorworker.__version__})
    unknown = [
        job_type
        for job_type in registry.all()
        if job_type.queue_name in worker.queues
        and job_type.name not in worker.job_types
        and not job_type.arguments.problems()  # no restart would help; the catalogue marks it
        and permissions.can(user, "view", job_type)
    ]
    if unknown:
        names = ", ".join(str(job_type.title) for job_type in unknown[:NAMED])
        if (more := len(unknown) - NAMED) > 0:
            names = _("%(names)s and %(number)d more") % {"names": names, "number": more}
        sentence = ngettext(
            "It does not know this job: %(names)s. Restart it so that it finds its code.",
            "It does not know these jobs: %(names)s. Restart it so that it finds their code.",
            len(unknown),
        )
        warnings.append(sentence % {"names": names})
    return warnings


def general_warnings(user: Any, now: dt.datetime) -> list[str]:
    """Return a sentence for each problem that belongs to no single worker; *now* is by the clock of the database."""
    warnings = []
    served = worker_list.served_queues()
    needed = {job_type.queue_name for job_type in registry.all() if permissions.can(user, "view", job_type)}
    needed = {queue for queue in needed if backend_of(queue).needs_workers}
    if served:  # a banner on every page says if no worker runs at all
        warnings += [
            _("No worker serves the queue “%(queue)s”. Its jobs wait until one does.") % {"queue": queue}
            for queue in sorted(needed - served)
        ]
    differs = abs(timezone.now() - now)
    if differs > CLOCKS_DIFFER:
        sentence = _(
            "The clock of this site and that of the database differ by %(seconds)d s: times here may be wrong."
        )
        warnings.append(sentence % {"seconds": round(differs.total_seconds())})
    return warnings
