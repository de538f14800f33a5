"""Limits as rows, and which one holds a job. All processes.

Nothing is counted up or down: what runs is counted from the jobs that are running, what started from a row for each
start. Who claims a job of a limited type first locks the row of its key.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import models

from qorworker.limits import KEY_CHARS, LONGEST, NONE, Limits, Rate, prefix_in, prefix_of, shown_key
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.sql.limits import could_start
from qorworker.models.sql.places import places
from qorworker.status import WAITING

if TYPE_CHECKING:
    from qorworker.models.job import Job

CONCURRENCY, RATE = "concurrency", "rate"
HOLDERS = 20  # running jobs that are named


class Limit(models.Model):
    """The row that is locked while jobs of a key are claimed; it says nothing."""

    limit_key = models.CharField(max_length=2 * KEY_CHARS + 1, primary_key=True)
    used_at = models.DateTimeField()

    class Meta:
        default_permissions = ()


class LimitStart(models.Model):
    """One start of a job whose type has a rate; kept for as long as it counts."""

    limit_key = models.CharField(max_length=2 * KEY_CHARS + 1)
    started_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        indexes = (models.Index(name="qorworker_limitstart_key", fields=("limit_key", "started_at")),)


@dataclass(frozen=True)
class Hold:
    """Why a queued job may not start although a worker is free.

    ``kind`` is ``"concurrency"`` or ``"rate"``. ``key`` is what the limit counts for; empty: all jobs of the type.
    Of a concurrency ``max_concurrency`` is the limit and ``running`` are those that hold the places, the oldest first,
    at most ``HOLDERS``. Of a rate ``rate`` is the limit and ``until`` is when the next of its jobs may start.
    """

    kind: str
    key: str
    max_concurrency: int | None = None
    running: list[Job] = field(default_factory=list)
    rate: Rate | None = None
    until: dt.datetime | None = None


def held_by(job: Job) -> Hold | None:
    """The limit that keeps a waiting *job* from being started now; None if none does, or it does not wait.

    Of one that is scheduled: that would, were it to start now. By the same count as the claim's. If both limits are
    used up, the concurrency is told.
    """
    if job.status not in WAITING or not job.limit_key:
        return None
    using, limits = job._state.db or "default", limits_of(job.limit_key)
    found = places(using, {job.limit_key: limits})[job.limit_key]
    if limits.max_concurrency is not None and found.running >= limits.max_concurrency:
        running = type(job).objects.using(using).holding(job.limit_key)[:HOLDERS]
        return Hold(CONCURRENCY, shown_key(job.limit_key), limits.max_concurrency, list(running))
    if limits.rate is not None and found.wait is not None:
        until = database_now(using) + dt.timedelta(seconds=found.wait)
        return Hold(RATE, shown_key(job.limit_key), rate=limits.rate, until=until)
    return None


def free_to_start(using: str, queue: str, after: str = "") -> tuple[list[int], str]:
    """Ids of the waiting jobs of limited types in a queue that no limit holds, no more than there are places.

    If very many keys wait, those of some keys behind *after*; with the key behind which the others are, else empty.
    """
    from qorworker.registry import registry

    return could_start(using, queue, limits_by_prefix(registry.names()), after)


def limits_of(limit_key: str) -> Limits:
    """The limits of the jobs with this stored key; none if their type is not known here, or no longer limited."""
    from qorworker.registry import registry

    prefix = prefix_in(limit_key)
    return next((each.limits for each in registry.all() if prefix_of(each.name) == prefix), NONE)


def limits_by_prefix(names: Any) -> dict[str, Limits]:
    """The limits of these types by what their stored keys begin with."""
    from qorworker.registry import registry

    return {prefix_of(name): registry.get(name).limits for name in names}


def over(using: str) -> tuple[models.QuerySet[LimitStart], models.QuerySet[Limit]]:
    """Rows that count no more. A key whose row is deleted gets another one with its next job."""
    long_ago = DatabaseNow(-2 * LONGEST.total_seconds())
    starts = LimitStart.objects.using(using).filter(started_at__lt=long_ago)
    return starts, Limit.objects.using(using).filter(used_at__lt=long_ago)
