"""The record of one run, and every question and change that touches its row. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.indexes import PartialIndex
from qorworker.models.sql import BATCH, insert_jobs
from qorworker.models.verbs import JobVerbs
from qorworker.models.verbs import wake as wake
from qorworker.models.worker import Worker
from qorworker.status import ENDED_BADLY, FINISHED, WAITING, JobStatus, can_move, sources_of

if TYPE_CHECKING:
    from qorworker.registry import JobType

PRIORITY_RANGE = (-100, 100)


class JobQuerySet(models.QuerySet["Job"]):
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

    def of_user(self, user: Any) -> JobQuerySet:
        return self.filter(created_by=user)

    def of_worker(self, worker_id: int) -> JobQuerySet:
        """Running jobs that a worker holds."""
        return self.running().filter(worker_id=worker_id)

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

    # How a job moves. ``transition`` and ``models.sql.write_attempts`` are the only writers of a status.

    def transition(self, to: str, **changes: Any) -> int:
        """Move those jobs to *to* that are in a status from which that is allowed; how many did.

        Into and out of ``running`` only together with the owner, which is what ``attempt_token`` says.
        """
        sources = sources_of(to)
        if "attempt_token" not in changes:
            sources -= {JobStatus.RUNNING}
        if not sources or (to == JobStatus.RUNNING and not changes.get("attempt_token")):
            raise ValueError(f"A job cannot become {to!s} without a change of its attempt_token.")
        return self.filter(status__in=sorted(sources)).update(status=to, **changes)

    def schedule(self, when: dt.datetime) -> int:
        """Have those jobs that have not started wait until *when*; one statement, so no claim comes between."""
        return self.waiting().update(status=JobStatus.SCHEDULED, run_after=when)

    def due(self) -> JobQuerySet:
        return self.scheduled().filter(run_after__lte=DatabaseNow())

    def promote_due(self, limit: int = 2000) -> int:
        """Queue the scheduled jobs whose time has come, at most *limit*; how many. Whoever is changed now is left."""
        found = list(self.due().order_by("run_after").values_list("pk", flat=True)[:limit])
        if not found:
            return 0
        if not transaction.get_connection(self.db).features.has_select_for_update_skip_locked:
            return self.filter(pk__in=found).due().transition(JobStatus.NEW)
        with transaction.atomic(using=self.db):
            mine = self.filter(pk__in=found).due().select_for_update(skip_locked=True)
            return self.filter(pk__in=list(mine.values_list("pk", flat=True))).transition(JobStatus.NEW)

    def lock(self) -> None:
        """Lock these rows by primary key before an UPDATE that also names the status.

        MariaDB may come to them by an index of the status, and then deadlocks with those that came by the key.
        """
        if transaction.get_connection(self.db).vendor == "mysql":
            list(self.select_for_update().values_list("pk"))

    def next_due(self) -> dt.datetime | None:
        """The earliest time for which a job is scheduled."""
        return self.scheduled().order_by("run_after").values_list("run_after", flat=True).first()

    # What a worker asks about the jobs it runs.

    def held(self, tokens: dict[int, str]) -> JobQuerySet:
        """Those of the jobs in *tokens* (job id to attempt token) that are still with that attempt."""
        return self.filter(pk__in=list(tokens), attempt_token__in=set(tokens.values()))

    def renew(self, tokens: dict[int, str], lease: float) -> int:
        """Prolong the lease of these attempts by *lease* seconds from now; how many were still held."""
        return self.held(tokens).update(lease_expires_at=DatabaseNow(lease))

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
        """Running jobs whose lease is past, by the database's clock: id to attempt token and lease."""
        rows = self.not_responding().values_list("pk", "attempt_token", "lease_expires_at")
        return {pk: (token, lease) for pk, token, lease in rows if token and lease}


class Job(JobVerbs):
    """One run of a job type: what was asked, where it stands, how it ended."""

    name = models.CharField(_("job type"), max_length=200)
    queue_name = models.CharField(_("queue"), max_length=100, default="default")
    priority = models.SmallIntegerField(
        _("priority"),
        default=0,
        validators=[MinValueValidator(PRIORITY_RANGE[0]), MaxValueValidator(PRIORITY_RANGE[1])],
        help_text=_("From −100 to 100; higher runs first."),  # noqa: RUF001 - typography
    )
    status = models.CharField(_("status"), max_length=10, choices=JobStatus.choices, default=JobStatus.NEW)
    arguments = models.JSONField(_("arguments"), default=dict, encoder=DjangoJSONEncoder)
    fingerprint = models.CharField(max_length=32, blank=True)  # of the form that cleaned the arguments
    meta = models.JSONField(default=dict, blank=True)

    run_after = models.DateTimeField(_("run after"))
    enqueued_at = models.DateTimeField(_("created"))
    started_at = models.DateTimeField(_("first started"), null=True, blank=True)
    last_attempted_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    max_attempts = models.PositiveSmallIntegerField(_("attempts at most"), default=1)
    crashes = models.PositiveSmallIntegerField(default=0)  # attempts that ended without a word
    attempt_token = models.CharField(max_length=32, null=True, blank=True, editable=False)  # noqa: DJ001 - null: no owner
    lease_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    worker = models.ForeignKey(
        Worker, models.SET_NULL, null=True, blank=True, related_name="jobs", db_constraint=False, db_index=False,
        verbose_name=_("worker"),
    )  # fmt: skip
    process_id = models.PositiveIntegerField(_("process id"), null=True, blank=True)
    abort_requested_at = models.DateTimeField(_("abort requested at"), null=True, blank=True)

    progress = models.PositiveSmallIntegerField(_("progress"), null=True, blank=True)  # per cent; null: unknown
    progress_text = models.CharField(_("progress text"), max_length=200, blank=True)
    error = models.TextField(_("error"), blank=True)  # one line; the traceback is with the attempt
    log_lines = models.PositiveIntegerField(default=0)
    log_bytes = models.PositiveBigIntegerField(default=0)
    log_dropped = models.PositiveIntegerField(default=0)
    results_rows = models.PositiveIntegerField(default=0)
    results_before = models.PositiveIntegerField(default=0)  # rows of earlier attempts
    results_errors = models.PositiveIntegerField(default=0)

    created_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False,
        db_index=False, verbose_name=_("created by"),
    )  # fmt: skip
    rerun_of = models.ForeignKey(
        "self", models.DO_NOTHING, null=True, blank=True, related_name="reruns", db_constraint=False, db_index=False,
        verbose_name=_("run again of"),
    )  # fmt: skip

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        default_permissions = ("view", "delete")
        permissions = (
            ("run_job", "Can run jobs"),
            ("abort_job", "Can abort and cancel jobs"),
            ("reschedule_job", "Can reschedule jobs"),
            ("retry_job", "Can retry jobs"),
            ("view_job_arguments", "Can view the arguments of jobs"),
            ("view_job_log", "Can view the log and errors of jobs"),
        )
        ordering = ("-id",)
        indexes = (
            # The claim's filter and order, column for column.
            PartialIndex(name="qorworker_job_claim", fields=("queue_name", "-priority", "id"), only=Q(status="new")),
            PartialIndex(name="qorworker_job_due", fields=("run_after",), only=Q(status="scheduled")),
            PartialIndex(name="qorworker_job_lease", fields=("lease_expires_at",), only=Q(status="running")),
            PartialIndex(name="qorworker_job_failed", fields=("id",), only=Q(status="exception")),
            models.Index(name="qorworker_job_name", fields=("name", "-id")),
            PartialIndex(name="qorworker_job_user", fields=("created_by", "-id"), only=Q(created_by__isnull=False)),
            PartialIndex(name="qorworker_job_rerun", fields=("rerun_of",), only=Q(rerun_of__isnull=False)),
        )
        constraints = (
            # Leaving "running" always takes the token away, so a matching token proves the status too.
            models.CheckConstraint(
                condition=Q(status="running", attempt_token__isnull=False)
                | Q(~Q(status="running"), attempt_token__isnull=True),
                name="qorworker_job_token",
            ),
        )

    def __str__(self) -> str:
        return f"#{self.pk} {self.title}"

    # What it is.

    @property
    def job_type(self) -> JobType[Any] | None:
        """The definition in code, if this process has it."""
        from qorworker.registry import registry

        return registry.find(self.name)

    @property
    def title(self) -> str:
        return str(self.job_type.title) if self.job_type else self.name

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    @property
    def is_aborting(self) -> bool:
        return self.status == JobStatus.RUNNING and self.abort_requested_at is not None

    @property
    def will_retry(self) -> bool:
        return self.status == JobStatus.SCHEDULED and self.attempt > 0

    @property
    def not_responding(self) -> bool:
        """Its worker let the lease pass; judged by this process's clock, for display only."""
        return (
            self.status == JobStatus.RUNNING
            and self.lease_expires_at is not None
            and self.lease_expires_at < timezone.now()
        )

    @property
    def results_count(self) -> int:
        """Results rows of the last attempt."""
        return self.results_rows - self.results_before

    @property
    def duration(self) -> dt.timedelta | None:
        """How long the last attempt took, or has been running; None while the job waits."""
        if self.last_attempted_at is None or self.status in (*WAITING, JobStatus.CANCELLED):
            return None
        end = self.finished_at or timezone.now()
        return max(end - self.last_attempted_at, dt.timedelta())

    # What can be asked of it now: the same table that decides when it is tried.

    @property
    def can_cancel(self) -> bool:
        return can_move(self.status, JobStatus.CANCELLED)

    @property
    def can_abort(self) -> bool:
        return self.status == JobStatus.RUNNING and self.abort_requested_at is None

    @property
    def can_reschedule(self) -> bool:
        return self.status in WAITING

    @property
    def can_run_now(self) -> bool:
        return self.status == JobStatus.SCHEDULED

    @property
    def can_retry(self) -> bool:
        return self.status in ENDED_BADLY
