"""The queries of the list of jobs: tabs, filters, counts. Bounded in rows whatever the table holds. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections
from django.db.models import Case, Q, When
from django.db.models.fields.json import KeyTransform

from qorworker.models.approval import Approval, ApprovalState
from qorworker.models.clock import DatabaseNow, as_datetime
from qorworker.models.job import Job
from qorworker.models.job_pause import NOT_PAUSED, PAUSED
from qorworker.models.job_queries import ASKING, AWAITING_APPROVAL, JobQuerySet
from qorworker.models.question import Question, QuestionState
from qorworker.models.worker import Worker
from qorworker.queries import counting
from qorworker.status import JobStatus

ARGUMENTS_READ = 5_000  # jobs whose arguments one search reads
MATCHES = 2_000  # of them, as many as are listed
ANY_ID = -1  # stands for an id in the parameters of a statement

TABS: dict[str, Q] = {
    "all": Q(),
    "queued": Q(status=JobStatus.NEW),
    "running": Q(status=JobStatus.RUNNING),
    "scheduled": NOT_PAUSED,
    "done": Q(status=JobStatus.DONE),
    "failed": Q(status=JobStatus.EXCEPTION),
    "row_errors": Q(results_errors__gt=0)
    & (Q(status=JobStatus.DONE) | Q(status=JobStatus.EXCEPTION, return_value__isnull=False)),
    "will_retry": NOT_PAUSED & Q(attempt__gt=0),
    "paused": PAUSED,
    "asking": ASKING & Q(pk__in=Question.objects.filter(state=QuestionState.OPEN).values("job_id")),
    "awaiting": AWAITING_APPROVAL
    & Q(pk__in=Approval.objects.filter(state=ApprovalState.OPEN, job__isnull=False).values("job_id")),
    "aborted": Q(status=JobStatus.KILLED),
    "cancelled": Q(status=JobStatus.CANCELLED),
    "not_responding": Q(status=JobStatus.RUNNING, lease_expires_at__lt=DatabaseNow()),
    "not_in_code": Q(),  # and the name of no job type
}
ACTIVE = (
    "queued",
    "running",
    "scheduled",
    "will_retry",
    "paused",
    "asking",
    "awaiting",
    "not_responding",
)  # an index leads to each
COUNTED_APART = (*ACTIVE, "failed")
ORDERS: dict[str, tuple[str, ...]] = {
    "queued": ("queue_name", "-priority", "id"),  # as they are claimed
    "scheduled": ("waits_for_jobs", "run_after", "id"),  # those that wait for other jobs at the end
    "will_retry": ("run_after", "id"),
    "paused": ("pause_requested_at", "id"),
    "asking": ("run_after", "id"),
    "awaiting": ("run_after", "id"),
}


@dataclass(frozen=True)
class Window:
    """The part of the table that is searched: the jobs with an id above *floor* and below *before*.

    Jobs that wait or run are searched for everywhere, unless *before* is given.
    """

    newest: int
    floor: int
    before: int | None = None
    has_older: bool = False

    def of(self, jobs: JobQuerySet) -> JobQuerySet:
        """Return those of *jobs* that are in the window."""
        if self.has_older:
            jobs = jobs.filter(pk__gt=self.floor)
        return jobs if self.before is None else jobs.filter(pk__lt=self.before)


def window(jobs: JobQuerySet, size: int, before: int | None = None) -> Window:
    """Return the window of the *size* newest ids, or of those just below *before*. This reads only two of *jobs*."""
    oldest, newest = _ends(jobs)
    floor = (newest or 0 if before is None else before - 1) - size
    return Window(newest or 0, floor, before, oldest is not None and oldest <= floor)


def _ends(jobs: JobQuerySet) -> tuple[int | None, int | None]:
    """Return the lowest and the highest id of *jobs*."""
    if jobs.query.where:  # the ids of all jobs would reveal how many others exist
        numbers = jobs.order_by("id").values_list("pk", flat=True)
        return numbers.first(), numbers.last()
    quoted = connections[jobs.db].ops.quote_name
    table, pk = quoted(Job._meta.db_table), quoted("id")
    with connections[jobs.db].cursor() as cursor:
        cursor.execute(f"SELECT (SELECT MIN({pk}) FROM {table}), (SELECT MAX({pk}) FROM {table})")  # noqa: S608
        oldest, newest = cursor.fetchone()
    return oldest, newest


def in_tab(jobs: JobQuerySet, tab: str, window: Window, names: Collection[str]) -> JobQuerySet:
    """Return the jobs of a tab; *names* are those of all job types."""
    rows = jobs.few(TABS[tab]) if tab in ACTIVE else jobs.filter(TABS[tab])
    if tab == "not_in_code":
        rows = rows.exclude(name__in=names)
    return rows if tab in ACTIVE and window.before is None else window.of(rows)


def of_batch(jobs: JobQuerySet, batch: int) -> JobQuerySet:
    return jobs.filter(batch_id=batch)


def for_list(jobs: JobQuerySet) -> JobQuerySet:
    """Load what a row of the list shows, and nothing that may be large."""
    return jobs.select_related("created_by", "worker").without_return_value()


def rows_of(page: JobQuerySet) -> list[Job]:
    """Return the jobs of a slice, in its order, by two statements, of which the first reads only ids."""
    numbers = list(page.values_list("pk", flat=True))
    jobs = for_list(Job.objects.using(page.db)).in_bulk(numbers)
    return [jobs[number] for number in numbers if number in jobs]


def numbered(jobs: JobQuerySet, numbers: Iterable[int]) -> JobQuerySet:
    return jobs.filter(pk__in=list(numbers)).newest_first()


def newer(jobs: JobQuerySet, newest: int, shown: Iterable[int], shows_all: bool) -> JobQuerySet:
    """Return the jobs that a page does not show yet: all that are not on it, if it shows all, else newer ones."""
    return jobs.exclude(pk__in=list(shown)) if shows_all else jobs.filter(pk__gt=newest)


# Counts


@dataclass(frozen=True)
class TabCount:
    number: int
    is_least: bool = False  # not all were counted: the number is a minimum


def tab_counts(jobs: JobQuerySet, window: Window, names: Collection[str]) -> dict[str, TabCount]:
    """Return how many jobs each tab has, by one statement.

    Tabs without an index are counted among the newest ``CAP + 1`` of *jobs* only.

    :param names: the names of all job types.
    """
    apart = {tab: in_tab(jobs, tab, window, names) for tab in COUNTED_APART}
    seen = window.of(jobs).newest_first()
    seen = seen.annotate(bad_rows=Case(When(TABS["row_errors"], then=1), default=0))
    groups, exact = counting.count_groups(seen, ("status", "name", "bad_rows"), apart)
    looked_at = sum(groups.values())
    is_least = looked_at > counting.CAP
    by_status = {
        tab: sum(number for (status, *_rest), number in groups.items() if status == of_tab)
        for tab, of_tab in (
            ("done", JobStatus.DONE), ("aborted", JobStatus.KILLED), ("cancelled", JobStatus.CANCELLED)
        )
    }  # fmt: skip
    not_in_code = sum(number for (_status, name, _bad_rows), number in groups.items() if name not in names)
    row_errors = sum(number for (*_rest, bad_rows), number in groups.items() if bad_rows)
    among = {"all": looked_at, **by_status, "not_in_code": not_in_code, "row_errors": row_errors}
    counted = {tab: TabCount(number, is_least) for tab, number in among.items()}
    counted |= {tab: TabCount(number, number > counting.CAP) for tab, number in exact.items()}
    return {tab: counted[tab] for tab in TABS}


def positions(jobs: Iterable[Job]) -> dict[int, int | None]:
    """Return the place of each queued job in its queue; None if no living worker has its code.

    Such a job is passed over, unless no worker serves the queue at all. Two statements; no places above the cap.
    """
    queues = {job.queue_name for job in jobs}
    if not queues:
        return {}
    in_order = Job.objects.queued().filter(queue_name__in=queues).order_by(*ORDERS["queued"])
    types = Worker.objects.types_by_queue()
    places: dict[int, int | None] = {}
    counted: dict[str, int] = {}
    for pk, queue, name in in_order.values_list("pk", "queue_name", "name")[: counting.CAP]:
        if queue in types and name not in types[queue]:
            places[pk] = None
        else:
            counted[queue] = places[pk] = counted.get(queue, 0) + 1
    return places


# Filters


@dataclass(frozen=True)
class Types:
    """The names of some job types; None: all types, even of the past."""

    names: tuple[str, ...] | None = None

    def rule(self) -> Q:
        return Q() if self.names is None else Q(name__in=self.names)


def of_word(jobs: JobQuerySet, names: Sequence[str], number: int | None, errors_of: Types) -> JobQuerySet:
    """Return jobs of one of these types, with this id, or with an error that begins with the last of *names*."""
    rule = Q(name__in=names)
    if number is not None:
        rule |= Q(pk=number)
    if errors_of.names != ():
        rule |= Q(error__istartswith=names[-1]) & errors_of.rule()
    return jobs.filter(rule)


def in_queue(jobs: JobQuerySet, queue_name: str) -> JobQuerySet:
    return jobs.filter(queue_name=queue_name)


def of_user_named(jobs: JobQuerySet, username: str) -> JobQuerySet:
    """Return jobs of the user with this name, by two statements, so that the second can use its index."""
    users = get_user_model()._default_manager.filter(**{get_user_model().USERNAME_FIELD: username})
    return jobs.filter(created_by__in=list(users.values_list("pk", flat=True)[:1]))


def with_error(jobs: JobQuerySet, text: str, errors_of: Types) -> JobQuerySet:
    """Return jobs of these types with *text* in their error: failed ones, and ones that wait for another attempt."""
    return jobs.filter(errors_of.rule(), error__icontains=text)


def between(jobs: JobQuerySet, field: str, start: dt.datetime | None, end: dt.datetime | None) -> JobQuerySet:
    """Return jobs whose time *field* is *start* or later, and before *end*."""
    if start is not None:
        jobs = jobs.filter(**{f"{field}__gte": start})
    return jobs if end is None else jobs.filter(**{f"{field}__lt": end})


def with_argument(jobs: JobQuerySet, name: str, matches: Callable[[str, Any], bool]) -> tuple[JobQuerySet, bool]:
    """Return those of the newest jobs for which ``matches(type, stored value)``, and whether all were looked at."""
    rows = jobs.newest_first().annotate(value=KeyTransform(name, "arguments")).values_list("pk", "name", "value")
    matching: list[int] = []
    for place, (pk, type_name, value) in enumerate(rows[: ARGUMENTS_READ + 1].iterator(chunk_size=500)):
        if place == ARGUMENTS_READ or len(matching) == MATCHES:
            return jobs.filter(pk__in=matching), False
        if value is not None and matches(type_name, value):
            matching.append(pk)
    return jobs.filter(pk__in=matching), True


def number_at(jobs: JobQuerySet, moment: dt.datetime, low: int, high: int) -> int:
    """Return the id, or one a little above, from which on *jobs* were created at *moment* or later.

    It is between *low* and *high*. Ids grow with time, so a few statements that read a few rows find it, however large
    the table is. They read only *jobs*: others would reveal how many there were by then.
    """
    connection = connections[jobs.db]
    next_one = jobs.filter(pk__gte=ANY_ID).order_by("id").values("enqueued_at")[:1]
    look, parameters = counting.sql_of(next_one, jobs.db)
    while look and high - low > 1000:
        step = (high - low) // 64 + 1
        points = range(low, high, step)
        with connection.cursor() as cursor:
            values = [point if value == ANY_ID else value for point in points for value in parameters]
            cursor.execute(f"SELECT {', '.join([f'({look})'] * len(points))}", values)
            times = [as_datetime(connection, value) if value is not None else None for value in cursor.fetchone()]
        low, high = _around(points, times, moment, high)
    return high


def _around(points: range, times: list[dt.datetime | None], moment: dt.datetime, high: int) -> tuple[int, int]:
    """Return the two neighbouring points between which the times pass *moment*."""
    low = points[0]
    for point, time in zip(points, times, strict=True):
        if time is None or time >= moment:
            return low, point
        low = point
    return low, high
