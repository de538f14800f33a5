"""Checks of the queues and of what their backends can run. ``manage.py check``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from qorworker import conf
from qorworker.checks.names import plain
from qorworker.checks.offline import register
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.queues import backend_of


@register()
def check_queues(**kwargs: Any) -> list[checks.CheckMessage]:
    """E006: a queue whose backend cannot be made, whose name a database may confuse with another one, or that a job
    type is for although it does not exist or cannot run it. W018: a queue with AGEING whose backend does not keep that.
    """
    try:
        queues = conf.settings.QUEUES
    except ImproperlyConfigured:
        return []  # E001 says so
    messages = [message for name in queues for message in _of_backend(name)]
    messages += _alike(queues)
    messages += _without_ageing(queues)
    if not any(message.id == "qorworker.E006" for message in messages):
        messages += [message for job_type in registry.all() for message in _of_job_type(job_type, queues)]
    return messages


def _alike(queues: Iterable[str]) -> Iterable[checks.CheckMessage]:
    seen: dict[str, str] = {}
    for name in queues:
        if (other := seen.setdefault(plain(name), name)) != name:
            yield checks.Error(
                f"The queues {other!r} and {name!r} differ only in capital letters or accents.",
                hint="MariaDB and MySQL would find the jobs of one of them only. Rename it in QORWORKER['QUEUES'].",
                id="qorworker.E006",
            )


def _without_ageing(queues: Mapping[str, Any]) -> Iterable[checks.CheckMessage]:
    for name, queue in queues.items():
        try:
            is_kept = not queue.get("AGEING") or backend_of(name).is_served_by_workers
        except ImproperlyConfigured:
            continue  # _of_backend says so
        if not is_kept:
            yield checks.Warning(
                f"The queue {name!r} has AGEING, which its backend {queue['BACKEND']} does not keep.",
                hint="Only the workers of qorworker raise the priority of jobs that wait. Take AGEING away.",
                id="qorworker.W018",
            )


def _of_backend(queue_name: str) -> Iterable[checks.CheckMessage]:
    try:
        yield from backend_of(queue_name).check()
    except ImproperlyConfigured as error:
        hint = "QORWORKER['QUEUES'] is shaped like CACHES: BACKEND is the dotted path of a class."
        yield checks.Error(str(error), hint=hint, id="qorworker.E006")


def _of_job_type(job_type: JobType[..., Any], queues: Iterable[str]) -> Iterable[checks.CheckMessage]:
    if job_type.queue_name in queues:
        yield from _lost_options(job_type)
        return
    yield checks.Error(
        f"{job_type.place} belongs to queue {job_type.queue_name!r}, which is not in QORWORKER['QUEUES'].",
        hint=f"The queues are: {', '.join(queues)}.",
        obj=job_type,
        id="qorworker.E006",
    )


def _lost_options(job_type: JobType[..., Any]) -> Iterable[checks.CheckMessage]:
    """E006, W010: options of a job type that have no effect in its queue."""
    backend = backend_of(job_type.queue_name)
    if job_type.priority and not backend.supports_priority:
        yield checks.Error(
            f"{job_type.place} has a priority, but its queue {job_type.queue_name!r} ignores priorities.",
            hint="Leave the priority at 0, or choose another queue.",
            obj=job_type,
            id="qorworker.E006",
        )
    if job_type.dry_run and not backend.supports_dry_run:
        yield checks.Warning(
            f"{job_type.place} can be rehearsed, but not in its queue {job_type.queue_name!r}.",
            hint=f"{type(backend).__name__} does not rehearse jobs; choose a queue of workers, or take dry_run away.",
            obj=job_type,
            id="qorworker.W010",
        )
    limits = [name for name in ("timeout", "memory_limit") if getattr(job_type, name) is not None]
    if limits and not backend.supports_limits:
        yield checks.Warning(
            f"The {' and the '.join(limits)} of {job_type.place} have no effect in its queue {job_type.queue_name!r}.",
            hint=f"{type(backend).__name__} does not enforce limits; choose another queue where that matters.",
            obj=job_type,
            id="qorworker.W010",
        )
