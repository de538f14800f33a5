"""What a job leaves behind, in tables of their own because they grow: attempts, log, results, files. All processes.

A row is only written behind a check of the attempt's token.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from qorworker.arguments import files
from qorworker.arguments.row_keys import ROW_KEY_CHARS
from qorworker.models.own import OwnQuerySet
from qorworker.status import Outcome

if TYPE_CHECKING:
    from qorworker.models.job import Job


class AttemptQuerySet(OwnQuerySet["Attempt"]):
    pass


class Attempt(models.Model):
    """One attempt that has ended. The attempt that runs now is described by the row of the job."""

    job = models.ForeignKey(
        "qorworker.Job", models.CASCADE, related_name="attempts", db_constraint=False, db_index=False
    )
    number = models.PositiveSmallIntegerField(_("attempt"))
    worker_id = models.BigIntegerField(null=True, blank=True)
    worker_name = models.CharField(_("worker"), max_length=200, blank=True)
    process_id = models.PositiveIntegerField(_("process id"), null=True, blank=True)
    started_at = models.DateTimeField(_("started at"))
    finished_at = models.DateTimeField(_("finished at"))
    outcome = models.CharField(_("outcome"), max_length=12, choices=Outcome.choices)
    exit_code = models.SmallIntegerField(_("exit code"), null=True, blank=True)
    signal = models.PositiveSmallIntegerField(_("signal"), null=True, blank=True)
    peak_memory = models.BigIntegerField(_("peak memory"), null=True, blank=True)  # bytes
    survivors = models.PositiveSmallIntegerField(_("processes that could not be ended"), default=0)
    error = models.TextField(_("error"), blank=True)  # one line
    traceback = models.TextField(_("traceback"), blank=True)
    exception_class = models.CharField(max_length=200, blank=True)  # module and name
    # Null for an attempt whose number is given to the next one, as after a shutdown: nulls never clash.
    counted = models.BooleanField(null=True, default=True, editable=False)

    objects = AttemptQuerySet.as_manager()

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        default_permissions = ()
        ordering = ("-id",)
        constraints = (
            # Decides, too, whether an attempt has ended in its own transaction or was ended by others.
            models.UniqueConstraint(fields=("job", "number", "counted"), name="qorworker_attempt_job"),
        )

    def __str__(self) -> str:
        return f"#{self.job_id} attempt {self.number}"

    @property
    def duration(self) -> dt.timedelta:
        return self.finished_at - self.started_at


class JobFileQuerySet(OwnQuerySet["JobFile"]):
    def of_jobs(self, ids: Collection[int]) -> JobFileQuerySet:
        return self.filter(job_id__in=ids)

    def places(self) -> list[tuple[str, str]]:
        """Return the alias of the storage and the key in it for each of these files."""
        return list(self.values_list("storage", "key"))

    def all_keys(self) -> Iterator[str]:
        return self.values_list("key", flat=True).iterator(2_000)

    def with_token(self, token: str) -> JobFile | None:
        """Return the one of these files whose address ends with *token*; None if there is none."""
        return self.filter(key__endswith=f"/{token}").first()


class JobFile(models.Model):
    """A file that a job has added. Its content is in a storage."""

    job = models.ForeignKey("qorworker.Job", models.CASCADE, related_name="files", db_constraint=False, db_index=False)
    attempt = models.PositiveSmallIntegerField(_("attempt"))
    at = models.DateTimeField(_("at"))
    name = models.CharField(_("name"), max_length=200)  # for display only
    size = models.BigIntegerField(_("size"))  # bytes
    sha256 = models.CharField(max_length=64)
    content_type = models.CharField(_("content type"), max_length=100, blank=True)
    storage = models.CharField(max_length=200)  # its alias
    key = models.CharField(max_length=100)

    objects = JobFileQuerySet.as_manager()

    class Meta:
        verbose_name = _("file")
        verbose_name_plural = _("files")
        default_permissions = ()
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("job", "key"), name="qorworker_job_file"),)

    def __str__(self) -> str:
        return self.name

    @property
    def token(self) -> str:
        """The end of its address: random, as its name in the storage."""
        return files.token_of(self.key)

    @property
    def kept(self) -> dict[str, Any]:
        """What ``arguments.files`` needs to find its content."""
        names = ("storage", "name", "size", "sha256", "content_type")
        return {files.TAG: self.key, **{name: getattr(self, name) for name in names}}


class LogLineQuerySet(OwnQuerySet["LogLine"]):
    def after(self, job_id: int, number: int) -> LogLineQuerySet:
        """Return the lines that come after line *number*, in order."""
        return self.filter(job_id=job_id, number__gt=number).order_by("number")


class LogLine(models.Model):
    """One line of a job's log; ``number`` counts from 1 over all attempts of the job."""

    job = models.ForeignKey("qorworker.Job", models.CASCADE, related_name="log", db_constraint=False, db_index=False)
    number = models.PositiveIntegerField(_("line"))
    attempt = models.PositiveSmallIntegerField(_("attempt"))
    at = models.DateTimeField(_("at"))
    level = models.PositiveSmallIntegerField(_("level"))  # the numbers of the logging module
    text = models.TextField(_("text"))

    objects = LogLineQuerySet.as_manager()

    class Meta:
        verbose_name = _("log line")
        verbose_name_plural = _("log lines")
        default_permissions = ()
        ordering = ("job", "number")
        constraints = (models.UniqueConstraint(fields=("job", "number"), name="qorworker_log_line"),)

    def __str__(self) -> str:
        return self.text


class ResultsRowQuerySet(OwnQuerySet["ResultsRow"]):
    def of_last_attempt(self, job: Job) -> ResultsRowQuerySet:
        """Return the rows that the last attempt of *job* has added, in order."""
        return self.filter(job=job.pk, number__gt=job.results_before).order_by("number")

    def with_error(self) -> ResultsRowQuerySet:
        return self.filter(has_error=True)

    def with_key(self) -> ResultsRowQuerySet:
        return self.filter(key__isnull=False)

    def keys(self) -> list[str]:
        """Return the keys of those rows that have one."""
        return [key for key in self.with_key().values_list("key", flat=True) if key]


class ResultsRow(models.Model):
    """One row of a job's results table; ``cells`` is a list of ``{"value": …, "error": …}``."""

    job = models.ForeignKey(
        "qorworker.Job", models.CASCADE, related_name="results", db_constraint=False, db_index=False
    )
    number = models.PositiveIntegerField(_("row"))
    attempt = models.PositiveSmallIntegerField(_("attempt"))
    cells = models.JSONField(_("cells"), default=list)
    has_error = models.BooleanField(_("has errors"), default=False)
    key = models.CharField(_("key"), max_length=ROW_KEY_CHARS, null=True, blank=True)  # noqa: DJ001 - null: none

    objects = ResultsRowQuerySet.as_manager()

    class Meta:
        verbose_name = _("results row")
        verbose_name_plural = _("results rows")
        default_permissions = ()
        ordering = ("job", "number")
        constraints = (models.UniqueConstraint(fields=("job", "number"), name="qorworker_results_row"),)

    def __str__(self) -> str:
        return f"#{self.job_id} row {self.number}"
