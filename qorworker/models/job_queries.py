"""Every question about jobs and every change of their rows, as named queries. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.db import models, router, transaction
from django.db.models import F, Q

from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.newest import newest_of
from qorworker.models.sql import BATCH, insert_jobs
from qorworker.models.unique import UniqueQuerySet, given_back, taken
from qorworker.status import ENDED_BADLY, FINISHED, WAITING, JobStatus, sources_of

if TYPE_CHECKING:
    from qorworker.models.job import Job
    from qorworker.models.pause import Paused
    from qorworker.registry import JobType

RECENT = 100  # jobs of a schedule among which those that have not ended are looked for


class JobQuerySet(UniqueQuerySet):
    # What there is.

    def waiting(self) -> JobQuerySet:
        """Jobs that have not started: queued, scheduled, or waiting for another attempt."""
        return self.filter(status__in=WAITING)

    def queued(self) -> JobQuerySet:
        """Jobs that wait for a free worker."""
        return self.filter(status=JobStatus.NEW)

    def scheduled(self) -> JobQuerySet:
        """Jobs that wait for their time."""
        return self.filter(status=JobStatus.SCHEDULED)

    def will_retry(self) -> JobQuerySet:
        """Jobs that failed and wait for their next attempt."""
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
        """Jobs that have ended, in whatever way."""
        return self.filter(status__in=FINISHED)

    def ended_badly(self) -> JobQuerySet:
        """Jobs that may be retried: failed or aborted."""
        return self.filter(status__in=ENDED_BADLY)

    def not_responding(self) -> JobQuerySet:
        """Running jobs whose worker let the lease pass."""
        return self.running().filter(lease_expires_at__lt=DatabaseNow())

    def for_type(self, job_type: JobType[Any] | str) -> JobQuerySet:
        """Jobs of one type, given as the type or its name."""
        return self.filter(name=getattr(job_type, "name", job_type))

    def for_types(self, names: Iterable[str]) -> JobQuerySet:
        return self.filter(name__in=list(names))

    def on_queue(self, *names: str) -> JobQuerySet:
        """Jobs of these queues."""
        return self.filter(queue_name__in=names) if len(names) != 1 else self.filter(queue_name=names[0])

    def in_line(self) -> JobQuerySet:
        """In the order in which a queue's jobs start."""
        return self.order_by("-priority", "id")

    def enqueued_between(self, start: dt.datetime | None = None, end: dt.datetime | None = None) -> JobQuerySet:
        """Jobs created from *start* on and before *end*; None: without that limit."""
        return self._between("enqueued_at", start, end)

    def finished_between(self, start: dt.datetime | None = None, end: dt.datetime | None = None) -> JobQuerySet:
        """Jobs that ended from *start* on and before *end*; None: without that limit."""
        return self._between("finished_at", start, end).exclude(finished_at=None)

    def _between(self, field: str, start: dt.datetime | None, end: dt.datetime | None) -> JobQuerySet:
        limits = {f"{field}__gte": start, f"{field}__lt": end}
        return self.filter(**{name: moment for name, moment in limits.items() if moment is not None})

    def of_user(self, user: Any) -> JobQuerySet:
        """Jobs that a person started."""
        return self.filter(created_by=user)

    def unfinished_up_to(self, limit: int) -> int:
        """How many of them have not ended, looking at no more than *limit*."""
        return self.filter(status__in=[*WAITING, JobStatus.RUNNING]).order_by()[:limit].count()

    def of_worker(self, worker_id: int) -> JobQuerySet:
        """Running jobs that a worker holds."""
        return self.running().filter(worker_id=worker_id)

    def holding(self, limit_key: str) -> JobQuerySet:
        """Running jobs that share their limits by this stored key, the one that started first first."""
        return self.running().limited().filter(limit_key=limit_key).order_by("last_attempted_at")

    def few(self, rule: models.Q) -> JobQuerySet:
        """Those that fit *rule*, which few jobs do and an index knows: that they wait, or run.

        SQLite mostly has no statistics: it would rather read all jobs of a type, or of a person, to find these.
        """
        if transaction.get_connection(self.db).vendor != "sqlite" or not self.query.where:
            return self.filter(rule)
        return self.filter(pk__in=JobQuerySet(self.model, using=self.db).filter(rule).values("pk"))

    def unfinished_of(self, schedule_id: int) -> list[Job]:
        """The jobs of a schedule that have not ended, oldest first; looked for among its newest."""
        newest = self.newest_of(schedule_id).defer("arguments", "meta", "error")[:RECENT]
        return [job for job in list(newest)[::-1] if not job.is_finished]

    def overdue_of(self, schedule_id: int, seconds: float) -> JobQuerySet:
        """Jobs that a schedule made for a time of its own and that have not started so many seconds after it."""
        from qorworker.models.slot import ScheduleSlot, SlotOutcome

        waiting = self.few(Q(status__in=WAITING)).filter(schedule_id=schedule_id, attempt=0)
        by_itself = models.Exists(ScheduleSlot.objects.filter(job=models.OuterRef("pk"), outcome=SlotOutcome.FIRED))
        return waiting.filter(by_itself, run_after__lt=DatabaseNow(-seconds))

    def newest_of(self, schedule_id: int) -> JobQuerySet:
        """The jobs of a schedule, the newest first."""
        return newest_of(self, schedule_id)

    def newest_first(self) -> JobQuerySet:
        return self.order_by("-id")

    # How a job comes to be.

    def enqueue_rows(
        self,
        jobs: Sequence[Job],
        *,
        when: dt.datetime | dt.timedelta | None = None,
        user: Any = None,
        origin: str = Origin.CODE,
    ) -> list[Job]:
        """Store new jobs for the time *when*, or so long from now, or now. All of them or none.

        An audit entry is written for each if there is a *user*.
        """
        with transaction.atomic(using=self.db, savepoint=False) if user or len(jobs) > BATCH else nullcontext():
            if transaction.get_connection(self.db).features.can_return_rows_from_bulk_insert:
                insert_jobs(self.db, jobs, when)
            else:
                self._save_each(jobs, when)
            for job in jobs if user is not None else ():
                AuditEntry.objects.using(self.db).record("enqueue", job=job, user=user, origin=origin)
        return list(jobs)

    def _save_each(self, jobs: Sequence[Job], when: dt.datetime | dt.timedelta | None) -> None:
        """For MySQL, which does not tell the numbers of many rows."""
        now = database_now(self.db)
        with transaction.atomic(using=self.db, savepoint=False):
            for job in jobs:
                job.enqueued_at, job.run_after = now, now + when if isinstance(when, dt.timedelta) else when or now
                job.status = JobStatus.SCHEDULED if job.run_after > now else JobStatus.NEW
                job.save(using=self.db, force_insert=True)

    # How a job moves. ``transition`` and ``models.sql.exchange`` are the only writers of a status.

    def transition(self, to: str, **changes: Any) -> int:
        """Move those jobs to *to* that are in a status from which that is allowed; how many did.

        Into and out of ``running`` only together with the owner, which is what ``attempt_token`` says.
        """
        sources = sources_of(to)
        if "attempt_token" not in changes:
            sources -= {JobStatus.RUNNING}
        if not sources or (to == JobStatus.RUNNING and not changes.get("attempt_token")):
            raise ValueError(f"A job cannot become {to!s} without a change of its attempt_token.")
        if to in FINISHED:
            changes["unique_place"] = given_back()
        return self.filter(status__in=sorted(sources)).update(status=to, **changes)

    def schedule(self, when: dt.datetime) -> int:
        """Have those jobs that have not started wait until *when*; one statement, so no claim comes between."""
        return self.waiting().update(status=JobStatus.SCHEDULED, run_after=when)

    def queue_again(self) -> int:
        """Queue those that ended badly for one more attempt; how many. What they did so far stays on record."""
        return self.ended_badly().transition(
            JobStatus.NEW,
            run_after=DatabaseNow(),
            finished_at=None,
            abort_requested_at=None,
            error="",
            crashes=0,
            unique_place=taken(),
        )

    def retry(self, *, by: Any = None, origin: str = Origin.CODE) -> int:
        """Queue those that failed or were aborted for one more attempt, as ``Job.retry`` does; how many.

        Some hundreds in each transaction, with an audit entry for each job: if it is interrupted, those stay.
        """
        from qorworker.models import many

        using = getattr(self, "_db", None) or router.db_for_write(self.model)
        return many.retry_all(self, using, by=by, origin=origin)

    def due(self) -> JobQuerySet:
        return self.scheduled().filter(run_after__lte=DatabaseNow())

    def promote_due(self, limit: int = 2000) -> int:
        """Queue the scheduled jobs whose time has come, at most *limit*; how many. Whoever is changed now is left."""
        found = list(self.due().order_by("run_after").values_list("pk", flat=True)[:limit])
        if not found:
            return 0
        with transaction.atomic(using=self.db):
            return self.filter(pk__in=found).due().unlocked().transition(JobStatus.NEW)

    def lock(self) -> None:
        """Lock these rows by primary key before an UPDATE that also names the status.

        MariaDB may come to them by an index of the status, and then deadlocks with those that came by the key.
        """
        if transaction.get_connection(self.db).vendor == "mysql":
            list(self.select_for_update().values_list("pk"))

    def startable(self, queues: Iterable[str]) -> JobQuerySet:
        """Jobs of these queues that could start now, or as soon as somebody says that their time has come."""
        waits = Q(status=JobStatus.NEW) | Q(status=JobStatus.SCHEDULED, run_after__lte=DatabaseNow())
        return self.filter(waits, queue_name__in=list(queues))

    def startable_until(self, moment: dt.datetime, *, retries: bool = False) -> JobQuerySet:
        """Jobs that could start at that time; with *retries* also those that wait for another attempt."""
        waits = Q(status=JobStatus.NEW) | Q(status=JobStatus.SCHEDULED, run_after__lte=moment)
        return self.filter(waits | Q(status=JobStatus.SCHEDULED, attempt__gt=0) if retries else waits)

    def not_paused(self, paused: Paused) -> JobQuerySet:
        """Those of which neither the queue nor the type is paused."""
        return self.exclude(queue_name__in=paused.queues).exclude(name__in=paused.names)

    def forget_handed_over(self, pk: int) -> int:
        """Let a job's backend be told again: it was told, and could not start the job."""
        return self.queued().filter(pk=pk).update(handed_over_at=None)

    def to_hand_over(self, queue_name: str, patience: float) -> JobQuerySet:
        """Queued jobs of which the queue's backend has not heard since they are due, or not for so many seconds."""
        unheard = Q(handed_over_at=None) | Q(handed_over_at__lt=F("run_after"))
        late = Q(handed_over_at__lt=DatabaseNow(-patience))
        return self.queued().filter(unheard | late, queue_name=queue_name).in_line()

    def unlimited(self) -> JobQuerySet:
        """Jobs of types without limits."""
        return self.filter(limit_key="")

    def limited(self) -> JobQuerySet:
        """Jobs of types with limits."""
        return self.filter(limit_key__gt="")

    def not_handed_over(self, pk: int) -> int:
        """Note that a backend could not start a job because a limit holds it: it is to hear of it again."""
        return self.queued().limited().filter(pk=pk).update(handed_over_at=None)

    def left_behind(self, queues: Iterable[str], seconds: float) -> JobQuerySet:
        """Jobs of these queues that have been queued for so long that whoever was to run them must have gone."""
        late = Q(run_after__lt=DatabaseNow(-seconds))
        return self.queued().filter(late, queue_name__in=list(queues)).order_by("id")

    def note_handed_over(self, pk: int) -> int:
        """Note that the backend has been told of a job."""
        return self.filter(pk=pk).update(handed_over_at=DatabaseNow())

    def next_due(self) -> dt.datetime | None:
        """The earliest time for which a job is scheduled."""
        return self.scheduled().order_by("run_after").values_list("run_after", flat=True).first()

    # What a worker asks about the jobs it runs.

    def held(self, tokens: dict[int, str]) -> JobQuerySet:
        """Those of the jobs in *tokens* (job id to attempt token) that are still with that attempt."""
        return self.filter(pk__in=list(tokens), attempt_token__in=set(tokens.values()))

    def unlocked(self) -> JobQuerySet:
        """Those of these rows that nobody else has locked, now locked by the open transaction.

        All of them where the database has no locks of rows.
        """
        features = transaction.get_connection(self.db).features
        if not features.has_select_for_update_skip_locked:
            return self
        free = self.select_for_update(skip_locked=True, no_key=features.has_select_for_no_key_update)
        return JobQuerySet(self.model, using=self.db).filter(pk__in=list(free.values_list("pk", flat=True)))

    def renew(self, tokens: dict[int, str], lease: float) -> int:
        """Prolong the lease of these attempts by *lease* seconds from now; how many were still held.

        Those whose row somebody else has locked are not waited for, and not counted.
        """
        with transaction.atomic(using=self.db):
            return self.held(tokens).unlocked().update(lease_expires_at=DatabaseNow(lease))

    def abort_requests(self, tokens: dict[int, str]) -> dict[int, bool]:
        """For each of these attempts that is still held: whether somebody asked for its abort."""
        rows = self.held(tokens).values_list("pk", "attempt_token", "abort_requested_at")
        return {pk: asked is not None for pk, token, asked in rows if tokens[pk] == token}

    def end_in_transaction(self, pk: int, token: str) -> bool:
        """End an attempt as done, together with what the open transaction has written; False if it lost the job."""
        self.filter(pk=pk).lock()
        return bool(
            self.filter(pk=pk, attempt_token=token).transition(
                JobStatus.DONE, attempt_token=None, lease_expires_at=None, finished_at=DatabaseNow()
            )
        )

    def complete_story(self, pk: int, attempt: int, **counts: Any) -> int:
        """Add the figures of an attempt that ended in its own transaction."""
        return self.done().filter(pk=pk, attempt=attempt).update(**counts)

    def done_at(self, attempts: dict[int, int]) -> set[int]:
        """Which of these jobs (id to number of the attempt) are done, by that very attempt."""
        rows = self.done().filter(pk__in=list(attempts)).values_list("pk", "attempt")
        return {pk for pk, attempt in rows if attempts[pk] == attempt}

    def set_limit_key(self, pk: int, limit_key: str) -> int:
        """Have a job share its limits by this stored key from now on."""
        return self.filter(pk=pk).update(limit_key=limit_key)

    def keep_return_value(self, pk: int, text: str) -> int:
        """Store what a job has returned, as JSON."""
        return self.filter(pk=pk).update(return_value=text)

    def ended_as(self, pk: int, attempt: int, status: str) -> JobQuerySet:
        """The job, if this very attempt of it has led to this status."""
        return self.filter(pk=pk, attempt=attempt, status=status)

    def seize(self, pk: int, token: str, new_token: str, lease: float) -> int:
        """Give a running job whose lease is past to another owner; 0 if its own has renewed it after all."""
        return (
            self.not_responding()
            .filter(pk=pk, attempt_token=token)
            .update(attempt_token=new_token, lease_expires_at=DatabaseNow(lease))
        )

    def leases(self) -> dict[int, tuple[str, dt.datetime]]:
        """Running jobs whose lease is past, by the database's clock: id to attempt token and lease.

        Not those whose row is locked: their worker could not renew it either.
        """
        past = self.not_responding()
        found = list(past.values_list("pk", flat=True))
        if not found:
            return {}
        with transaction.atomic(using=self.db):
            rows = past.filter(pk__in=found).unlocked().values_list("pk", "attempt_token", "lease_expires_at")
            return {pk: (token, lease) for pk, token, lease in rows if token and lease}
