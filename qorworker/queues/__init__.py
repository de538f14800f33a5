"""Which backend runs the jobs of each queue: one backend for each, made from ``QORWORKER["QUEUES"]``. All processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from qorworker.conf import settings
from qorworker.queues.base import BaseBackend
from qorworker.queues.local import LocalBackend
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models import Job

__all__ = ["BaseBackend", "backend_of", "notify", "queues_of_workers"]

_made: dict[str, tuple[Mapping[str, Any], BaseBackend]] = {}


def backend_of(queue_name: str) -> BaseBackend:
    """Return the backend of a queue. ``runworker`` still serves jobs of a queue that has left the settings.

    :raises django.core.exceptions.ImproperlyConfigured: if the settings name a class that cannot be used.
    """
    queue = settings.QUEUES.get(queue_name)
    if queue is None:
        return LocalBackend(queue_name, {})
    cached = _made.get(queue_name)
    if cached is None or cached[0] is not queue:  # the settings have changed, as they do in tests
        cached = _made[queue_name] = (queue, _make(queue_name, queue))
    return cached[1]


def _make(queue_name: str, queue: Mapping[str, Any]) -> BaseBackend:
    try:
        backend_class = import_string(queue["BACKEND"])
        backend = backend_class(queue_name, queue.get("OPTIONS", {}))
    except (ImportError, ValueError, TypeError) as error:
        raise ImproperlyConfigured(f"The backend of queue {queue_name!r} cannot be made: {error}") from error
    if not isinstance(backend, BaseBackend):
        raise ImproperlyConfigured(f"The backend of queue {queue_name!r} is not a BaseBackend: {queue['BACKEND']}.")
    return backend


def queues_of_workers() -> list[str]:
    """Return the queues whose jobs ``runworker`` takes from the table."""
    return [name for name in settings.QUEUES if backend_of(name).is_served_by_workers]


def ageing_of_queues() -> dict[str, float]:
    """Return the points of priority that a waiting job gains in a minute, of each queue whose jobs gain some."""
    rates = {name: float(settings.QUEUES[name].get("AGEING", 0)) for name in queues_of_workers()}
    return {name: rate for name, rate in rates.items() if rate}


def notify(jobs: Sequence[Job], backend: BaseBackend) -> None:
    """Notify a backend of jobs that can start and of jobs that wait for their time, unless it polls the table.

    It does not hear of paused jobs before they are resumed, nor of those that wait for others before these have ended.
    """
    if backend.is_served_by_workers:
        return
    if ready := [job for job in jobs if job.status == JobStatus.NEW]:
        backend.jobs_ready(ready)
    if waiting := [job for job in jobs if job.waits_for_time]:
        backend.jobs_waiting(waiting)
