"""How jobs ended and how long they took, added up over spans of time. All processes.

The pages of many jobs read these rows and no jobs.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import connections, models
from django.db.models import Q

from qorworker.models.clock import database_timestamp
from qorworker.models.mark import Mark
from qorworker.models.own import OwnQuerySet
from qorworker.models.sql.summaries import Group
from qorworker.status import JobStatus

FINE, HOUR, QUARTER, DAY = 300, 3_600, 21_600, 86_400
SPANS = (FINE, HOUR, QUARTER, DAY)  # seconds; all divide a day, so that each ends where a longer one does
FINE_KEPT = 3 * HOUR  # seconds for which the shortest spans are kept
MOST_ERRORS = 50  # classes of exceptions that are told apart in one row
OTHERS = "other"  # all further classes
AT_ONCE = 500  # rows in one statement
ENDS: dict[str, str] = {
    JobStatus.DONE: "done",
    JobStatus.EXCEPTION: "failed",
    JobStatus.KILLED: "aborted",
    JobStatus.CANCELLED: "cancelled",
}  # by status, the column that counts it


Numbers = Mapping[str, int]  # of jobs, by how they ended, by bucket, or by error


class Key(NamedTuple):
    """What one row is about."""

    seconds: int
    start: int
    name: str
    queue_name: str


@dataclass(slots=True)
class Sums:
    """Numbers of jobs by their end, and of their waiting times, run times and errors by bucket and class."""

    ends: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, ends: Numbers, waits: Numbers, runs: Numbers, errors: Numbers) -> None:
        """Add other numbers to these. Pages do this thousands of times, so nothing is copied for it."""
        for own, more in ((self.ends, ends), (self.waits, waits), (self.runs, runs), (self.errors, errors)):
            for name, jobs in more.items():
                own[name] += jobs
        if len(self.errors) > MOST_ERRORS:
            kept = Counter(dict(self.errors.most_common(MOST_ERRORS)))
            kept[OTHERS] += self.errors.total() - kept.total()
            self.errors = kept

    @property
    def numbers(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """All of them, as ``add`` takes them."""
        return self.ends, self.waits, self.runs, self.errors


class Row(NamedTuple):
    """A row as pages read it."""

    start: int
    name: str
    queue_name: str
    numbers: tuple[Numbers, Numbers, Numbers, Numbers]  # as ``Sums.add`` takes them


def kept_since(days: int, using: str) -> dict[int, int]:
    """Return for each length of spans the earliest start that is kept, if the longer ones are kept for *days*."""
    now = int(database_timestamp(using))
    return {seconds: now - (FINE_KEPT if seconds == FINE else days * DAY) for seconds in SPANS}


def sums_of(groups: Iterable[Group], since: Mapping[int, int]) -> dict[Key, Sums]:
    """Return what *groups* add to the rows of spans.

    :param since: the lengths of the spans, each with the time at which the first of them may start.
    """
    sums: dict[Key, Sums] = defaultdict(Sums)
    for group in groups:
        own = Sums(Counter({ENDS[group.status]: group.jobs}))
        if group.error:
            own.errors[group.error] = group.jobs
        for counter, bucket in ((own.waits, group.wait), (own.runs, group.run)):
            if bucket is not None:
                counter[str(bucket)] = group.jobs
        for seconds, first in since.items():
            if (start := group.start // seconds * seconds) >= first:
                sums[Key(seconds, start, group.name, group.queue_name)].add(*own.numbers)
    return sums


class SummaryQuerySet(OwnQuerySet["Summary"]):
    def add(self, additions: Mapping[Key, Sums]) -> None:
        """Add to the rows of these keys. The caller's transaction keeps others from doing so at the same time."""
        keys = sorted(additions)
        for first in range(0, len(keys), AT_ONCE):
            some = keys[first : first + AT_ONCE]
            before = self._sums_of(some)
            for key in some:
                before.setdefault(key, Sums()).add(*additions[key].numbers)
            self._write({key: before[key] for key in some})

    def _sums_of(self, keys: Iterable[Key]) -> dict[Key, Sums]:
        wanted = set(keys)
        rule = Q()
        for seconds in {key.seconds for key in wanted}:
            rule |= Q(seconds=seconds, start__in={key.start for key in wanted if key.seconds == seconds})
        rows = self.filter(rule, name__in={key.name for key in wanted})
        found = {Key(row.seconds, row.start, row.name, row.queue_name): row.sums for row in rows}
        return {key: found[key] for key in wanted if key in found}

    def _write(self, sums: Mapping[Key, Sums]) -> None:
        names_its_target = connections[self.db].features.supports_update_conflicts_with_target
        self.bulk_create(
            [Summary.of(key, each) for key, each in sums.items()],
            update_conflicts=True,
            unique_fields=Key._fields if names_its_target else None,
            update_fields=[*ENDS.values(), "cases"],
        )

    def forget(self, kept: Mapping[int, int]) -> int:
        """Delete the rows of spans of each length that begin before the time that *kept* has for it."""
        rule = Q()
        for seconds, first in kept.items():
            rule |= Q(seconds=seconds, start__lt=first)
        return self.filter(rule).delete()[0]

    def since(
        self, seconds: int, start: int, names: Iterable[str] | None = None, queue_name: str = ""
    ) -> Iterable[Row]:
        """Yield the rows of spans of *seconds* that begin at *start* or later.

        :param names: only of job types with these names; None: of all.
        :param queue_name: only of this queue; empty: of all.
        """
        rows = self.filter(seconds=seconds, start__gte=start)
        if names is not None:
            rows = rows.filter(name__in=list(names))
        if queue_name:
            rows = rows.filter(queue_name=queue_name)
        columns = ("start", "name", "queue_name", *ENDS.values(), "cases")
        for begun, name, queue, done, failed, aborted, cancelled, cases in rows.values_list(*columns):
            ends = {"done": done, "failed": failed, "aborted": aborted, "cancelled": cancelled}
            yield Row(begun, name, queue, (ends, *json.loads(cases)))


class Summary(models.Model):
    """The jobs of one type and queue that ended within a span of time."""

    seconds = models.PositiveIntegerField()  # the length of the span, one of ``SPANS``
    start = models.BigIntegerField()  # its beginning, in seconds since 1970 in UTC
    name = models.CharField(max_length=200)
    queue_name = models.CharField(max_length=100)
    done = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    aborted = models.PositiveBigIntegerField(default=0)
    cancelled = models.PositiveBigIntegerField(default=0)
    # JSON: the jobs that waited, and those that ran, by bucket of ``histogram``, and those that failed by the class of
    # the exception, or else the outcome of the attempt. A JSONField would take twice the time to read.
    cases = models.TextField(default="[{}, {}, {}]")

    objects = SummaryQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=Key._fields, name="qorworker_summary_key"),)

    def __str__(self) -> str:
        return f"{self.name} from {dt.datetime.fromtimestamp(self.start, dt.UTC):%Y-%m-%d %H:%M} for {self.seconds} s"

    @classmethod
    def of(cls, key: Key, sums: Sums) -> Summary:
        """Return a row that is not stored yet."""
        numbers: dict[str, Any] = {name: sums.ends[name] for name in ENDS.values()}
        cases = json.dumps([sums.waits, sums.runs, sums.errors], separators=(",", ":"))
        return cls(**key._asdict(), **numbers, cases=cases)

    @property
    def sums(self) -> Sums:
        ends = Counter({name: getattr(self, name) for name in ENDS.values()})
        return Sums(ends, *map(Counter, json.loads(self.cases)))


class SummaryMark(Mark):
    """The only row: how far the summaries have come. Who moves it on has added exactly the rows up to there."""

    objects: models.Manager[SummaryMark] = OwnQuerySet.as_manager()
