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
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from qorworker.arguments import codec, files
from qorworker.definitions.limits import KEY_CHARS
from qorworker.definitions.registry import registry
from qorworker.models import (
    bulk,
    failed_rows,
    job_approval,
    job_messages,
    job_pause,
    job_questions,
    job_verbs,
    job_vitals,
    updating,
)
from qorworker.models import rehearsal as rehearsals
from qorworker.models.alters import alters_data, asynchronous
from qorworker.models.audit import Origin
from qorworker.models.clock import database_now
from qorworker.models.dependency import dependents_of, parents_of
from qorworker.models.fields import ArgumentsField
from qorworker.models.indexes import PartialIndex, PartialUniqueConstraint
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.own import write_database
from qorworker.models.worker import Worker
from qorworker.queues import backend_of
from qorworker.status import ENDED_BADLY, FINISHED, WAITING, JobStatus, can_move
from qorworker.text import titles

if TYPE_CHECKING:
    from django.forms import Field

    from qorworker.arguments.row_keys import RowKeys
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
    base_priority = models.SmallIntegerField(null=True, editable=False)  # the one before it rose; null: it did not
    status = models.CharField(_("status"), max_length=10, choices=JobStatus.choices, default=JobStatus.NEW)
    arguments = ArgumentsField(_("arguments"), default=dict, encoder=DjangoJSONEncoder)
    # The jobs with the same key share their limits. Empty if the type has none.
    limit_key = models.CharField(max_length=2 * KEY_CHARS + 1, blank=True, default="", editable=False)
    fingerprint = models.CharField(max_length=32, blank=True)  # of the form that cleaned the arguments
    version = models.PositiveSmallIntegerField(default=1, editable=False)  # of its type when they were stored
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
    pause_requested_at = models.DateTimeField(_("pause requested at"), null=True, blank=True)

    progress = models.PositiveSmallIntegerField(_("progress"), null=True, blank=True)  # per cent; null: unknown
    progress_text = models.CharField(_("progress text"), max_length=200, blank=True)
    error = models.TextField(_("error"), blank=True)  # one line; the traceback is with the attempt
    handed_over_at = models.DateTimeField(null=True, editable=False)  # when its backend was last notified
    return_value = models.TextField(null=True, editable=False)  # noqa: DJ001 - JSON; null: nothing was returned
    checkpoint = models.TextField(null=True, editable=False)  # noqa: DJ001 - JSON of its loops; null: it has none
    # See models.job_vitals.
    samples = models.TextField(null=True, editable=False)  # noqa: DJ001 - JSON; null: none was taken
    stack_requested_at = models.DateTimeField(null=True, editable=False)
    last_stack = models.TextField(null=True, editable=False)  # noqa: DJ001 - JSON; null: none was taken
    log_lines = models.PositiveIntegerField(default=0)
    log_bytes = models.PositiveBigIntegerField(default=0)
    log_dropped = models.PositiveIntegerField(default=0)
    results_rows = models.PositiveIntegerField(default=0)
    results_before = models.PositiveIntegerField(default=0)  # rows of earlier attempts
    results_errors = models.PositiveIntegerField(default=0)
    results_columns = models.TextField(null=True, editable=False)  # noqa: DJ001 - JSON; null: columns have no titles

    files_count = models.PositiveIntegerField(default=0)

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
    # See models.dependents.
    has_parents = models.BooleanField(default=False, editable=False)  # it starts, or has started, after other jobs
    waits_for_jobs = models.BooleanField(default=False, editable=False)  # for its parents
    has_dependents = models.BooleanField(default=False, editable=False)  # other jobs wait for it, or have waited
    # Until ``run_after``, unless it runs: see models.question. Null: it has asked nothing.
    waits_for_answer = models.BooleanField(null=True, editable=False)
    # It cannot be queued meanwhile: see models.approval.
    waits_for_approval = models.BooleanField(default=False, editable=False)

    # See models.rehearsal.
    is_dry_run = models.BooleanField(_("rehearsal"), default=False, editable=False)
    rehearsal_report = models.TextField(null=True, editable=False)  # noqa: DJ001 - JSON; null: it was no rehearsal

    # See models.batch.
    batch = models.ForeignKey(
        "qorworker.Batch", models.DO_NOTHING, null=True, blank=True, related_name="+", db_constraint=False,
        db_index=False, verbose_name=_("batch"),
    )  # fmt: skip
    callback_of = models.ForeignKey(
        "qorworker.Batch", models.DO_NOTHING, null=True, blank=True, related_name="+", db_constraint=False,
        db_index=False, editable=False,
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
            ("abort_job", "Can abort, cancel and pause jobs"),
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
            # Without paused jobs, and with those that wait for others at the end: however many there are, no look for
            # the next one that is due passes them.
            PartialIndex(
                name="qorworker_job_due",
                fields=("waits_for_jobs", "run_after"),
                only=Q(status="scheduled") & Q(pause_requested_at__isnull=True),
            ),
            PartialIndex(
                name="qorworker_job_paused",
                fields=("pause_requested_at",),
                only=Q(status="scheduled") & Q(pause_requested_at__isnull=False),
                with_status=False,
            ),
            PartialIndex(name="qorworker_job_lease", fields=("lease_expires_at",), only=Q(status="running")),
            PartialIndex(name="qorworker_job_failed", fields=("id",), only=Q(status="exception")),
            models.Index(name="qorworker_job_name", fields=("name", "-id")),
            PartialIndex(name="qorworker_job_user", fields=("created_by", "-id"), only=Q(created_by__isnull=False)),
            PartialIndex(name="qorworker_job_rerun", fields=("rerun_of",), only=Q(rerun_of__isnull=False)),
            PartialIndex(name="qorworker_job_schedule", fields=("schedule", "-id"), only=Q(schedule__isnull=False)),
            PartialIndex(name="qorworker_job_batch", fields=("batch", "id"), only=Q(batch__isnull=False)),
        )
        constraints = (
            # Nothing queues or starts a job that nobody has approved, however it is written.
            models.CheckConstraint(
                condition=Q(waits_for_approval=False) | ~Q(status__in=["new", "running"]),
                name="qorworker_job_approval",
            ),
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
    def job_type(self) -> JobType[..., Any] | None:
        """The definition in code; None if this process does not have it."""
        return registry.find(self.name)

    @property
    def title(self) -> str:
        """What people see as its name: the title of its type."""
        return str(self.job_type.title) if self.job_type else self.name

    @property
    def argument_fields(self) -> Mapping[str, Field]:
        """The form fields of its arguments by name; empty if this process does not have its type."""
        return self.job_type.arguments.definition.fields if self.job_type is not None else {}

    @property
    def current_arguments(self) -> Mapping[str, Any]:
        """Its arguments as the code of today takes them. This raises ``InvalidArguments`` if ``upgrade`` fails."""
        return self.job_type.upgraded(self.arguments, self.version) if self.job_type is not None else self.arguments

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in FINISHED

    @property
    def waits_for_time(self) -> bool:
        """Whether it starts by itself at some time: it is scheduled, not paused, and waits for nothing else."""
        return self.status == JobStatus.SCHEDULED and not (self.waits_for_jobs or self._waits_for_a_person)

    @property
    def is_asking(self) -> bool:
        """Whether it waits for the answer to a question, and does not run meanwhile."""
        return self.status == JobStatus.SCHEDULED and bool(self.waits_for_answer)

    @property
    def _waits_for_a_person(self) -> bool:
        return self.is_paused or self.is_asking or self.awaits_approval

    @property
    def awaits_approval(self) -> bool:
        """Whether it starts only once somebody has approved it."""
        return self.status == JobStatus.SCHEDULED and self.waits_for_approval

    @property
    def has_questions(self) -> bool:
        """Whether it has asked anything."""
        return self.waits_for_answer is not None

    @property
    def is_aborting(self) -> bool:
        """Whether it runs and its abort was requested."""
        return self.status == JobStatus.RUNNING and self.abort_requested_at is not None

    @property
    def is_paused(self) -> bool:
        """Whether it does not start until it is resumed."""
        return self.status == JobStatus.SCHEDULED and self.pause_requested_at is not None

    @property
    def is_pausing(self) -> bool:
        """Whether it runs, and is to pause at the next item of its loop."""
        return self.status == JobStatus.RUNNING and self.pause_requested_at is not None

    @property
    def will_retry(self) -> bool:
        """Whether it failed and waits for its next attempt."""
        return self.status == JobStatus.SCHEDULED and self.attempt > 0 and not self._waits_for_a_person

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

    rehearsal = property(rehearsals.report_of)

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
    def has_checkpoint(self) -> bool:
        """Whether another attempt can go on where one has ended, or this one is. Lists load only that."""
        loaded = vars(self)
        if "checkpoint" not in loaded and "kept_checkpoint" in loaded:
            return bool(loaded["kept_checkpoint"])
        return self.checkpoint is not None

    @property
    def results_count(self) -> int:
        """How many results rows the last attempt has added."""
        return self.results_rows - self.results_before

    @property
    def results_titles(self) -> list[str]:
        """The titles of the results columns, in the language that is active; empty if they have none."""
        return [titles.shown(title) for title in json.loads(self.results_columns or "[]")]

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

    @property
    def parents(self) -> JobQuerySet:
        """The jobs for which it waits or has waited, the oldest first; without those that were deleted."""
        rows = job_verbs.rows_of(self)
        return parents_of(self, rows) if self.has_parents else rows.none()

    @property
    def dependents(self) -> JobQuerySet:
        """The jobs that wait or have waited for it, the oldest first."""
        rows = job_verbs.rows_of(self)
        return dependents_of(self, rows) if self.has_dependents else rows.none()

    vitals = property(job_vitals.vitals)
    vitals_attempt = property(job_vitals.vitals_attempt)
    stack = property(job_vitals.stack)
    awaits_stack = property(job_vitals.awaits_stack)

    @property
    def row_keys(self) -> RowKeys | None:
        """The keys of the rows for which alone it is; None if it is for all rows."""
        return self.job_type.arguments.row_keys_in(self.arguments) if self.job_type is not None else None

    # Its verbs.

    cancel = job_verbs.cancel
    reschedule = job_verbs.reschedule
    run_now = job_verbs.run_now
    abort = job_verbs.abort
    pause = job_pause.pause
    resume = job_pause.resume
    mark_failed = job_verbs.mark_failed
    answer = job_questions.answer
    answer_cleaned = job_questions.answer_cleaned
    approve = job_approval.approve
    decline = job_approval.decline
    notify = job_messages.notify
    request_stack = job_vitals.request_stack
    retry = job_verbs.retry
    rerun = job_verbs.rerun
    rerun_failed_rows = failed_rows.rerun_failed_rows
    run_for_real = rehearsals.run_for_real
    repeatable_rows = cached_property(failed_rows.repeatable_rows)
    update = updating.update
    update_dumped = updating.update_dumped
    upgrade = updating.upgrade
    was_changed_with = updating.was_changed_with
    wait = job_verbs.wait
    await_finished = job_verbs.await_finished
    send_cancelled = job_verbs.send_cancelled

    acancel = asynchronous(cancel)
    areschedule = asynchronous(reschedule)
    arun_now = asynchronous(run_now)
    aabort = asynchronous(abort)
    apause = asynchronous(pause)
    aresume = asynchronous(resume)
    amark_failed = asynchronous(mark_failed)
    aanswer = asynchronous(answer)
    aapprove = asynchronous(approve)
    adecline = asynchronous(decline)
    anotify = asynchronous(notify)
    arequest_stack = asynchronous(request_stack)
    aretry = asynchronous(retry)
    arerun = asynchronous(rerun)
    arerun_failed_rows = asynchronous(rerun_failed_rows)
    arun_for_real = asynchronous(run_for_real)
    aupdate = asynchronous(update)

    # Which verbs it allows now, by the table that also decides when one is tried.

    @property
    def can_cancel(self) -> bool:
        """Whether ``cancel`` is possible now."""
        return can_move(self.status, JobStatus.CANCELLED)

    @property
    def can_abort(self) -> bool:
        """Whether ``abort`` is possible now: not twice, and only if its queue can."""
        may_be_requested = self.status == JobStatus.RUNNING and self.abort_requested_at is None
        return may_be_requested and backend_of(self.queue_name).supports_abort

    can_pause = property(job_pause.can_pause)
    can_request_stack = property(job_vitals.can_request_stack)

    @property
    def can_resume(self) -> bool:
        """Whether ``resume`` is possible now."""
        return self.is_paused or (self.is_pausing and not self.is_aborting)

    @property
    def can_mark_failed(self) -> bool:
        """Whether ``mark_failed`` is possible now."""
        return self.not_responding

    @property
    def can_reschedule(self) -> bool:
        """Whether ``reschedule`` is possible now."""
        may_wait = self.status in WAITING and not self.is_asking
        return may_wait and backend_of(self.queue_name).supports_schedule

    @property
    def can_update(self) -> bool:
        """Whether ``update`` is possible now."""
        return self.status in WAITING and not self.has_questions

    @property
    def can_run_now(self) -> bool:
        """Whether ``run_now`` is possible now."""
        return self.status == JobStatus.SCHEDULED and not self._waits_for_a_person

    @property
    def can_retry(self) -> bool:
        """Whether ``retry`` is possible now."""
        return self.status in ENDED_BADLY and not self.erased_secrets

    @property
    def can_run_for_real(self) -> bool:
        """Whether it was a rehearsal that has succeeded."""
        return self.is_dry_run and self.status == JobStatus.DONE

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
