"""Every query of jobs and every change of their rows, by name. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.db.models import F, Q

from qorworker.models import bulk_verbs, exact, job_pause, keeping, leases, promoting, rewriting, storing, unique
from qorworker.models.alters import queryset_verb
from qorworker.models.clock import DatabaseNow
from qorworker.models.dependency import with_unfinished_dependents
from qorworker.models.job_pause import NOT_PAUSED, PAUSED
from qorworker.models.newest import newest_of
from qorworker.models.own import OwnQuerySet
from qorworker.models.promoting import WAITS_FOR_TIME
from qorworker.models.schedule_slot import ScheduleSlot, SlotOutcome
from qorworker.models.sql.schedules import with_unfinished_jobs
from qorworker.status import ENDED_BADLY, FINISHED, WAITING, JobStatus, sources_of

if TYPE_CHECKING:
    from qorworker.definitions.job_type import JobType
    from qorworker.models.job import Job
    from qorworker.models.pause import Paused

# In a list: SQLite and MariaDB use no index for a condition with NOT.
ASKING = Q(status=JobStatus.SCHEDULED, waits_for_answer__in=[True])
AWAITING_APPROVAL = Q(status=JobStatus.SCHEDULED, waits_for_approval__in=[True])
RECENT = 100  # jobs of a schedule among which ``unfinished_of`` looks


class JobQuerySet(OwnQuerySet["Job"]):
    """Jobs, with filters and verbs that can be chained."""

    # Filters that projects use, too.

    def waiting(self) -> JobQuerySet:
        """Return jobs that have not started: queued, scheduled, waiting for another attempt, or paused."""
        return self.filter(status__in=WAITING)

    def queued(self) -> JobQuerySet:
        """Return jobs that wait for a free worker."""
        return self.filter(status=JobStatus.NEW)

    def scheduled(self) -> JobQuerySet:
        """Return jobs that wait for their time or for other jobs; not those that are paused."""
        return self.filter(NOT_PAUSED)

    def paused(self) -> JobQuerySet:
        """Return jobs that do not start until they are resumed."""
        return self.filter(PAUSED)

    def pausing(self) -> JobQuerySet:
        """Return running jobs whose pause was requested."""
        return self.running().filter(pause_requested_at__isnull=False)

    def asking(self) -> JobQuerySet:
        """Return jobs that wait for the answer to a question; also those that are paused meanwhile."""
        return self.filter(ASKING)

    def not_asking(self) -> JobQuerySet:
        """Return jobs that do not wait for an answer."""
        return self.exclude(waits_for_answer=True)

    def awaiting_approval(self) -> JobQuerySet:
        """Return jobs that start only once somebody has approved them; also those that are paused meanwhile."""
        return self.filter(AWAITING_APPROVAL)

    def not_awaiting_approval(self) -> JobQuerySet:
        """Return jobs that wait for no approval."""
        return self.filter(waits_for_approval__in=[False])

    def will_retry(self) -> JobQuerySet:
        """Return jobs that failed and wait for their next attempt."""
        return self.scheduled().filter(attempt__gt=0).not_asking().not_awaiting_approval()

    def running(self) -> JobQuerySet:
        """Those that run."""
        return self.filter(status=JobStatus.RUNNING)

    def done(self) -> JobQuerySet:
        """Those that have succeeded."""
        return self.filter(status=JobStatus.DONE)

    def failed(self) -> JobQuerySet:
        """Those that have failed and are not tried again by themselves."""
        return self.filter(status=JobStatus.EXCEPTION)

    def aborted(self) -> JobQuerySet:
        """Those that were aborted while they ran."""
        return self.filter(status=JobStatus.KILLED)

    def cancelled(self) -> JobQuerySet:
        """Those that were cancelled before they started."""
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

    def for_type(self, job_type: JobType[..., Any] | str) -> JobQuerySet:
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

    with_error = exact.with_error
    errors = exact.errors

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
        """Load only whether a job has a return value and a checkpoint, instead of what may be large: these, the
        titles of columns, samples and stack.
        """
        without = self.defer(
            "return_value", "results_columns", "checkpoint", "rehearsal_report", "samples", "last_stack"
        )
        return without.annotate(  # type: ignore[no-any-return, unused-ignore]
            kept_result=models.ExpressionWrapper(Q(return_value__isnull=False), models.BooleanField()),
            kept_checkpoint=models.ExpressionWrapper(Q(checkpoint__isnull=False), models.BooleanField()),
        )

    def unfinished_of(self, schedule_id: int) -> list[Job]:
        """Return those of the newest jobs of a schedule that have not ended, the oldest first."""
        newest = self.newest_of(schedule_id).defer("arguments", "meta", "error")[:RECENT]
        return [job for job in list(newest)[::-1] if not job.is_finished]

    def schedules_unfinished(self, schedules: Sequence[int]) -> set[int]:
        """Return those of *schedules*, given by their ids, for which ``unfinished_of`` would return jobs."""
        return with_unfinished_jobs(self.db, schedules, RECENT) if schedules else set()

    def overdue_of(self, schedule_id: int, seconds: float) -> JobQuerySet:
        """Return jobs that a schedule made by itself and that have not started *seconds* after their time."""
        waiting = self.few(Q(status=JobStatus.NEW) | NOT_PAUSED).filter(schedule_id=schedule_id, started_at=None)
        by_itself = models.Exists(ScheduleSlot.objects.filter(job=models.OuterRef("pk"), outcome=SlotOutcome.FIRED))
        return waiting.filter(by_itself, run_after__lt=DatabaseNow(-seconds))

    def newest_of(self, schedule_id: int) -> JobQuerySet:
        """Return the jobs of a schedule, the newest first."""
        return newest_of(self, schedule_id)

    def newest_first(self) -> JobQuerySet:
        """The same, the latest first."""
        return self.order_by("-id")

    # How jobs are stored.

    enqueue_rows = storing.enqueue_rows
    enqueue_timed = storing.enqueue_timed
    enqueue_unique = unique.enqueue_unique

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
    pause = bulk_verbs.pause
    resume = bulk_verbs.resume
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
            pause_requested_at=None,
            waits_for_approval=False,  # ``approving.hold_unapproved`` decides anew
            error="",
            return_value=None,
            rehearsal_report=None,
            progress=None,
            progress_text="",
            crashes=0,
            unique_place=unique.taken(),
        )

    can_be_paused = job_pause.can_be_paused
    can_be_resumed = job_pause.can_be_resumed
    request_pause = job_pause.request_pause
    end_pause = job_pause.end_pause

    def needless(self) -> JobQuerySet:
        """Return those whose dependents, if they have any, have all ended."""
        return self.exclude(with_unfinished_dependents())

    def hold(self) -> int:
        """Let those that were just stored wait for other jobs, and return how many."""
        return self.update(status=JobStatus.SCHEDULED, has_parents=True, waits_for_jobs=True)

    def hold_for_approval(self) -> int:
        """Let those that are waiting wait for an approval, too, and return how many."""
        return self.waiting().update(status=JobStatus.SCHEDULED, waits_for_approval=True)

    def hold_for_batch(self, batch: int) -> int:
        """Let one that was just stored wait for the end of a batch, and return 1."""
        return self.update(status=JobStatus.SCHEDULED, waits_for_jobs=True, callback_of_id=batch)

    due = promoting.due
    promote_due = promoting.promote_due
    promote = promoting.promote

    def lock(self) -> None:
        """Lock these rows by primary key before an UPDATE that also names the status.

        MariaDB might find them by an index of the status, and would deadlock with transactions that use the key.
        """
        if transaction.get_connection(self.db).vendor == "mysql":
            list(self.select_for_update().values_list("pk"))

    def startable(self, queues: Iterable[str]) -> JobQuerySet:
        """Return jobs of these queues that could start now: queued, or due but not promoted yet."""
        ready = Q(status=JobStatus.NEW) | WAITS_FOR_TIME & Q(run_after__lte=DatabaseNow())
        return self.filter(ready, queue_name__in=list(queues))

    def startable_until(self, moment: dt.datetime, *, retries: bool = False) -> JobQuerySet:
        """Return jobs that could start at *moment*; with *retries* also those that wait for another attempt."""
        ready = Q(status=JobStatus.NEW) | WAITS_FOR_TIME & Q(run_after__lte=moment)
        retrying = WAITS_FOR_TIME & Q(attempt__gt=0) & ~Q(waits_for_answer=True)
        return self.filter(ready | retrying if retries else ready)

    def not_paused(self, paused: Paused) -> JobQuerySet:
        """Return jobs of which neither the queue nor the type is paused."""
        return self.exclude(queue_name__in=paused.queues).exclude(name__in=paused.names)

    def forget_handed_over(self, pk: int) -> int:
        """Let the backend of a queued job be notified again: it was notified, but could not start the job."""
        return self.queued().filter(pk=pk).update(handed_over_at=None)

    def to_hand_over(self, queue_name: str, patience: float) -> JobQuerySet:
        """Return queued jobs whose backend was not notified since they are due, or not for *patience* seconds."""
        # Not if they are due later by now: the clock of the database went back.
        due_again = Q(handed_over_at__lt=F("run_after"), run_after__lte=DatabaseNow())
        not_notified = Q(handed_over_at=None) | due_again
        late = Q(handed_over_at__lt=DatabaseNow(-patience))
        return self.queued().filter(not_notified | late, queue_name=queue_name).in_line()

    def handed_over_before(self, queue_name: str, moment: dt.datetime) -> JobQuerySet:
        """Return queued jobs of whose last notification the message may be lost since *moment*."""
        return self.queued().filter(handed_over_at__lt=moment, queue_name=queue_name).in_line()

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

    keep_return_values = keeping.keep_return_values
    keep_rehearsals = keeping.keep_rehearsals
    keep_results_columns = keeping.keep_results_columns
    count_files = keeping.count_files
    keep_checkpoints = keeping.keep_checkpoints
    keep_samples = keeping.keep_samples
    keep_stacks = keeping.keep_stacks
    checkpoint_of = keeping.checkpoint_of

    held = leases.held
    unlocked = leases.unlocked
    renew = leases.renew
    forget_starts = leases.forget_starts
    requests = leases.requests
    end_in_transaction = leases.end_in_transaction
    ended_as = leases.ended_as
    seize = leases.seize
    expired_leases = leases.expired_leases
