"""Where the jobs of each queue run: one backend for each, made from ``QORWORKER["QUEUES"]``. All processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from qorworker.backends.base import BaseBackend
from qorworker.conf import settings
from qorworker.status import JobStatus

if TYPE_CHECKING:
    from qorworker.models import Job

__all__ = ["BaseBackend", "backend_of", "queues_of_workers", "tell_of"]

_made: dict[str, tuple[Mapping[str, Any], BaseBackend]] = {}


def backend_of(queue_name: str) -> BaseBackend:
    """The backend of a queue; jobs of one that has left the settings are still served by ``runworker``.

    Raises ``ImproperlyConfigured`` if the settings name a class that cannot be had.
    """
    queue = settings.QUEUES.get(queue_name)
    if queue is None:
        from qorworker.backends.local import LocalBackend

        return LocalBackend(queue_name, {})
    known = _made.get(queue_name)
    if known is None or known[0] is not queue:  # the settings have changed, as they do in tests
        known = _made[queue_name] = (queue, _make(queue_name, queue))
    return known[1]


def _make(queue_name: str, queue: Mapping[str, Any]) -> BaseBackend:
    try:
        backend_class = import_string(queue["BACKEND"])
        backend = backend_class(queue_name, queue.get("OPTIONS", {}))
    except (ImportError, ValueError, TypeError) as error:
        raise ImproperlyConfigured(f"The backend of queue {queue_name!r} cannot be made: {error}") from error
    if not isinstance(backend, BaseBackend):
        raise ImproperlyConfigured(f"The backend of queue {queue_name!r} is no BaseBackend: {queue['BACKEND']}.")
    return backend


def queues_of_workers() -> list[str]:
    """The queues whose jobs ``runworker`` takes from the table."""
    return [name for name in settings.QUEUES if backend_of(name).is_served_by_workers]


def tell_of(jobs: Sequence[Job], backend: BaseBackend) -> None:
    """Tell the backend of jobs that can start, and of those that wait for their time, unless it looks for itself."""
    if backend.is_served_by_workers:
        return
    if ready := [job for job in jobs if job.status == JobStatus.NEW]:
        backend.jobs_ready(ready)
    if waiting := [job for job in jobs if job.status == JobStatus.SCHEDULED]:
        backend.jobs_waiting(waiting)
