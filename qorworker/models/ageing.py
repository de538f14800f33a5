"""Raises the priority of jobs that wait, so that those with a low one do not wait for ever. All processes.

Only the oldest jobs of each priority are looked at: they alone can be next. So a round costs little, however many wait.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce

from qorworker.models.clock import database_now
from qorworker.status import JobStatus
from qorworker.system.processes import monotonic

if TYPE_CHECKING:
    from qorworker.models.job_queries import JobQuerySet

OLDEST = 100  # jobs of a queue with the same limits and the same priority that one round looks at
HIGHEST = 100  # no job rises above this priority
Line = tuple[str, int]  # the limits and the priority that jobs have in common


class Ageing:
    """Rounds that raise waiting jobs. One that ends before it has seen all of them is continued by the next one."""

    def __init__(self) -> None:
        self.place: tuple[str, Line] | None = None  # the queue and the line with which the next round begins

    def raise_waiting(
        self, jobs: JobQuerySet, rates: Mapping[str, float], seconds: float
    ) -> list[tuple[str, int, int]]:
        """Give waiting jobs the priority that they have risen to; return queue, new priority and id of each.

        :param rates: of each queue the points of priority that its jobs gain in a minute.
        :param seconds: after which the round ends.
        """
        end, now = monotonic() + seconds, database_now(jobs.db)
        first, line = self.place or ("", None)
        raised: list[tuple[str, int, int]] = []
        for queue in sorted(rates, key=lambda name: (name < first, name)):
            waiting = jobs.filter(status=JobStatus.NEW, queue_name=queue)
            for each in _lines(waiting, line if queue == first else None):
                if monotonic() > end:
                    self.place = queue, each
                    return raised
                raised += ((queue, priority, pk) for pk, priority in _raise(waiting, each, rates[queue], now))
        self.place = None
        return raised


def _lines(waiting: JobQuerySet, start: Line | None) -> Iterator[Line]:
    """Return the lines in which jobs wait, from *start* on, each after a probe of the claim's index."""
    found = waiting.order_by("limit_key", "-priority", "id").values_list("limit_key", "priority")
    line = found.first() if start is None else start
    while line is not None:
        yield line
        key, priority = line
        lower = waiting.filter(limit_key=key, priority__lt=priority).order_by("-priority", "id")
        line = lower.values_list("limit_key", "priority").first() or found.filter(limit_key__gt=key).first()


def _raise(waiting: JobQuerySet, line: Line, rate: float, now: dt.datetime) -> list[tuple[int, int]]:
    """Raise the oldest jobs of a line, and return their ids and new priorities."""
    key, priority = line
    if priority >= HIGHEST:
        return []
    oldest = waiting.filter(limit_key=key, priority=priority).order_by("id")
    rows = oldest.values_list("pk", "base_priority", "run_after")[:OLDEST]
    due: dict[int, list[int]] = defaultdict(list)
    for pk, base, waiting_since in rows:
        minutes = (now - waiting_since).total_seconds() / 60
        target = min(HIGHEST, (priority if base is None else base) + int(rate * minutes))
        if target > priority:
            due[target].append(pk)
    return [(pk, target) for target, pks in due.items() for pk in _write(waiting, priority, target, pks)]


def _write(waiting: JobQuerySet, before: int, priority: int, pks: list[int]) -> list[int]:
    jobs = waiting.filter(pk__in=pks, priority=before)
    with transaction.atomic(using=waiting.db):
        if transaction.get_connection(waiting.db).features.has_select_for_update_skip_locked:
            # A row that is locked is being claimed, or raised by another worker.
            pks = list(jobs.select_for_update(skip_locked=True).values_list("pk", flat=True))
        # The base comes first: MariaDB assigns in this order, and reads what it has assigned.
        jobs.filter(pk__in=pks).update(base_priority=Coalesce("base_priority", F("priority")), priority=priority)
    return pks
