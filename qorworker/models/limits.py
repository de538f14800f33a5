"""The rows of limits, and which limit holds a job. All processes.

Nothing is counted up or down. Running jobs are counted from their rows, and starts from a row for each start. A process
that claims a job of a limited type first locks the row of its key.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from django.db import models

from qorworker.definitions.limits import KEY_CHARS, LONGEST, Rate, shown_key
from qorworker.definitions.registry import limits_by_prefix, limits_of, registry
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.own import OwnQuerySet
from qorworker.models.sql.limits import could_start
from qorworker.models.sql.places import places
from qorworker.status import WAITING

if TYPE_CHECKING:
    from qorworker.models.job import Job

CONCURRENCY, RATE = "concurrency", "rate"
HOLDERS = 20  # running jobs that are named


class Limit(models.Model):
    """The row that is locked while jobs of a key are claimed; it carries no data."""

    limit_key = models.CharField(max_length=2 * KEY_CHARS + 1, primary_key=True)
    used_at = models.DateTimeField()

    objects: ClassVar[models.Manager[Limit]] = OwnQuerySet.as_manager()

    class Meta:
        default_permissions = ()


class LimitStart(models.Model):
    """One start of a job whose type has a rate limit; kept as long as it counts."""

    limit_key = models.CharField(max_length=2 * KEY_CHARS + 1)
    started_at = models.DateTimeField()

    objects: ClassVar[models.Manager[LimitStart]] = OwnQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = (models.Index(name="qorworker_limitstart_key", fields=("limit_key", "started_at")),)


@dataclass(frozen=True)
class Hold:
    """Why a queued job may not start although a worker is free.

    ``kind`` is ``"concurrency"`` or ``"rate"``. ``key`` is what the limit counts separately; empty: all jobs of the
    type. For a concurrency limit, ``max_concurrency`` is the limit and ``running`` are the jobs that take its places,
    the oldest first, at most ``HOLDERS``. For a rate limit, ``rate`` is the limit and ``until`` is when its next job
    may start.
    """

    kind: str
    key: str
    max_concurrency: int | None = None
    running: list[Job] = field(default_factory=list)
    rate: Rate | None = None
    until: dt.datetime | None = None


def held_by(job: Job) -> Hold | None:
    """Return the limit that keeps a waiting *job* from starting now; None if no limit does, or if the job does not
    wait.

    For a scheduled job: the limit that would keep it from starting now. The count is that of the claim. If both limits
    are used up, it is the concurrency limit.
    """
    if job.status not in WAITING or not job.limit_key:
        return None
    using, limits = job._state.db or "default", limits_of(job.limit_key)
    room = places(using, {job.limit_key: limits})[job.limit_key]
    if limits.max_concurrency is not None and room.running >= limits.max_concurrency:
        running = type(job).objects.using(using).holding(job.limit_key)[:HOLDERS]
        return Hold(CONCURRENCY, shown_key(job.limit_key), limits.max_concurrency, list(running))
    if limits.rate is not None and room.wait is not None:
        until = database_now(using) + dt.timedelta(seconds=room.wait)
        return Hold(RATE, shown_key(job.limit_key), rate=limits.rate, until=until)
    return None


def free_to_start(using: str, queue: str, after: str = "") -> tuple[list[int], str]:
    """Return the ids of waiting jobs in a queue, of limited types, that no limit holds: no more than can start.

    :param after: if very many keys wait, only keys after this one are looked at.
    :returns: the ids, and the key after which the next look continues; empty if all keys were looked at.
    """
    return could_start(using, queue, limits_by_prefix(registry.names()), after)


def over(using: str) -> tuple[models.QuerySet[LimitStart], models.QuerySet[Limit]]:
    """Return the rows that no longer count. A key whose row is deleted gets another one with its next job."""
    long_ago = DatabaseNow(-2 * LONGEST.total_seconds())
    starts = LimitStart.objects.using(using).filter(started_at__lt=long_ago)
    return starts, Limit.objects.using(using).filter(used_at__lt=long_ago)
