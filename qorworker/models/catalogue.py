"""What the catalogue asks of the rows: one statement for each question, however many job types there are. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from statistics import median
from typing import Any

from django.db import connections
from django.db.models import Q

from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.status import JobStatus

NAMES = 999  # names looked for: what MySQL's default depth of a recursion allows
SAMPLE, LOOKED_AT = 20, 60  # successful runs that tell what is usual, among this many of the last runs
AT_ONCE = 250  # parts of one UNION; SQLite takes 500
RUNNING = 500  # running jobs told of
SCHEDULED = 2_000  # scheduled jobs looked through for the next of each type
OWN = 500  # jobs of one person looked through for what they used last

SECONDS = {
    "postgresql": "EXTRACT(EPOCH FROM finished_at - last_attempted_at)",
    "sqlite": "(julianday(finished_at) - julianday(last_attempted_at)) * 86400",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, last_attempted_at, finished_at) / 1000000",
}
# From each name straight to the next, by the index: DISTINCT would read a million entries to find ten names.
NEWEST = """
    WITH RECURSIVE found (name, step) AS (
        SELECT MIN(name), 1 FROM {table}
        UNION ALL
        SELECT (SELECT MIN({table}.name) FROM {table} WHERE {table}.name > found.name), found.step + 1
        FROM found WHERE found.name IS NOT NULL AND found.step < %s
    )
    SELECT (SELECT MAX({table}.id) FROM {table} WHERE {table}.name = found.name) FROM found WHERE name IS NOT NULL
"""
LAST_SUCCESSES = """
    SELECT name, seconds FROM (
        SELECT id, name, {seconds} AS seconds FROM (
            SELECT id, name, status, last_attempted_at, finished_at FROM {table}
            WHERE name = %s ORDER BY id DESC LIMIT {looked_at}
        ) AS latest WHERE status = 'done' ORDER BY id DESC LIMIT {sample}
    ) AS successes
"""


def newest_of_each_name(jobs: JobQuerySet) -> dict[str, Job]:
    """The newest job of every type that has jobs, also of types that left the code; by name."""
    with connections[jobs.db].cursor() as cursor:
        cursor.execute(NEWEST.format(table=Job._meta.db_table), [NAMES])
        newest = [pk for (pk,) in cursor.fetchall()]
    return by_name(jobs, newest)


def by_name(jobs: JobQuerySet, numbers: Iterable[int]) -> dict[str, Job]:
    """Those of *jobs* that have one of these *numbers*; by name."""
    return {job.name: job for job in jobs.filter(pk__in=list(numbers))}


def usual_durations(jobs: JobQuerySet, names: Iterable[str]) -> dict[str, dt.timedelta]:
    """For each type the median duration of its last successful runs; types without one are missing."""
    found = last_durations(jobs, names, sample=SAMPLE, looked_at=LOOKED_AT)
    return {name: dt.timedelta(seconds=median(seconds)) for name, seconds in found.items()}


def last_durations(jobs: JobQuerySet, names: Iterable[str], *, sample: int, looked_at: int) -> dict[str, list[float]]:
    """For each type the seconds that its last successful runs took, up to *sample* among *looked_at* runs."""
    names = list(names)
    connection = connections[jobs.db]
    one = LAST_SUCCESSES.format(
        table=Job._meta.db_table, seconds=SECONDS[connection.vendor], looked_at=looked_at, sample=sample
    )
    found: dict[str, list[float]] = {}
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join([one] * len(some)), some)
            for name, seconds in cursor.fetchall():
                if seconds is not None:
                    found.setdefault(name, []).append(max(0.0, float(seconds)))
    return found


def running_by_name(jobs: JobQuerySet) -> dict[str, list[Job]]:
    """The running jobs, the newest first; at most ``RUNNING``."""
    found: dict[str, list[Job]] = {}
    for job in jobs.few(Q(status=JobStatus.RUNNING)).newest_first()[:RUNNING]:
        found.setdefault(job.name, []).append(job)
    return found


def next_starts(jobs: JobQuerySet) -> dict[str, dt.datetime]:
    """When the next scheduled job of each type starts; attempts that follow a failure do not count."""
    found: dict[str, dt.datetime] = {}
    soonest = (
        jobs.few(Q(status=JobStatus.SCHEDULED)).order_by("run_after", "id").values_list("name", "run_after", "attempt")
    )
    for name, moment, attempt in soonest[:SCHEDULED]:
        if not attempt:
            found.setdefault(name, moment)
    return found


def last_of_user(jobs: JobQuerySet, user: Any) -> dict[str, int]:
    """The number of the newest job of *user* for each type, the type used last first."""
    found: dict[str, int] = {}
    for name, pk in jobs.of_user(user).newest_first().values_list("name", "pk")[:OWN]:
        found.setdefault(name, pk)
    return found
