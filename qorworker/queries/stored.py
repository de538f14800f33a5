"""Which jobs and schedules are stored, in groups of the same kind: what a check before a deployment reads.

Commands. It reads some rows at a time, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from django.db.models import Count, Model, QuerySet

from qorworker.models import Job, Schedule
from qorworker.models.schedule_queries import with_holidays

Row = TypeVar("Row", bound=Model)
AT_ONCE = 100  # rows in memory
COLUMNS = ("pk", "name", "queue_name", "arguments", "fingerprint", "version")


@dataclass(frozen=True)
class Group:
    """Waiting jobs of one type, in one queue, that were stored by the same code."""

    name: str
    queue_name: str
    fingerprint: str
    version: int
    count: int


def groups(using: str) -> Iterator[Group]:
    """Yield the groups of waiting jobs, by type and queue, the oldest version first."""
    columns = ("name", "queue_name", "version", "fingerprint")
    rows = Job.objects.using(using).waiting().order_by(*columns).values_list(*columns).annotate(Count("pk"))
    for name, queue_name, version, fingerprint, count in rows:
        yield Group(name, queue_name, fingerprint, version, count)


def jobs_of(group: Group, using: str, most: int | None = None) -> Iterator[Job]:
    """Yield the waiting jobs of a group.

    :param most: so many at most: the older half of them, and the newer half. None: all.
    """
    jobs = Job.objects.using(using).waiting().for_type(group.name).on_queue(group.queue_name)
    jobs = jobs.filter(fingerprint=group.fingerprint, version=group.version).only(*COLUMNS)
    if most is None or group.count <= most:
        return chain.from_iterable(_portions(jobs))
    older, newer = jobs.order_by("pk")[: most - most // 2], jobs.order_by("-pk")[: most // 2]
    return chain(older.iterator(AT_ONCE), newer.iterator(AT_ONCE))


def recurring(using: str) -> Iterator[Schedule]:
    """Yield all schedules but those that code no longer declares, with the days off of their calendars."""
    for some in _portions(Schedule.objects.using(using).filter(enabled=True)):
        yield from with_holidays(some)


def _portions(rows: QuerySet[Row]) -> Iterator[list[Row]]:
    """Yield all of *rows* in the order of their ids, in several queries: they may be changed meanwhile."""
    last = 0
    while some := list(rows.filter(pk__gt=last).order_by("pk")[:AT_ONCE]):
        yield some
        last = some[-1].pk
