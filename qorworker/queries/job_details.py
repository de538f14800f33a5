"""The queries of the page of one job: attempts, history, and what is usual for its type. Bounded in rows. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Count, F, FloatField, Q, QuerySet, TextField, Value, When
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast

from qorworker.models.attempt import Attempt, LogLine, ResultsRow
from qorworker.models.audit import ALLOWED, AuditEntry
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.queries.catalogue import usual_durations

LOG_LINES = 1_000  # log lines on a page
ALIKE_AMONG = 1_000  # newest failed jobs of a type among which the same error is counted
SAMPLE = 100  # results rows from which the number of columns is taken
COLUMNS = 50  # columns that can be searched
IS_NUMBER = r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$"


def attempts(job: Job) -> list[Attempt]:
    """Return the attempts that have ended, the newest first, at most 100. Only the last one has its traceback."""
    last = Case(When(number=job.attempt, then=F("traceback")), default=Value(""), output_field=TextField())
    rows = Attempt.objects.filter(job=job.pk).defer("traceback").annotate(last_traceback=last)
    return list(rows.order_by("-number", "-id")[:100])


def history(job: Job) -> list[AuditEntry]:
    """Return what users and code did with the job, the oldest first; of a very long history the newest entries.

    Refused requests do not displace allowed ones.
    """
    return AuditEntry.objects.of_job(job.pk).reverse().newest_apart(ALLOWED)[::-1]


def last_abort(job: Job) -> AuditEntry | None:
    """Return the request for the abort that is in progress, or was carried out."""
    return AuditEntry.objects.of_job(job.pk).filter(action="abort", outcome="ok").last()


def reruns(jobs: JobQuerySet, job: Job) -> list[int]:
    """Return the ids of those of *jobs* that repeat *job*, the newest 20."""
    return list(jobs.filter(rerun_of=job.pk).newest_first().values_list("pk", flat=True)[:20])


def usual_duration(name: str, creator: Any = None) -> dt.timedelta | None:
    """Return the median duration of a type's last successful runs, by *creator* if given; None without such a run."""
    return usual_durations(Job.objects.all(), [name], creator).get(name)


def alike_errors(jobs: JobQuerySet, name: str, kind: str, since: dt.datetime) -> int:
    """Return how many of *jobs* failed with an error of this class since *since*, among the newest failed of a type."""
    same = (Q(error=kind) | Q(error__startswith=f"{kind}:")) & Q(finished_at__gte=since)
    newest = jobs.failed().for_type(name).newest_first()[:ALIKE_AMONG]
    return int(newest.aggregate(count=Count("pk", filter=same))["count"])


# The log


@dataclass(frozen=True)
class LogFilter:
    """Which log lines to show: from this level on, with this text, of this attempt."""

    level: int = 0
    find: str = ""
    attempt: int = 0

    def of(self, job: Job) -> QuerySet[LogLine]:
        lines = LogLine.objects.filter(job=job.pk)
        if self.level:
            lines = lines.filter(level__gte=self.level)
        if self.find:
            lines = lines.filter(text__icontains=self.find)
        return lines.filter(attempt=self.attempt) if self.attempt else lines


def log_tail(job: Job, chosen: LogFilter, before: int | None = None) -> list[LogLine]:
    """Return the last lines of the log, or those before a line, the oldest first."""
    lines = chosen.of(job) if before is None else chosen.of(job).filter(number__lt=before)
    return list(reversed(lines.order_by("-number")[:LOG_LINES]))


def log_after(job: Job, chosen: LogFilter, after: int) -> list[LogLine]:
    """Return the lines after a line; of very many the last ones."""
    return list(reversed(chosen.of(job).filter(number__gt=after).order_by("-number")[:LOG_LINES]))


def whole_log(job: Job) -> Iterator[LogLine]:
    return LogLine.objects.filter(job=job.pk).order_by("number").iterator(chunk_size=2_000)


# The results


def results(job: Job, errors_only: bool = False) -> QuerySet[Any]:
    """Return the results of the job's last attempt; ``place`` counts them from 1."""
    rows: QuerySet[Any] = ResultsRow.objects.filter(job=job.pk, number__gt=job.results_before)
    rows = rows.annotate(place=F("number") - job.results_before).order_by("number")
    return rows.filter(has_error=True) if errors_only else rows


def columns_of(job: Job) -> int:
    """Return how many cells the widest of the first rows has."""
    rows = ResultsRow.objects.filter(job=job.pk, number__gt=job.results_before).order_by("number")
    return max(map(len, rows.values_list("cells", flat=True)[:SAMPLE]), default=0)


def with_text(rows: QuerySet[Any], text: str, columns: int) -> QuerySet[Any]:
    """Return the rows that have *text* in the value or the error of a cell."""
    rule = Q()
    for column in range(min(columns, COLUMNS)):
        for key in ("value", "error"):
            name = f"{key}_{column}"
            rows = rows.alias(**{name: Cast(_cell(column, key), TextField())})
            rule |= Q(**{f"{name}__icontains": text})
    return rows.filter(rule) if rule else rows.none()


def by_column(rows: QuerySet[Any], column: int, descending: bool = False) -> QuerySet[Any]:
    """Order rows by a column: values that read as numbers first, by number, then texts."""
    text = Cast(_cell(column, "value"), TextField())
    number = Case(
        When(sorted_text__regex=IS_NUMBER, then=Cast(F("sorted_text"), FloatField())), output_field=FloatField()
    )
    rows = rows.alias(sorted_text=text).alias(sorted_number=number)
    keys = [F("sorted_number"), F("sorted_text")]
    if descending:
        return rows.order_by(*(key.desc(nulls_last=True) for key in keys), "number")
    return rows.order_by(*(key.asc(nulls_last=True) for key in keys), "number")


def _cell(column: int, key: str) -> KeyTextTransform:
    return KeyTextTransform(key, KeyTransform(str(column), "cells"))


def errors_of(cells: list[dict[str, Any]]) -> str:
    """Return the errors of all cells of a results row as one text."""
    return "; ".join(str(cell["error"]) for cell in cells if cell.get("error"))
