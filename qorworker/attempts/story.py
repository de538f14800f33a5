"""Stores the story of attempts: log lines, files, results, checkpoints. In the process that owns them."""

from __future__ import annotations

from collections.abc import Sequence

from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.shortening import FILE_COLUMNS, LOG_COLUMNS, by_columns
from qorworker.models import Job, JobFile, LogLine, ResultsRow
from qorworker.models.sql import insert


def store(using: str, attempts: Sequence[RunningAttempt]) -> None:
    """Store what these attempts have reported since the last time, in the transaction that has checked their tokens."""
    if lines := [line for attempt in attempts for line in attempt.log]:
        insert(using, LogLine, LOG_COLUMNS, lines)
    if titles := {attempt.job.id: attempt.columns for attempt in attempts if attempt.columns}:
        Job.objects.using(using).keep_results_columns(titles)
    if files := [file for attempt in attempts for file in attempt.files]:
        insert(using, JobFile, FILE_COLUMNS, files)
        Job.objects.using(using).count_files({file[0] for file in files})
    if rows := [row for attempt in attempts for row in attempt.rows]:
        for columns, some in by_columns(rows):
            insert(using, ResultsRow, columns, some)
    if texts := {attempt.job.id: attempt.checkpoint for attempt in attempts if attempt.checkpoint is not None}:
        Job.objects.using(using).keep_checkpoints(texts)
    if samples := {attempt.job.id: attempt.samples for attempt in attempts if attempt.samples}:
        Job.objects.using(using).keep_samples(samples)
    if stacks := {attempt.job.id: attempt.stack for attempt in attempts if attempt.stack}:
        Job.objects.using(using).keep_stacks(stacks)
