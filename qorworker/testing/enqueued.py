"""Assertions about enqueued jobs, with failures in words. Test processes only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from django.core.exceptions import ValidationError
from django.db import router

from qorworker.arguments.values import python_value
from qorworker.definitions.job_type import JobType
from qorworker.exceptions import InvalidArguments
from qorworker.models import Job, JobQuerySet

SHOWN = 20  # jobs named in a message
CLOSE = dt.timedelta(seconds=1)  # a timedelta from the enqueueing matches within


@contextmanager
def capture_jobs() -> Iterator[list[Job]]:
    """Yield a list that has, at the end of the block, the jobs that were enqueued in it, in order.

    Jobs whose transaction was rolled back are not among them. This also works in a ``TestCase``, which never commits.

    Example::

        with capture_jobs() as jobs:
            import_products.enqueue(shop=berlin)
        assert len(jobs) == 1
    """
    last = _jobs().newest_first().values_list("pk", flat=True).first() or 0
    captured: list[Job] = []
    try:
        yield captured
    finally:
        captured += _jobs().filter(pk__gt=last).order_by("pk")


def assert_enqueued(
    job_type: JobType[..., Any],
    arguments: Mapping[str, Any] | None = None,
    *,
    run_after: dt.datetime | dt.timedelta | None = None,
    queue_name: str | None = None,
    priority: int | None = None,
    count: int | None = None,
) -> list[Job]:
    """Return the jobs of this type that match, the oldest first, whatever their status.

    :param arguments: the arguments that matter, with values as ``enqueue`` takes them.
    :param run_after: the time for which they wait, or a timedelta from their enqueueing.
    :param queue_name: their queue.
    :param priority: their priority.
    :param count: how many jobs must match; None: at least one.
    :raises AssertionError: if no job matches, or not *count* of them; the message lists all jobs.

    Example::

        assert_enqueued(import_products, {"shop": berlin}, priority=50)
    """
    expected = Expectation(job_type, arguments, run_after, queue_name, priority)
    matching = expected.matching()
    if (matching and count is None) or len(matching) == count:
        return matching
    number = f"{len(matching)} and not {count} jobs of {expected} were" if matching else f"No job of {expected} was"
    raise AssertionError(f"{number} enqueued.{_all()}")


def refute_enqueued(
    job_type: JobType[..., Any],
    arguments: Mapping[str, Any] | None = None,
    *,
    run_after: dt.datetime | dt.timedelta | None = None,
    queue_name: str | None = None,
    priority: int | None = None,
) -> None:
    """Raise ``AssertionError`` if a job of this type matches. The parameters are those of ``assert_enqueued``."""
    expected = Expectation(job_type, arguments, run_after, queue_name, priority)
    if matching := expected.matching():
        raise AssertionError(f"No job of {expected} should have been enqueued.{_listed(matching)}")


@dataclass(frozen=True)
class Expectation:
    """What a job must have to match."""

    job_type: JobType[..., Any]
    arguments: Mapping[str, Any] | None
    run_after: dt.datetime | dt.timedelta | None
    queue_name: str | None
    priority: int | None

    def matching(self) -> list[Job]:
        """Return the jobs that match, the oldest first."""
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
        expected = self.arguments or {}
        try:
            actual = self.job_type.arguments.load(job.arguments) if expected else {}
        except InvalidArguments:  # the type has changed since
            return False
        form_fields = self.job_type.arguments.fields
        return all(actual.get(name) in (value, _cleaned(form_fields[name], value)) for name, value in expected.items())

    def __str__(self) -> str:
        conditions = [
            f"{field.name}={value!r}" for field in fields(self)[1:] if (value := getattr(self, field.name)) is not None
        ]
        return f"{self.job_type.name} with {', '.join(conditions)}" if conditions else str(self.job_type.name)


def _jobs() -> JobQuerySet:
    return Job.objects.using(router.db_for_write(Job))


def _cleaned(field: Any, value: Any) -> Any:
    """Return *value* as ``enqueue`` would store it."""
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
    arguments = job.job_type.arguments.summary(job.arguments, 200, labels=False) if job.job_type else ""
    later = f", for {job.run_after.isoformat(sep=' ', timespec='seconds')}" if job.run_after > job.enqueued_at else ""
    priority = f", priority {job.priority}" if job.priority else ""
    return f"  #{job.pk} {job.name}({arguments}) is {job.status} in queue {job.queue_name}{priority}{later}"
