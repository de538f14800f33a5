"""What the list of jobs asks of the rows: tabs, filters, counts; bounded in rows whatever the table holds. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import Q
from django.db.models.fields.json import KeyTransform

from qorworker.models import counting
from qorworker.models.clock import DatabaseNow, as_datetime
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.status import JobStatus

ARGUMENTS_READ = 5_000  # jobs whose arguments one search reads
MATCHES = 2_000  # of them, as many as are listed

TABS: dict[str, Q] = {
    "all": Q(),
    "queued": Q(status=JobStatus.NEW),
    "running": Q(status=JobStatus.RUNNING),
    "scheduled": Q(status=JobStatus.SCHEDULED),
    "done": Q(status=JobStatus.DONE),
    "failed": Q(status=JobStatus.EXCEPTION),
    "will_retry": Q(status=JobStatus.SCHEDULED, attempt__gt=0),
    "aborted": Q(status=JobStatus.KILLED),
    "cancelled": Q(status=JobStatus.CANCELLED),
    "not_responding": Q(status=JobStatus.RUNNING, lease_expires_at__lt=DatabaseNow()),
    "not_in_code": Q(),  # and a name that no job type has
}
ACTIVE = ("queued", "running", "scheduled", "will_retry", "not_responding")  # these pass, and an index leads to each
COUNTED_APART = (*ACTIVE, "failed")
ORDERS: dict[str, tuple[str, ...]] = {
    "queued": ("queue_name", "-priority", "id"),  # as they are claimed
    "scheduled": ("run_after", "id"),
    "will_retry": ("run_after", "id"),
}


@dataclass(frozen=True)
class Window:
    """The part of the table that is looked through: the jobs with a number above *floor* and below *before*.

    Jobs that wait or run are looked for everywhere, unless *before* is given.
    """

    newest: int
    floor: int
    before: int | None = None
    has_older: bool = False

    def of(self, jobs: JobQuerySet) -> JobQuerySet:
        """Those of *jobs* that are in the window."""
        if self.has_older:
            jobs = jobs.filter(pk__gt=self.floor)
        return jobs if self.before is None else jobs.filter(pk__lt=self.before)


def window(jobs: JobQuerySet, size: int, before: int | None = None) -> Window:
    """The *size* newest numbers, or those just below *before*. One statement, which looks at two rows."""
    quoted = connections[jobs.db].ops.quote_name
    table, pk = quoted(Job._meta.db_table), quoted("id")
    with connections[jobs.db].cursor() as cursor:
        cursor.execute(f"SELECT (SELECT MIN({pk}) FROM {table}), (SELECT MAX({pk}) FROM {table})")  # noqa: S608
        oldest, newest = cursor.fetchone()
    floor = (newest or 0 if before is None else before - 1) - size
    return Window(newest or 0, floor, before, oldest is not None and oldest <= floor)


def in_tab(jobs: JobQuerySet, tab: str, window: Window, known: Collection[str]) -> JobQuerySet:
    """The jobs of a tab; *known* are the names that job types have."""
    found = jobs.few(TABS[tab]) if tab in ACTIVE else jobs.filter(TABS[tab])
    if tab == "not_in_code":
        found = found.exclude(name__in=known)
    return found if tab in ACTIVE and window.before is None else window.of(found)


def for_list(jobs: JobQuerySet) -> JobQuerySet:
    """With what a row of the list shows beside the job itself, and without what may be large."""
    return jobs.select_related("created_by", "worker").defer("return_value")


def rows_of(page: JobQuerySet) -> list[Job]:
    """The jobs of a slice, in its order; two statements, of which the first needs only numbers."""
    numbers = list(page.values_list("pk", flat=True))
    jobs = for_list(Job.objects.using(page.db)).in_bulk(numbers)
    return [jobs[number] for number in numbers if number in jobs]


def numbered(jobs: JobQuerySet, numbers: Iterable[int]) -> JobQuerySet:
    return jobs.filter(pk__in=list(numbers)).newest_first()


def newer(jobs: JobQuerySet, newest: int, shown: Iterable[int], shows_all: bool) -> JobQuerySet:
    """Jobs that a page would show now and does not: those not on it, if it shows all there were, or newer ones."""
    return jobs.exclude(pk__in=list(shown)) if shows_all else jobs.filter(pk__gt=newest)


# Counts


@dataclass(frozen=True)
class TabCount:
    number: int
    is_least: bool = False  # not all were looked at: there are at least so many


def tab_counts(jobs: JobQuerySet, window: Window, known: Collection[str]) -> dict[str, TabCount]:
    """How many jobs each tab has, in one statement.

    What no index leads to is counted among the newest ``CAP + 1`` of *jobs* only.
    """
    apart = {tab: in_tab(jobs, tab, window, known) for tab in COUNTED_APART}
    seen = window.of(jobs).newest_first()
    groups, exact = counting.count_groups(seen, ("status", "name"), apart)
    looked_at = sum(groups.values())
    is_least = looked_at > counting.CAP
    by_status = {
        tab: sum(number for (status, _name), number in groups.items() if status == wanted)
        for tab, wanted in (
            ("done", JobStatus.DONE), ("aborted", JobStatus.KILLED), ("cancelled", JobStatus.CANCELLED)
        )
    }  # fmt: skip
    not_in_code = sum(number for (_status, name), number in groups.items() if name not in known)
    among = {"all": looked_at, **by_status, "not_in_code": not_in_code}
    counted = {tab: TabCount(number, is_least) for tab, number in among.items()}
    counted |= {tab: TabCount(number, number > counting.CAP) for tab, number in exact.items()}
    return {tab: counted[tab] for tab in TABS}


def positions(jobs: Iterable[Job]) -> dict[int, int]:
    """For queued jobs: which place each has in its queue, of all jobs in it. One statement; not beyond the cap."""
    queues = {job.queue_name for job in jobs}
    if not queues:
        return {}
    in_order = Job.objects.queued().filter(queue_name__in=queues).order_by(*ORDERS["queued"])
    places: dict[int, int] = {}
    counted: dict[str, int] = {}
    for pk, queue in in_order.values_list("pk", "queue_name")[: counting.CAP]:
        counted[queue] = places[pk] = counted.get(queue, 0) + 1
    return places


# Filters


@dataclass(frozen=True)
class Types:
    """The names of some types; of all there are and were, if None."""

    names: tuple[str, ...] | None = None

    def rule(self) -> Q:
        return Q() if self.names is None else Q(name__in=self.names)


def of_word(jobs: JobQuerySet, names: Sequence[str], number: int | None, errors_of: Types) -> JobQuerySet:
    """Jobs of one of these types, or with this number, or with an error that begins with the last of *names*."""
    rule = Q(name__in=names)
    if number is not None:
        rule |= Q(pk=number)
    if errors_of.names != ():
        rule |= Q(error__istartswith=names[-1]) & errors_of.rule()
    return jobs.filter(rule)


def in_queue(jobs: JobQuerySet, queue_name: str) -> JobQuerySet:
    return jobs.filter(queue_name=queue_name)


def of_user_named(jobs: JobQuerySet, username: str) -> JobQuerySet:
    """Jobs of the user with this name; two statements, so that the second can use its index."""
    users = get_user_model()._default_manager.filter(**{get_user_model().USERNAME_FIELD: username})
    return jobs.filter(created_by__in=list(users.values_list("pk", flat=True)[:1]))


def with_error(jobs: JobQuerySet, text: str, errors_of: Types) -> JobQuerySet:
    """Jobs of these types in whose error *text* is: that failed, or will be tried again."""
    return jobs.filter(errors_of.rule(), error__icontains=text)


def between(jobs: JobQuerySet, field: str, start: dt.datetime | None, end: dt.datetime | None) -> JobQuerySet:
    """Jobs whose time *field* is *start* or later, and before *end*."""
    if start is not None:
        jobs = jobs.filter(**{f"{field}__gte": start})
    return jobs if end is None else jobs.filter(**{f"{field}__lt": end})


def with_argument(jobs: JobQuerySet, name: str, matches: Callable[[str, Any], bool]) -> tuple[JobQuerySet, bool]:
    """Those of the newest jobs for which ``matches(type, stored value)``; and whether all were looked at."""
    rows = jobs.newest_first().annotate(wanted=KeyTransform(name, "arguments")).values_list("pk", "name", "wanted")
    found: list[int] = []
    for place, (pk, type_name, value) in enumerate(rows[: ARGUMENTS_READ + 1].iterator(chunk_size=500)):
        if place == ARGUMENTS_READ or len(found) == MATCHES:
            return jobs.filter(pk__in=found), False
        if value is not None and matches(type_name, value):
            found.append(pk)
    return jobs.filter(pk__in=found), True


def number_at(jobs: JobQuerySet, moment: dt.datetime, low: int, high: int) -> int:
    """The number from which on jobs were created at *moment* or later, or one a little above; between *low* and *high*.

    Numbers grow with the time, so a few looks at a few rows find it, however large the table is.
    """
    connection = connections[jobs.db]
    quoted = connection.ops.quote_name
    look = f"(SELECT enqueued_at FROM {quoted(Job._meta.db_table)} WHERE id >= %s ORDER BY id LIMIT 1)"  # noqa: S608
    while high - low > 1000:
        step = (high - low) // 64 + 1
        points = range(low, high, step)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join([look] * len(points))}", list(points))
            times = [as_datetime(connection, told) if told is not None else None for told in cursor.fetchone()]
        low, high = _around(points, times, moment, high)
    return high


def _around(points: range, times: list[dt.datetime | None], moment: dt.datetime, high: int) -> tuple[int, int]:
    """The two neighbouring points between which the times pass *moment*."""
    low = points[0]
    for point, told in zip(points, times, strict=True):
        if told is None or told >= moment:
            return low, point
        low = point
    return low, high
