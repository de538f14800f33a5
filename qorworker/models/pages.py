"""What the pages of the admin ask of the rows: each page's questions, bounded in rows whatever the tables hold. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from django.db import connections, router, transaction
from django.db.models import Count, F, Min, Q, QuerySet

from qorworker.arguments import files
from qorworker.models.audit import AuditEntry
from qorworker.models.clock import DatabaseNow
from qorworker.models.job import Job, JobQuerySet
from qorworker.models.story import Attempt, LogLine, ResultsRow
from qorworker.models.worker import Worker
from qorworker.status import JobStatus

CAP = 10_000  # above this a number is not counted on, and a list not paged further
LOG_LINES = 1_000  # log lines on a page
NAMES_AT_ONCE = 500  # subqueries in one statement

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
}
COSTLY = frozenset({"aborted", "cancelled"})  # rare, and no index leads to them


def for_list(jobs: JobQuerySet) -> JobQuerySet:
    """With what a row of the list shows beside the job itself."""
    return jobs.select_related("created_by")


def in_tab(jobs: JobQuerySet, tab: str) -> JobQuerySet:
    return jobs.filter(TABS[tab])


def capped_count(rows: QuerySet[Any]) -> int:
    """How many, but never looking at more than ``CAP + 1`` rows."""
    return rows.order_by()[: CAP + 1].count()


def tab_counts(jobs: JobQuerySet) -> dict[str, int]:
    """How many jobs each tab has, up to ``CAP + 1``. A tab whose count would be costly is left out."""
    total = capped_count(jobs)
    if total <= CAP:
        return jobs.order_by().aggregate(**{tab: Count("pk", filter=rule) for tab, rule in TABS.items() if rule}) | {
            "all": total
        }
    return {tab: capped_count(in_tab(jobs, tab)) for tab in TABS if tab not in COSTLY and tab != "all"} | {"all": total}


def search(jobs: JobQuerySet, number: int | None, names: Iterable[str]) -> JobQuerySet:
    """Jobs with this number or of one of these types."""
    rule = Q(name__in=list(names))
    return jobs.filter(rule if number is None else rule | Q(pk=number))


def by_start(jobs: JobQuerySet) -> JobQuerySet:
    """The next to start first."""
    return jobs.order_by("run_after", "id")


def last_of_types(jobs: JobQuerySet, names: Iterable[str]) -> dict[str, Job]:
    """The newest job of each of these types, in two statements however many there are."""
    names = list(names)
    connection = connections[jobs.db]
    quoted = connection.ops.quote_name
    one = f"(SELECT MAX({quoted('id')}) FROM {quoted(Job._meta.db_table)} WHERE {quoted('name')} = %s)"  # noqa: S608
    newest: list[int] = []
    for start in range(0, len(names), NAMES_AT_ONCE):
        some = names[start : start + NAMES_AT_ONCE]
        with connection.cursor() as cursor:
            cursor.execute("SELECT " + ", ".join([one] * len(some)), some)
            newest += [pk for pk in cursor.fetchone() if pk is not None]
    return {job.name: job for job in jobs.filter(pk__in=newest)}


def one_job(jobs: JobQuerySet, pk: int) -> Job | None:
    """The job with all that its page's header shows."""
    return jobs.select_related("created_by", "worker").filter(pk=pk).first()


def delete_ended(job: Job) -> bool:
    """Delete a job with its story and its uploads; False if it has not ended, or was taken up again meanwhile."""
    using = router.db_for_write(Job, instance=job)
    mine = Job.objects.using(using).filter(pk=job.pk)
    with transaction.atomic(using=using):
        if not list(mine.finished().select_for_update().values_list("pk")):
            return False
        mine.delete()
        known = job.job_type.arguments.definition.fields if job.job_type is not None else {}
        transaction.on_commit(partial(files.discard, job.arguments, known), using=using, robust=True)
    return True


def newest_id(jobs: JobQuerySet) -> int:
    return jobs.newest_first().values_list("pk", flat=True).first() or 0


def started_with(token: str, user: Any, after: int) -> Job | None:
    """The job that *user* started with this one-time token since job number *after*."""
    return Job.objects.of_user(user).filter(pk__gt=after, meta__form_token=token).first()


def remember_token(job: Job, token: str) -> None:
    job.meta = {**job.meta, "form_token": token}
    Job.objects.using(job._state.db).filter(pk=job.pk).update(meta=job.meta)


def reruns(job: Job) -> list[int]:
    """The numbers of the jobs that repeat this one, the newest 20."""
    return list(Job.objects.filter(rerun_of=job.pk).newest_first().values_list("pk", flat=True)[:20])


def attempts(job: Job) -> list[Attempt]:
    """The attempts that have ended, the newest first, at most 100."""
    return list(Attempt.objects.filter(job=job.pk).order_by("-number", "-id")[:100])


def history(job: Job) -> list[AuditEntry]:
    """What people and code did with the job, oldest first; of a very long history the newest 200."""
    return list(reversed(AuditEntry.objects.of_job(job.pk).reverse()[:200]))


def log_tail(job: Job, level: int = 0, before: int | None = None) -> list[LogLine]:
    """The last lines of the log, or those before a line, oldest first."""
    lines = LogLine.objects.filter(job=job.pk)
    if level:
        lines = lines.filter(level__gte=level)
    if before is not None:
        lines = lines.filter(number__lt=before)
    return list(reversed(lines.order_by("-number")[:LOG_LINES]))


def log_after(job: Job, after: int, level: int = 0) -> list[LogLine]:
    """The lines that came after a line; of very many the last ones."""
    lines = LogLine.objects.filter(job=job.pk, number__gt=after)
    if level:
        lines = lines.filter(level__gte=level)
    return list(reversed(lines.order_by("-number")[:LOG_LINES]))


def whole_log(job: Job) -> Iterator[LogLine]:
    return LogLine.objects.filter(job=job.pk).order_by("number").iterator(chunk_size=2_000)


def results(job: Job, errors_only: bool = False) -> QuerySet[Any]:
    """The results of the job's last attempt; ``place`` counts them from 1."""
    rows = ResultsRow.objects.filter(job=job.pk, number__gt=job.results_before)
    rows = rows.annotate(place=F("number") - job.results_before).order_by("number")
    return rows.filter(has_error=True) if errors_only else rows


def lacking(queue: str, name: str) -> str:
    """What a job of type *name* in *queue* would wait for: "worker", "code" if no worker there knows it, or ""."""
    alive = Worker.objects.alive().values_list("queues", "job_types")
    known = [types for queues, types in alive if queue in queues]
    if not known:
        return "worker"
    return "" if any(name in types for types in known) else "code"


def nobody_works(jobs: JobQuerySet) -> tuple[int, dt.datetime | None] | None:
    """None if a worker is alive; else how many of *jobs* wait (up to ``CAP + 1``) and since when the first does."""
    if Worker.objects.alive().exists():
        return None
    waiting = jobs.queued().order_by("id")[: CAP + 1].aggregate(count=Count("pk"), since=Min("run_after"))
    return waiting["count"], waiting["since"]
