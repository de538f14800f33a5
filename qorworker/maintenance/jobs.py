"""Deletes old jobs by the rules of the project; declares the job that does so daily. All processes."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator

from django.core.files.storage import storages
from django.db import router
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from qorworker.actions import pruning
from qorworker.conf import settings
from qorworker.definitions import retention
from qorworker.definitions.registry import job, registry
from qorworker.execution.context import JobContext
from qorworker.models import Job, JobQuerySet, Origin
from qorworker.queues import backend_of
from qorworker.schedules.cron import Cron
from qorworker.status import JobStatus

NAME = "qorworker.delete_old_jobs"  # of the job type, and of its schedule


def delete_old_jobs(context: JobContext) -> None:
    """Deletes jobs that ended long enough ago, with their logs, results, files and uploads.

    How long each is kept is said by keep_for of its job type, else by the setting KEEP_FOR. What was deleted stays
    in the audit.
    """
    using, number = router.db_for_write(Job), 0
    counts: Counter[str] = Counter()
    for number, over in enumerate(jobs_that_are_over(Job.objects.using(using), origin=Origin.WORKER), 1):
        counts[over.status] += 1
        if number % pruning.AT_ONCE == 0:
            context.set_progress_text(_progress_text(number))
            context.check_abort()
    context.add_log(summary(counts))
    for count, what in prune_rest(using):
        context.add_log(f"{count} {what} deleted")
    context.set_progress_text(_progress_text(number))


def _progress_text(number: int) -> str:
    return ngettext("%d job was deleted", "%d jobs were deleted", number) % number


def declare() -> None:
    """Declare the job type and its schedule, if the settings name a time and a queue can hold it."""
    queue = queue_that_waits()
    if settings.PRUNE_AT is not None and queue is not None:
        job(
            name=NAME,
            title=_("Delete old jobs"),
            group=_("Maintenance"),
            queue_name=queue,
            permission="qorworker.delete_job",
            max_attempts=3,
            schedule=Cron(settings.PRUNE_AT),
            keep_for=dt.timedelta(days=7),
        )(delete_old_jobs)


def queue_that_waits() -> str | None:
    """Return a queue whose jobs do not run where they are enqueued, "default" if it is one; None if there is none."""
    queues = sorted(settings.QUEUES, key=lambda name: name != "default")
    return next((name for name in queues if not backend_of(name).runs_in_caller), None)


def jobs_that_are_over(
    jobs: JobQuerySet, age: dt.timedelta | None = None, *, dry_run: bool = False, origin: str
) -> Iterator[Job]:
    """Delete those of *jobs* whose time is over, or that ended longer ago than *age*. Yield each."""
    if age is not None:
        return pruning.prune(jobs, lambda job: age, age, dry_run=dry_run, origin=origin)
    shortest = retention.shortest(registry.with_hidden())
    if shortest is None:
        return iter(())
    rule = lambda job: retention.keep_for(job.job_type, job.status)  # noqa: E731
    return pruning.prune(jobs, rule, shortest, dry_run=dry_run, origin=origin)


def prune_rest(using: str, *, dry_run: bool = False) -> Iterator[tuple[int, str]]:
    """Delete other outdated rows and uploads. Yield how many of what, where there were any."""
    workers = pruning.prune_workers(using, dry_run=dry_run)
    slots = pruning.prune_slots(using, dry_run=dry_run)
    batches = pruning.prune_batches(using, dry_run=dry_run)
    limits = pruning.prune_limits(using, dry_run=dry_run)
    messages = pruning.prune_messages(using, dry_run=dry_run)
    storage = storages[settings.UPLOAD_STORAGE]
    strays = list(pruning.stray_uploads(storage))
    for key in strays if not dry_run else ():
        storage.delete(key)
    rest = (
        (workers, "workers that are gone"),
        (slots, "old times of schedules"),
        (batches, "batches whose jobs are gone"),
        (limits, "rows of limits that count no more"),
        (messages, "messages that are about no job"),
        (len(strays), "uploads that belong to no job"),
    )
    return ((count, what) for count, what in rest if count)


def summary(counts: Counter[str], would: str = "deleted") -> str:
    """Return how many jobs of each status were deleted, in words."""
    parts = [f"{count} {JobStatus(status).label.lower()}" for status, count in sorted(counts.items())]
    return f"{counts.total()} jobs {would}{': ' + ', '.join(parts) if parts else ''}."
