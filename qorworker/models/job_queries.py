"""Every query of jobs and every change of their rows, by name. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import models, transaction
from django.db.models import F, Q

from qorworker.models import bulk_verbs, leases, rewriting, unique
from qorworker.models.alters import queryset_verb
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.newest import newest_of
from qorworker.models.own import OwnQuerySet
from qorworker.models.schedule_slot import ScheduleSlot, SlotOutcome
from qorworker.models.sql import BATCH, Position, insert_jobs, portions, weight
from qorworker.status import ENDED_BADLY, FINISHED, WAITING, JobStatus, sources_of

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.models.job import Job
    from qorworker.models.pause import Paused

SOON = 100  # scheduled jobs among which ``promote`` looks for the next one that is due
RECENT = 100  # jobs of a schedule among which ``unfinished_of`` looks


class Promotion(NamedTuple):
    """What ``promote`` did."""

    promoted: int  # how many jobs were queued
    wait: float | None  # seconds until the next one is due; None: more than it looked ahead
    jobs: Sequence[Position]  # those that were due, also if another process was faster


class JobQuerySet(OwnQuerySet["Job"]):
    # Filters that projects use, too.

    def waiting(self) -> JobQuerySet:
        """Return jobs that have not started: queued, scheduled, or waiting for another attempt."""
        return self.filter(status__in=WAITING)

    def queued(self) -> JobQuerySet:
        """Return jobs that wait for a free worker."""
        return self.filter(status=JobStatus.NEW)

    def scheduled(self) -> JobQuerySet:
        """Return jobs that wait for their time."""
        return self.filter(status=JobStatus.SCHEDULED)

    def will_retry(self) -> JobQuerySet:
        """Return jobs that failed and wait for their next attempt."""
        return self.scheduled().filter(attempt__gt=0)

    def running(self) -> JobQuerySet:
        return self.filter(status=JobStatus.RUNNING)

    def done(self) -> JobQuerySet:
        return self.filter(status=JobStatus.DONE)

    def failed(self) -> JobQuerySet:
        return self.filter(status=JobStatus.EXCEPTION)

    def aborted(self) -> JobQuerySet:
        return self.filter(status=JobStatus.KILLED)

    def cancelled(self) -> JobQuerySet:
        return self.filter(status=JobStatus.CANCELLED)

    def finished(self) -> JobQuerySet:
        """Return jobs that have ended, in whatever way."""
        return self.filter(status__in=FINISHED)

    def ended_badly(self) -> JobQuerySet:
        """Return jobs that can be retried: failed or aborted."""
        return self.filter(status__in=ENDED_BADLY)

    def not_responding(self) -> JobQuerySet:
        """Return running jobs whose worker has let the lease expire."""
        return self.running().filter(lease_expires_at__lt=DatabaseNow())

    def for_type(self, job_type: JobType[Any] | str) -> JobQuerySet:
        """Return jobs of one type, which is a ``JobType`` or its name."""
        return self.filter(name=getattr(job_type, "name", job_type))

    def for_types(self, names: Iterable[str]) -> JobQuerySet:
        return self.filter(name__in=list(names))

    def on_queue(self, *names: str) -> JobQuerySet:
        """Return jobs of these queues."""
        return self.filter(queue_name__in=names) if len(names) != 1 else self.filter(queue_name=names[0])

    def in_line(self) -> JobQuerySet:
        """Order jobs as they start in a queue: by priority, then by age."""
        return self.order_by("-priority", "id")

    def enqueued_between(self, start: dt.datetime | None = None, end: dt.datetime | None = None) -> JobQuerySet:
        """Return jobs created from *start* on and before *end*; None: without that limit."""
        return self._between("enqueued_at", start, end)

    def finished_between(self, start: dt.datetime | None = None, end: dt.datetime | None = None) -> JobQuerySet:
        """Return jobs that ended from *start* on and before *end*; None: without that limit."""
        return self._between("finished_at", start, end).exclude(finished_at=None)

    def _between(self, field: str, start: dt.datetime | None, end: dt.datetime | None) -> JobQuerySet:
        limits = {f"{field}__gte": start, f"{field}__lt": end}
        return self.filter(**{name: moment for name, moment in limits.items() if moment is not None})

    def of_user(self, user: Any) -> JobQuerySet:
        """Return jobs that a user has started."""
        return self.filter(created_by=user)

    def unfinished_up_to(self, limit: int) -> int:
        """Return how many of them have not ended, but count no more than *limit*."""
        return self.filter(status__in=[*WAITING, JobStatus.RUNNING]).order_by()[:limit].count()

    def of_worker(self, worker_id: int) -> JobQuerySet:
        """Return running jobs that belong to a worker."""
        return self.running().filter(worker_id=worker_id)

    def holding(self, limit_key: str) -> JobQuerySet:
        """Return running jobs that share their limits by this stored key, the earliest first."""
        return self.running().limited().filter(limit_key=limit_key).order_by("last_attempted_at")

    def unfiltered(self) -> JobQuerySet:
        """Return all jobs of the same database."""
        return JobQuerySet(self.model, using=self.db)

    def few(self, rule: models.Q) -> JobQuerySet:
        """Return jobs that match *rule*, which only few jobs do and for which an index exists: waiting, or running.

        SQLite mostly has no statistics. It would read all jobs of a type, or of a user, to find these.
        """
        if transaction.get_connection(self.db).vendor != "sqlite" or not self.query.where:
            return self.filter(rule)
        return self.filter(pk__in=self.unfiltered().filter(rule).values("pk"))

    def without_return_value(self) -> JobQuerySet:
        """Load only whether a job has a return value, instead of the value, which may be large."""
        kept = models.ExpressionWrapper(Q(return_value__isnull=False), models.BooleanField())
        return self.defer("return_value").annotate(kept_result=kept)  # type: ignore[no-any-return, unused-ignore]

    def unfinished_of(self, schedule_id: int) -> list[Job]:
        """Return those of the newest jobs of a schedule that have not ended, the oldest first."""
        newest = self.newest_of(schedule_id).defer("arguments", "meta", "error")[:RECENT]
        return [job for job in list(newest)[::-1] if not job.is_finished]

    def overdue_of(self, schedule_id: int, seconds: float) -> JobQuerySet:
        """Return jobs that a schedule made by itself and that have not started *seconds* after their time."""
        waiting = self.few(Q(status__in=WAITING)).filter(schedule_id=schedule_id, attempt=0)
        by_itself = models.Exists(ScheduleSlot.objects.filter(job=models.OuterRef("pk"), outcome=SlotOutcome.FIRED))
        return waiting.filter(by_itself, run_after__lt=DatabaseNow(-seconds))

    def newest_of(self, schedule_id: int) -> JobQuerySet:
        """Return the jobs of a schedule, the newest first."""
        return newest_of(self, schedule_id)

    def newest_first(self) -> JobQuerySet:
        return self.order_by("-id")

    # How jobs are stored.

    def enqueue_rows(
        self,
        jobs: Sequence[Job],
        *,
        when: dt.datetime | dt.timedelta | None = None,
        user: Any = None,
        origin: str = Origin.CODE,
    ) -> list[Job]:
        """Store new jobs: all of them or none.

        :param when: a datetime, a timedelta from now, or None for now.
        :param user: the user who enqueues them; each job then gets an audit entry.
        :param origin: where the request comes from, for the audit.
        """
        with transaction.atomic(using=self.db, savepoint=False) if user or len(jobs) > BATCH else nullcontext():
            if transaction.get_connection(self.db).features.can_return_rows_from_bulk_insert:
                insert_jobs(self.db, jobs, when)
            else:
                self._save_each(jobs, when)
            for job in jobs if user is not None else ():
                AuditEntry.objects.using(self.db).record("enqueue", job=job, user=user, origin=origin)
        return list(jobs)

    enqueue_unique = unique.enqueue_unique

    def _save_each(self, jobs: Sequence[Job], when: dt.datetime | dt.timedelta | None) -> None:
        """Store each job by itself, for MySQL, which does not return the ids of many rows."""
        now = database_now(self.db)
        with transaction.atomic(using=self.db, savepoint=False):
            for job in jobs:
                job.enqueued_at, job.run_after = now, now + when if isinstance(when, dt.timedelta) else when or now
                job.status = JobStatus.SCHEDULED if job.run_after > now else JobStatus.NEW
                job.save(using=self.db, force_insert=True)

    holders = unique.holders
    in_the_way = unique.in_the_way
    beside = unique.beside
    rewrite = rewriting.rewrite
    erase_secrets = rewriting.erase_secrets

    # The verbs of a job, for all rows of the query.

    retry = bulk_verbs.retry
    cancel = bulk_verbs.cancel
    run_now = bulk_verbs.run_now
    abort = bulk_verbs.abort
    rerun = bulk_verbs.rerun
    delete = bulk_verbs.delete

    @queryset_verb
    def erase(self) -> tuple[int, dict[str, int]]:
        """Delete as Django does, without an audit entry: the caller writes it."""
        return super().delete()

    # How a job moves. ``transition`` and ``models.sql.exchange`` are the only writers of a status.

    def transition(self, to: str, **changes: Any) -> int:
        """Move the jobs whose status allows it to *to*, and return how many were moved.

        A job moves into and out of ``running`` only together with its owner.

        :param to: the new status.
        :param changes: values of other columns.
        :raises ValueError: if the job would be running without an ``attempt_token``, or keep it without running.
        """
        sources = sources_of(to)
        if "attempt_token" not in changes:
            sources -= {JobStatus.RUNNING}
        if not sources or (to == JobStatus.RUNNING and not changes.get("attempt_token")):
            raise ValueError(f"A job cannot become {to!s} without a change of its attempt_token.")
        if to in FINISHED:
            changes["unique_place"] = unique.given_back()
        return self.filter(status__in=sorted(sources)).update(status=to, **changes)

    def schedule(self, when: dt.datetime) -> int:
        """Let the waiting jobs wait until *when*, and return how many. One statement, so no claim comes between."""
        return self.waiting().update(status=JobStatus.SCHEDULED, run_after=when)

    def queue_again(self) -> int:
        """Queue those that ended badly for one more attempt, and return how many. Earlier attempts stay on record."""
        return self.ended_badly().transition(
            JobStatus.NEW,
            run_after=DatabaseNow(),
            finished_at=None,
            abort_requested_at=None,
            error="",
            return_value=None,
            progress=None,
            progress_text="",
            crashes=0,
            unique_place=unique.taken(),
        )

    def due(self) -> JobQuerySet:
        """Return scheduled jobs whose time has come."""
        return self.scheduled().filter(run_after__lte=DatabaseNow())

    def promote_due(self, limit: int = 2000) -> int:
        """Queue up to *limit* due jobs and return how many. Rows locked by other transactions are skipped."""
        return self._promote_due(limit)[0]

    def _promote_due(self, limit: int = 2000) -> tuple[int, list[Position]]:
        rows = self.due().order_by("run_after").values_list("queue_name", "priority", "pk")[:limit]
        due = [Position(*row) for row in rows]
        if not due:
            return 0, []
        with transaction.atomic(using=self.db):
            return self.filter(pk__in=[job.id for job in due]).due().unlocked().transition(JobStatus.NEW), due

    def promote(self, ahead: float) -> Promotion:
        """Queue the jobs that are due, and say when the next one is. One statement if none is due.

        :param ahead: how many seconds to look ahead.
        """
        soon = self.scheduled().filter(run_after__lte=DatabaseNow(ahead)).annotate(now=DatabaseNow())
        times = soon.order_by("run_after").values_list("run_after", "now")[:SOON]
        waits = [(run_after - now).total_seconds() for run_after, now in times]
        later = [seconds for seconds in waits if seconds > 0]
        promoted, due = self._promote_due() if len(later) < len(waits) else (0, [])
        return Promotion(promoted, later[0] if later else 0.0 if len(waits) == SOON else None, due)

    def lock(self) -> None:
        """Lock these rows by primary key before an UPDATE that also names the status.

        MariaDB might find them by an index of the status, and would deadlock with transactions that use the key.
        """
        if transaction.get_connection(self.db).vendor == "mysql":
            list(self.select_for_update().values_list("pk"))

    def startable(self, queues: Iterable[str]) -> JobQuerySet:
        """Return jobs of these queues that could start now: queued, or due but not promoted yet."""
        ready = Q(status=JobStatus.NEW) | Q(status=JobStatus.SCHEDULED, run_after__lte=DatabaseNow())
        return self.filter(ready, queue_name__in=list(queues))

    def startable_until(self, moment: dt.datetime, *, retries: bool = False) -> JobQuerySet:
        """Return jobs that could start at *moment*; with *retries* also those that wait for another attempt."""
        ready = Q(status=JobStatus.NEW) | Q(status=JobStatus.SCHEDULED, run_after__lte=moment)
        return self.filter(ready | Q(status=JobStatus.SCHEDULED, attempt__gt=0) if retries else ready)

    def not_paused(self, paused: Paused) -> JobQuerySet:
        """Return jobs of which neither the queue nor the type is paused."""
        return self.exclude(queue_name__in=paused.queues).exclude(name__in=paused.names)

    def forget_handed_over(self, pk: int) -> int:
        """Let the backend of a queued job be notified again: it was notified, but could not start the job."""
        return self.queued().filter(pk=pk).update(handed_over_at=None)

    def to_hand_over(self, queue_name: str, patience: float) -> JobQuerySet:
        """Return queued jobs whose backend was not notified since they are due, or not for *patience* seconds."""
        not_notified = Q(handed_over_at=None) | Q(handed_over_at__lt=F("run_after"))
        late = Q(handed_over_at__lt=DatabaseNow(-patience))
        return self.queued().filter(not_notified | late, queue_name=queue_name).in_line()

    def unlimited(self) -> JobQuerySet:
        """Return jobs of types without limits."""
        return self.filter(limit_key="")

    def limited(self) -> JobQuerySet:
        """Return jobs of types with limits."""
        return self.filter(limit_key__gt="")

    def left_behind(self, queues: Iterable[str], seconds: float) -> JobQuerySet:
        """Return jobs of these queues that were due *seconds* ago and still wait: the process to run them is gone."""
        late = Q(run_after__lt=DatabaseNow(-seconds))
        return self.queued().filter(late, queue_name__in=list(queues)).order_by("id")

    def note_handed_over(self, *ids: int) -> int:
        """Record that the backend was notified of jobs. Rows that another transaction has locked are skipped."""
        with transaction.atomic(using=self.db):
            return self.filter(pk__in=ids).unlocked().update(handed_over_at=DatabaseNow())

    def set_limit_key(self, pk: int, limit_key: str) -> int:
        """Let a job share its limits by this stored key from now on."""
        return self.filter(pk=pk).update(limit_key=limit_key)

    def keep_return_values(self, texts: dict[int, str]) -> None:
        """Store return values by job id, as JSON."""
        values = [self.model(pk=pk, return_value=text) for pk, text in texts.items()]
        for some in portions(transaction.get_connection(self.db), values, lambda job: 64 + weight([job.return_value])):
            self.bulk_update(some, ["return_value"])

    held = leases.held
    unlocked = leases.unlocked
    renew = leases.renew
    abort_requests = leases.abort_requests
    end_in_transaction = leases.end_in_transaction
    ended_as = leases.ended_as
    seize = leases.seize
    expired_leases = leases.expired_leases
