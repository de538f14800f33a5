"""The queries of the catalogue: one statement for each figure, for any number of job types. Web.

On MySQL the newest job of each type takes a statement of its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from statistics import median
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Q

from qorworker.models.attempt import Attempt
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.newest import newest_sql
from qorworker.models.promoting import WAITS_FOR_TIME
from qorworker.status import JobStatus

NAMES = 999  # names at most: what MySQL's default depth of a recursion allows
SAMPLE, LOOKED_AT = 20, 60  # successful runs that a median needs, among so many of the last runs
AT_ONCE = 250  # parts of one UNION; SQLite takes 500
RUNNING = 500  # running jobs on the page
SCHEDULED = 2_000  # scheduled jobs among which the next of each type is looked for
OWN = 500  # jobs of one user among which the last of each type is looked for

SECONDS = {
    "postgresql": "EXTRACT(EPOCH FROM finished_at - last_attempted_at)",
    "sqlite": "(julianday(finished_at) - julianday(last_attempted_at)) * 86400",
    "mysql": "TIMESTAMPDIFF(MICROSECOND, last_attempted_at, finished_at) / 1000000",
}
# From each name straight to the next, by the index: DISTINCT would read a million entries to find ten names.
NEWEST = """
    WITH RECURSIVE names (name, step) AS (
        SELECT MIN(name), 1 FROM {table}
        UNION ALL
        SELECT (SELECT MIN({table}.name) FROM {table} WHERE {table}.name > names.name), names.step + 1
        FROM names WHERE names.name IS NOT NULL AND names.step < %s
    )
    SELECT (SELECT MAX({table}.id) FROM {table} WHERE {table}.name = names.name) FROM names WHERE name IS NOT NULL
"""
# If the bound comes from another row, MySQL reads an index from its beginning: 12 s for a million jobs of 100 names.
# Behind a name that is given it finds the next one at once.
NEWEST_OF_NEXT = """
    SELECT name, id FROM {table} WHERE name = (SELECT MIN(name) FROM {table} WHERE name > %s) ORDER BY id DESC LIMIT 1
"""
LAST_SUCCESSES = """
    SELECT name, seconds{memory} FROM (
        SELECT id, name, {seconds} AS seconds FROM (
            SELECT id, name, status, last_attempted_at, finished_at, is_dry_run FROM {table}
            WHERE {own} LIMIT {looked_at}
        ) AS latest WHERE status = 'done' AND is_dry_run = FALSE ORDER BY id DESC LIMIT {sample}
    ) AS successes
"""


PEAK = ", (SELECT MAX(peak_memory) FROM {attempts} WHERE job_id = successes.id)"


class Usual(NamedTuple):
    """What is usual for the last successful runs of a type: medians."""

    duration: dt.timedelta | None = None
    memory: int | None = None  # bytes at most


def newest_of_each_name(jobs: JobQuerySet) -> dict[str, Job]:
    """Return the newest job of every type that has jobs, by name. The types may have left the code."""
    connection = connections[jobs.db]
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            return by_name(jobs, _newest_one_by_one(cursor))
        cursor.execute(NEWEST.format(table=Job._meta.db_table), [NAMES])
        return by_name(jobs, [pk for (pk,) in cursor.fetchall()])


def _newest_one_by_one(cursor: Any) -> list[int]:
    newest: list[int] = []
    name = ""
    while len(newest) < NAMES:
        cursor.execute(NEWEST_OF_NEXT.format(table=Job._meta.db_table), [name])
        row = cursor.fetchone()
        if row is None:
            break
        name = row[0]
        newest.append(row[1])
    return newest


def by_name(jobs: JobQuerySet, numbers: Iterable[int]) -> dict[str, Job]:
    """Return those of *jobs* with these *numbers*, by name."""
    return {job.name: job for job in jobs.filter(pk__in=list(numbers))}


def usual_durations(jobs: JobQuerySet, names: Iterable[str], creator: Any = None) -> dict[str, dt.timedelta]:
    """Return the median duration of the last successful runs of each type. Types without such a run are missing.

    :param creator: count only runs that this user started, among the user's newest jobs.
    """
    if creator is None:
        durations = last_durations(jobs, names, sample=SAMPLE, looked_at=LOOKED_AT)
    else:
        durations = _durations_of_user(jobs.of_user(creator), set(names))
    return {name: dt.timedelta(seconds=median(seconds)) for name, seconds in durations.items()}


def usual(jobs: JobQuerySet, name: str, creator: Any = None) -> Usual:
    """Return what is usual for a type, by the same runs as ``usual_durations``. By *creator* only the duration."""
    if creator is not None:
        return Usual(usual_durations(jobs, [name], creator).get(name))
    runs = _last_successes(jobs, [name], SAMPLE, LOOKED_AT, memory=True)
    seconds = [max(0.0, float(run[1])) for run in runs if run[1] is not None]
    peaks = [int(run[2]) for run in runs if run[2]]
    duration = dt.timedelta(seconds=median(seconds)) if seconds else None
    return Usual(duration, int(median(peaks)) if peaks else None)


def _durations_of_user(jobs: JobQuerySet, names: Collection[str]) -> dict[str, list[float]]:
    newest = (
        jobs.filter(is_dry_run__in=[False])
        .newest_first()
        .values_list("name", "status", "last_attempted_at", "finished_at")
    )
    durations: dict[str, list[float]] = {}
    for name, status, begun, ended in newest[:OWN] if names else ():
        if name in names and status == JobStatus.DONE and begun and ended and len(durations.get(name, ())) < SAMPLE:
            durations.setdefault(name, []).append(max(0.0, (ended - begun).total_seconds()))
    return durations


def last_durations(jobs: JobQuerySet, names: Iterable[str], *, sample: int, looked_at: int) -> dict[str, list[float]]:
    """Return the seconds that the last successful runs of each type took, at most *sample* among *looked_at* runs."""
    durations: dict[str, list[float]] = {}
    for name, seconds in _last_successes(jobs, list(names), sample, looked_at):
        if seconds is not None:
            durations.setdefault(name, []).append(max(0.0, float(seconds)))
    return durations


def _last_successes(
    jobs: JobQuerySet, names: list[str], sample: int, looked_at: int, *, memory: bool = False
) -> list[tuple[Any, ...]]:
    """Return name and seconds of the last successful runs of each type, with *memory* also the bytes at most."""
    connection = connections[jobs.db]
    one = LAST_SUCCESSES.format(
        table=Job._meta.db_table,
        seconds=SECONDS[connection.vendor],
        own=newest_sql(connection.vendor, "name"),
        looked_at=looked_at,
        sample=sample,
        memory=PEAK.format(attempts=Attempt._meta.db_table) if memory else "",
    )
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        with connection.cursor() as cursor:
            cursor.execute(
                " UNION ALL ".join([one] * len(some)), [name for name in some for _ in range(one.count("%s"))]
            )
            rows += cursor.fetchall()
    return rows


def running_by_name(jobs: JobQuerySet) -> dict[str, list[Job]]:
    """Return the running jobs by name, the newest first; at most ``RUNNING``."""
    by_name: dict[str, list[Job]] = {}
    for job in jobs.few(Q(status=JobStatus.RUNNING)).newest_first()[:RUNNING]:
        by_name.setdefault(job.name, []).append(job)
    return by_name


def next_starts(jobs: JobQuerySet) -> dict[str, dt.datetime]:
    """Return when the next scheduled job of each type starts. Attempts that follow a failure do not count."""
    starts: dict[str, dt.datetime] = {}
    soonest = (
        jobs.few(WAITS_FOR_TIME).not_asking().order_by("run_after", "id").values_list("name", "run_after", "attempt")
    )
    for name, moment, attempt in soonest[:SCHEDULED]:
        if not attempt:
            starts.setdefault(name, moment)
    return starts


def last_of_user(jobs: JobQuerySet, user: Any) -> dict[str, int]:
    """Return the id of the newest job of *user* for each type, the type that was used last first."""
    newest: dict[str, int] = {}
    for name, pk in jobs.of_user(user).newest_first().values_list("name", "pk")[:OWN]:
        newest.setdefault(name, pk)
    return newest
