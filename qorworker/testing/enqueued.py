"""Looks at what has been enqueued, and fails in words if it is not what a test expects. Test processes only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from django.core.exceptions import ValidationError
from django.db import router

from qorworker.arguments.values import python_value
from qorworker.exceptions import InvalidArguments
from qorworker.models import Job, JobQuerySet
from qorworker.registry import JobType

SHOWN = 20  # jobs named in a message
CLOSE = dt.timedelta(seconds=1)  # a time that is told as "so long from now" is met within


@contextmanager
def capture_jobs() -> Iterator[list[Job]]:
    """A list that, at the end of the block, has the jobs that were enqueued in it, in order.

    Jobs whose transaction was rolled back are not among them; a ``TestCase``, which never commits, is no hindrance.
    """
    last = _jobs().newest_first().values_list("pk", flat=True).first() or 0
    captured: list[Job] = []
    try:
        yield captured
    finally:
        captured += _jobs().filter(pk__gt=last).order_by("pk")


def assert_enqueued(
    job_type: JobType[Any],
    arguments: Mapping[str, Any] | None = None,
    *,
    run_after: dt.datetime | dt.timedelta | None = None,
    queue_name: str | None = None,
    priority: int | None = None,
    count: int | None = None,
) -> list[Job]:
    """The jobs of this type that fit, oldest first, whatever has become of them; ``AssertionError`` if there is none.

    *arguments*: those that matter, with their values as ``enqueue`` takes them. *run_after*: the time they wait for, or
    how long after they were enqueued. *count*: how many it must be.
    """
    wanted = Wanted(job_type, arguments, run_after, queue_name, priority)
    found = wanted.found()
    if (found and count is None) or len(found) == count:
        return found
    number = f"{len(found)} and not {count} jobs of {wanted} were" if found else f"No job of {wanted} was"
    raise AssertionError(f"{number} enqueued.{_all()}")


def refute_enqueued(
    job_type: JobType[Any],
    arguments: Mapping[str, Any] | None = None,
    *,
    run_after: dt.datetime | dt.timedelta | None = None,
    queue_name: str | None = None,
    priority: int | None = None,
) -> None:
    """Raise ``AssertionError`` if a job of this type that fits was enqueued, as ``assert_enqueued`` would find it."""
    wanted = Wanted(job_type, arguments, run_after, queue_name, priority)
    if found := wanted.found():
        raise AssertionError(f"No job of {wanted} should have been enqueued.{_listed(found)}")


@dataclass(frozen=True)
class Wanted:
    """What a job must be to fit."""

    job_type: JobType[Any]
    arguments: Mapping[str, Any] | None
    run_after: dt.datetime | dt.timedelta | None
    queue_name: str | None
    priority: int | None

    def found(self) -> list[Job]:
        """The jobs that fit, oldest first."""
        if unknown := set(self.arguments or {}) - set(self.job_type.arguments.fields):
            raise ValueError(f"{self.job_type.name} has no argument {', '.join(sorted(unknown))}.")
        return [job for job in _jobs().for_type(self.job_type).order_by("pk") if self._fits(job)]

    def _fits(self, job: Job) -> bool:
        fits = self.queue_name in (None, job.queue_name) and self.priority in (None, job.priority)
        return fits and self._is_due(job) and self._has_arguments(job)

    def _is_due(self, job: Job) -> bool:
        if isinstance(self.run_after, dt.timedelta):
            return abs(job.run_after - job.enqueued_at - self.run_after) < CLOSE
        return self.run_after is None or job.run_after == self.run_after

    def _has_arguments(self, job: Job) -> bool:
        wanted = self.arguments or {}
        try:
            found = self.job_type.arguments.load(job.arguments) if wanted else {}
        except InvalidArguments:  # the type has changed since
            return False
        known = self.job_type.arguments.fields
        return all(found.get(name) in (value, _cleaned(known[name], value)) for name, value in wanted.items())

    def __str__(self) -> str:
        told = [
            f"{field.name}={value!r}" for field in fields(self)[1:] if (value := getattr(self, field.name)) is not None
        ]
        return f"{self.job_type.name} with {', '.join(told)}" if told else str(self.job_type.name)


def _jobs() -> JobQuerySet:
    return Job.objects.using(router.db_for_write(Job))


def _cleaned(field: Any, value: Any) -> Any:
    """As ``enqueue`` would take it."""
    try:
        return field.clean(python_value(field, value))
    except ValidationError:
        return value


def _all() -> str:
    return _listed(list(_jobs().order_by("pk")))


def _listed(jobs: list[Job]) -> str:
    if not jobs:
        return " There are no jobs at all."
    lines = [_line(job) for job in jobs[-SHOWN:]]
    more = [f"  and {len(jobs) - SHOWN} before these"] if len(jobs) > SHOWN else []
    return "\n".join([" There are:", *more, *lines])


def _line(job: Job) -> str:
    arguments = job.job_type.arguments.summary(job.arguments, 200) if job.job_type else ""
    later = f", for {job.run_after.isoformat(sep=' ', timespec='seconds')}" if job.run_after > job.enqueued_at else ""
    priority = f", priority {job.priority}" if job.priority else ""
    return f"  #{job.pk} {job.name}({arguments}) is {job.status} in queue {job.queue_name}{priority}{later}"
