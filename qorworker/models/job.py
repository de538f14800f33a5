"""The record of one run. All processes."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from qorworker.backends import backend_of
from qorworker.limits import KEY_CHARS
from qorworker.models.clock import database_now
from qorworker.models.fields import ArgumentsField
from qorworker.models.indexes import PartialIndex, PartialUniqueConstraint
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.updating import UpdateVerb
from qorworker.models.verbs import wake as wake
from qorworker.models.worker import Worker
from qorworker.status import ENDED_BADLY, FINISHED, WAITING, JobStatus, can_move

if TYPE_CHECKING:
    from qorworker.models.reasons import Reason
    from qorworker.registry import JobType

PRIORITY_RANGE = (-100, 100)


class Job(UpdateVerb):
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
    arguments = ArgumentsField(_("arguments"), default=dict, encoder=DjangoJSONEncoder)
    # What the job shares its limits by, empty if its type has none.
    limit_key = models.CharField(max_length=2 * KEY_CHARS + 1, blank=True, default="", editable=False)
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
    handed_over_at = models.DateTimeField(null=True, editable=False)  # when its backend, if not a worker, was last told
    return_value = models.TextField(null=True, editable=False)  # noqa: DJ001 - JSON; null: nothing was returned
    log_lines = models.PositiveIntegerField(default=0)
    log_bytes = models.PositiveBigIntegerField(default=0)
    log_dropped = models.PositiveIntegerField(default=0)
    results_rows = models.PositiveIntegerField(default=0)
    results_before = models.PositiveIntegerField(default=0)  # rows of earlier attempts
    results_errors = models.PositiveIntegerField(default=0)

    # See models.unique.
    unique_key = models.CharField(max_length=64, null=True, editable=False)  # noqa: DJ001 - null: no rule
    unique_among = models.CharField(max_length=10, blank=True, editable=False)
    unique_place = models.BigIntegerField(null=True, editable=False)
    unique_until = models.DateTimeField(null=True, editable=False)

    created_by = models.ForeignKey(
        django_settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False,
        db_index=False, verbose_name=_("created by"),
    )  # fmt: skip
    rerun_of = models.ForeignKey(
        "self", models.DO_NOTHING, null=True, blank=True, related_name="reruns", db_constraint=False, db_index=False,
        verbose_name=_("run again of"),
    )  # fmt: skip
    schedule = models.ForeignKey(
        "qorworker.Schedule", models.SET_NULL, null=True, blank=True, related_name="jobs", db_constraint=False,
        db_index=False, verbose_name=_("schedule"),
    )  # fmt: skip

    objects = JobQuerySet.as_manager()

    is_existing = False  # true if it was asked for anew, and this one was there already

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        default_permissions = ("view", "delete")
        permissions = (
            ("run_job", "Can run jobs"),
            ("abort_job", "Can abort and cancel jobs"),
            ("reschedule_job", "Can reschedule jobs"),
            ("retry_job", "Can retry jobs"),
            ("choose_job_queue", "Can choose the queue and priority of jobs"),
            ("view_job_arguments", "Can view the arguments of jobs"),
            ("view_job_log", "Can view the log and errors of jobs"),
            ("view_all_jobs", "Can view jobs of others where everybody sees only their own"),
        )
        ordering = ("-id",)
        indexes = (
            # The claim's filter and order, column for column.
            PartialIndex(
                name="qorworker_job_claim",
                fields=("queue_name", "limit_key", "-priority", "id"),
                only=Q(status="new"),
            ),
            PartialIndex(
                name="qorworker_job_limit",
                fields=("limit_key",),
                only=Q(status="running", limit_key__gt=""),
            ),
            PartialIndex(name="qorworker_job_due", fields=("run_after",), only=Q(status="scheduled")),
            PartialIndex(name="qorworker_job_lease", fields=("lease_expires_at",), only=Q(status="running")),
            PartialIndex(name="qorworker_job_failed", fields=("id",), only=Q(status="exception")),
            models.Index(name="qorworker_job_name", fields=("name", "-id")),
            PartialIndex(name="qorworker_job_user", fields=("created_by", "-id"), only=Q(created_by__isnull=False)),
            PartialIndex(name="qorworker_job_rerun", fields=("rerun_of",), only=Q(rerun_of__isnull=False)),
            PartialIndex(name="qorworker_job_schedule", fields=("schedule", "-id"), only=Q(schedule__isnull=False)),
        )
        constraints = (
            # Leaving "running" always takes the token away, so a matching token proves the status too.
            models.CheckConstraint(
                condition=Q(status="running", attempt_token__isnull=False)
                | Q(~Q(status="running"), attempt_token__isnull=True),
                name="qorworker_job_token",
            ),
            PartialUniqueConstraint(
                name="qorworker_job_unique", fields=("unique_key", "unique_place"), only=Q(unique_key__isnull=False)
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
    def result(self) -> Any:
        """What the handler has returned, as JSON keeps it; None if that was nothing, or the job is not done."""
        return None if self.return_value is None else json.loads(self.return_value)

    @property
    def results_count(self) -> int:
        """Results rows of the last attempt."""
        return self.results_rows - self.results_before

    def due_in(self) -> float:
        """Seconds until its time, by the database's clock; negative if it is past."""
        left: dt.timedelta = self.run_after - database_now(self._state.db or "default")
        return left.total_seconds()

    @property
    def duration(self) -> dt.timedelta | None:
        """How long the last attempt took, or has been running; None while the job waits."""
        if self.last_attempted_at is None or self.status in (*WAITING, JobStatus.CANCELLED):
            return None
        end = self.finished_at or timezone.now()
        return max(end - self.last_attempted_at, dt.timedelta())

    def why_waiting(self) -> list[Reason]:
        """Why it has not started, the decisive reason first; empty if it has, or was withdrawn."""
        from qorworker.models.reasons import reasons_for

        return reasons_for(self)

    # What can be asked of it now: the same table that decides when it is tried.

    @property
    def can_cancel(self) -> bool:
        return can_move(self.status, JobStatus.CANCELLED)

    @property
    def can_abort(self) -> bool:
        asked = self.status != JobStatus.RUNNING or self.abort_requested_at is not None
        return not asked and backend_of(self.queue_name).supports_abort

    @property
    def can_mark_failed(self) -> bool:
        return self.not_responding

    @property
    def can_reschedule(self) -> bool:
        return self.status in WAITING and backend_of(self.queue_name).supports_schedule

    @property
    def can_update(self) -> bool:
        return self.status in WAITING

    @property
    def can_run_now(self) -> bool:
        return self.status == JobStatus.SCHEDULED

    @property
    def can_retry(self) -> bool:
        return self.status in ENDED_BADLY
