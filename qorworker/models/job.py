"""The row of a job. All processes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from qorworker.arguments import codec, files
from qorworker.definitions.limits import KEY_CHARS
from qorworker.definitions.registry import registry
from qorworker.models import bulk, job_verbs, updating
from qorworker.models.alters import alters_data, asynchronous
from qorworker.models.audit import Origin
from qorworker.models.clock import database_now
from qorworker.models.fields import ArgumentsField
from qorworker.models.indexes import PartialIndex, PartialUniqueConstraint
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.own import write_database
from qorworker.models.worker import Worker
from qorworker.queues import backend_of
from qorworker.status import ENDED_BADLY, FINISHED, WAITING, JobStatus, can_move

if TYPE_CHECKING:
    from django.forms import Field

    from qorworker.definitions.job_type import JobType
    from qorworker.queries.reasons import Reason

PRIORITY_RANGE = (-100, 100)


class Job(models.Model):
    """One run of a job type: what was requested, how far it is, how it ended."""

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
    # The jobs with the same key share their limits. Empty if the type has none.
    limit_key = models.CharField(max_length=2 * KEY_CHARS + 1, blank=True, default="", editable=False)
    fingerprint = models.CharField(max_length=32, blank=True)  # of the form that cleaned the arguments
    # What the project keeps with the job: given with ``using(meta=…)``, or written at any time.
    meta = models.JSONField(_("meta"), default=dict, blank=True, encoder=DjangoJSONEncoder)
    # The one-time tokens of the forms that made and last changed it; see ``admin.tokens``. Null: no form did either.
    form_tokens = models.JSONField(null=True, editable=False)

    run_after = models.DateTimeField(_("run after"))
    enqueued_at = models.DateTimeField(_("created"))
    started_at = models.DateTimeField(_("first started"), null=True, blank=True)
    last_attempted_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    max_attempts = models.PositiveSmallIntegerField(_("attempts at most"), default=1)
    crashes = models.PositiveSmallIntegerField(default=0)  # attempts that ended without a report
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
    handed_over_at = models.DateTimeField(null=True, editable=False)  # when its backend was last notified
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

    is_existing = False  # True if enqueueing a job returned this one, which existed already

    class Meta:
        base_manager_name = "objects"  # foreign keys, too, are followed where rows are written
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
            ("view_all_jobs", "Can view other users' jobs when OWN_JOBS_ONLY is on"),
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
            # A job that leaves "running" loses its token, so a matching token proves the status, too.
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
        return f"{self.title} #{self.pk}"

    # Its state.

    @property
    def job_type(self) -> JobType[Any] | None:
        """The definition in code; None if this process does not have it."""
        return registry.find(self.name)

    @property
    def title(self) -> str:
        return str(self.job_type.title) if self.job_type else self.name

    @property
    def argument_fields(self) -> Mapping[str, Field]:
        """The form fields of its arguments by name; empty if this process does not have its type."""
        return self.job_type.arguments.definition.fields if self.job_type is not None else {}

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
        """Whether its worker has let the lease expire, by the clock of this process. For display only."""
        return (
            self.status == JobStatus.RUNNING
            and self.lease_expires_at is not None
            and self.lease_expires_at < timezone.now()
        )

    @property
    def result(self) -> Any:
        """The return value of the handler, as JSON keeps it; None if it was None, or is not stored."""
        return None if self.return_value is None else json.loads(self.return_value)

    @property
    def is_done_with_row_errors(self) -> bool:
        """Whether its handler returned and rows of its results have errors, whatever status that led to."""
        return bool(self.results_errors) and (
            self.status == JobStatus.DONE or (self.status == JobStatus.EXCEPTION and self.has_returned)
        )

    @property
    def has_returned(self) -> bool:
        """Whether the return value of its handler is stored. Lists load only that: the value may be large."""
        loaded = vars(self)
        if "return_value" not in loaded and "kept_result" in loaded:
            return bool(loaded["kept_result"])
        return self.return_value is not None

    @property
    def results_count(self) -> int:
        """How many results rows the last attempt has added."""
        return self.results_rows - self.results_before

    def due_in(self) -> float:
        """Return the seconds until its time, by the clock of the database; negative if the time is past."""
        left: dt.timedelta = self.run_after - database_now(self._state.db or "default")
        return left.total_seconds()

    @property
    def duration(self) -> dt.timedelta | None:
        """How long the last attempt took, or has been running; None while the job waits."""
        if self.last_attempted_at is None or self.status in (*WAITING, JobStatus.CANCELLED):
            return None
        end = self.finished_at or timezone.now()
        return max(end - self.last_attempted_at, dt.timedelta())

    @alters_data
    def discard_uploads(self) -> None:
        """Delete the files that it was given."""
        files.discard(self.arguments, self.argument_fields)

    @alters_data
    def delete(
        self, using: str | None = None, keep_parents: bool = False, *, by: Any = None, origin: str = Origin.CODE
    ) -> tuple[int, dict[str, int]]:
        """Delete the job, whatever its status, with its log, results and uploads, and an audit entry."""
        counts = bulk.delete([self], using or write_database(self), by=by, origin=origin)
        self.pk = None
        return counts

    def why_waiting(self, visible: JobQuerySet | None = None) -> list[Reason]:
        """Return why the job has not started, the decisive reason first; empty if it has started or was cancelled.

        :param visible: the jobs that the reader may see; the reasons then depend on no others. None: all jobs.
        """
        from qorworker.queries.reasons import reasons_for  # noqa: PLC0415 - stands above the rows

        return reasons_for(self, visible)

    # Its verbs.

    cancel = job_verbs.cancel
    reschedule = job_verbs.reschedule
    run_now = job_verbs.run_now
    abort = job_verbs.abort
    mark_failed = job_verbs.mark_failed
    retry = job_verbs.retry
    rerun = job_verbs.rerun
    update = updating.update
    update_dumped = updating.update_dumped
    was_changed_with = updating.was_changed_with
    wait = job_verbs.wait
    await_finished = job_verbs.await_finished
    send_cancelled = job_verbs.send_cancelled

    acancel = asynchronous(cancel)
    areschedule = asynchronous(reschedule)
    arun_now = asynchronous(run_now)
    aabort = asynchronous(abort)
    amark_failed = asynchronous(mark_failed)
    aretry = asynchronous(retry)
    arerun = asynchronous(rerun)
    aupdate = asynchronous(update)

    # Which verbs it allows now, by the table that also decides when one is tried.

    @property
    def can_cancel(self) -> bool:
        return can_move(self.status, JobStatus.CANCELLED)

    @property
    def can_abort(self) -> bool:
        may_be_requested = self.status == JobStatus.RUNNING and self.abort_requested_at is None
        return may_be_requested and backend_of(self.queue_name).supports_abort

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
        return self.status in ENDED_BADLY and not self.erased_secrets

    @property
    def erased_secrets(self) -> list[str]:
        """Names of the arguments whose secrets were erased when the job ended: only a new run can get them."""
        return codec.erased_names(self.argument_fields, self.arguments) if self.is_finished else []

    @property
    def may_have_secrets(self) -> bool:
        """Whether its arguments may include secrets, as far as its type and this copy of the row show."""
        if self.job_type is None or self.job_type.arguments.has_secret_fields():
            return True
        return bool(codec.secret_names({}, self.arguments))
