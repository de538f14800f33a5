"""The queries of the page of one job: attempts, history, and what is usual for its type. Bounded in rows. Web."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Count, F, FloatField, Q, QuerySet, TextField, Value, When
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast

from qorworker.arguments.files import TOKEN
from qorworker.models.approval import Approval, note_open_approvals, open_approval_of
from qorworker.models.attempt import Attempt, JobFile, LogLine, ResultsRow
from qorworker.models.audit import ALLOWED, AuditEntry
from qorworker.models.dependency import dependents_of, parents_of
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.message import Message
from qorworker.models.question import Question, QuestionState, note_questions
from qorworker.queries import catalogue
from qorworker.queries.catalogue import Usual
from qorworker.queries.cell_search import HasText

QUESTIONS = 100  # on a page
MESSAGES = 50  # in the history
LOG_LINES = 1_000  # log lines on a page
RELATED = 20  # jobs that a page names for each relation
ALIKE_AMONG = 1_000  # newest failed jobs of a type among which the same error is counted
SAMPLE = 100  # results rows from which the number of columns is taken
COLUMNS = 50  # columns by which rows can be sorted
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


def messages(job: Job) -> list[Message]:
    """Return the messages about the job, the oldest first; of very many the newest."""
    if not getattr(job, "has_messages", True):  # read with the job of a page, see ``site.one_job``
        return []
    return list(Message.objects.filter(job=job.pk).order_by("-pk")[:MESSAGES])[::-1]


def last_abort(job: Job) -> AuditEntry | None:
    """Return the request for the abort that is in progress, or was carried out."""
    return AuditEntry.objects.last_done(job.pk, "abort")


def last_pause(job: Job) -> AuditEntry | None:
    """Return the last request to pause it."""
    return AuditEntry.objects.last_done(job.pk, "pause")


def parents(jobs: JobQuerySet, job: Job) -> list[Job]:
    """Return those of *jobs* after which a job starts, the oldest first."""
    if not job.has_parents:
        return []
    return list(parents_of(job, jobs).without_return_value().defer("arguments", "meta")[:RELATED])


def dependents(jobs: JobQuerySet, job: Job) -> list[Job]:
    """Return those of *jobs* that start after a job, the oldest first."""
    if not job.has_dependents:
        return []
    return list(dependents_of(job, jobs).without_return_value().defer("arguments", "meta")[:RELATED])


def reruns(jobs: JobQuerySet, job: Job) -> list[int]:
    """Return the ids of those of *jobs* that repeat *job*, the newest 20."""
    return list(jobs.filter(rerun_of=job.pk).newest_first().values_list("pk", flat=True)[:20])


def usual(name: str, creator: Any = None) -> Usual:
    """Return what is usual for a type's last successful runs, by *creator* if given."""
    return catalogue.usual(Job.objects.all(), name, creator)


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


def questions(job: Job) -> list[Question]:
    """Return what the job has asked: what is open first, then the newest, at most 100."""
    if not job.has_questions:
        return []
    first = Case(When(state=QuestionState.OPEN, then=Value(0)), default=Value(1))
    found = list(Question.objects.of_jobs([job.pk]).order_by(first, "-pk")[:QUESTIONS])
    note_questions(job, found)
    return found


def question(job: Job, number: int) -> Question | None:
    """Return the question of the job with that number; None if there is none."""
    is_number = number < 2**63
    return Question.objects.of_jobs([job.pk]).filter(pk=number).first() if is_number else None


def open_questions(jobs: Collection[Job]) -> dict[int, Question]:
    """Return the open question of each of *jobs* that has one, by the number of the job."""
    ids = [job.pk for job in jobs if job.is_asking]
    rows = Question.objects.of_jobs(ids).filter(state=QuestionState.OPEN).order_by("pk") if ids else ()
    return {row.job_id: row for row in rows}


def approvals(job: Job) -> list[Approval]:
    """Return the requests for approval of the job, the oldest first, at most 100."""
    if job.job_type is not None and job.job_type.approval is None and not job.waits_for_approval:
        return []
    return list(Approval.objects.of_job(job.pk)[:QUESTIONS])


def open_approvals(jobs: Collection[Job]) -> dict[int, Approval]:
    """Return the open request for approval of each of *jobs* that has one, by the number of the job."""
    note_open_approvals(jobs, Job.objects.db)
    found = ((job.pk, open_approval_of(job)) for job in jobs if job.awaits_approval)
    return {pk: approval for pk, approval in found if approval is not None}


# Files and results


def files(job: Job, most: int | None = None) -> list[JobFile]:
    """Return the files that the job has added, at most *most*: those of the last attempt first, each in order."""
    return list(JobFile.objects.of_jobs([job.pk]).order_by("-attempt", "pk")[:most])


def added_file(job: Job, token: str) -> JobFile | None:
    """Return the file of the job whose address ends with *token*; None if there is none."""
    is_token = TOKEN.fullmatch(token) is not None  # no database has to look for anything else, such as a NUL
    return JobFile.objects.of_jobs([job.pk]).with_token(token) if is_token else None


def results(job: Job, errors_only: bool = False) -> QuerySet[Any]:
    """Return the results of the job's last attempt; ``place`` counts them from 1."""
    rows: QuerySet[Any] = ResultsRow.objects.of_last_attempt(job).annotate(place=F("number") - job.results_before)
    return rows.filter(has_error=True) if errors_only else rows


def columns_of(job: Job) -> int:
    """Return how many columns have titles; without titles how many cells the widest of the first rows has."""
    if titles := job.results_titles:
        return len(titles)
    rows = ResultsRow.objects.of_last_attempt(job)
    return max(map(len, rows.values_list("cells", flat=True)[:SAMPLE]), default=0)


def with_text(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """Return the rows that have *text* in the value or the error of a cell."""
    return rows.filter(HasText("cells", text))


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
