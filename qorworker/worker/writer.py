"""Writes what attempts said, in batches: one transaction for many attempts, each behind its token. Parent process."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import DatabaseError, DataError, InterfaceError, OperationalError, connections, transaction

from qorworker.models import Attempt, Job, LogLine, Outcome, ResultsRow
from qorworker.models.clock import now_sql
from qorworker.models.sql import AttemptUpdate, insert, write_attempts
from qorworker.registry import registry
from qorworker.signals import job_finished, job_progressed
from qorworker.worker.attempt import RunningAttempt

logger = logging.getLogger(__name__)

LOG_COLUMNS = ("job_id", "number", "attempt", "at", "level", "text")
ROW_COLUMNS = ("job_id", "number", "attempt", "cells", "has_error")
ATTEMPT_COLUMNS = (
    "job_id", "number", "worker_id", "worker_name", "process_id", "outcome", "exit_code", "signal", "peak_memory",
    "survivors", "error", "traceback",
)  # fmt: skip
HANDED_BACK = ""  # the outcome of an attempt that never was


@dataclass(slots=True)
class End:
    """An attempt that has ended, waiting to be written."""

    attempt: RunningAttempt
    update: AttemptUpdate
    outcome: str
    traceback: str = ""
    duration: float = 0.0  # seconds
    exit_status: int | None = None
    peak_memory: int | None = None
    survivors: int = 0
    committed: bool = False


class Writer:
    """Collects ends and signs of progress; ``flush`` writes them all or none."""

    def __init__(self, using: str, worker_id: int | None, worker_name: str) -> None:
        self.using = using
        self.worker_id = worker_id
        self.worker_name = worker_name
        self.ends: list[End] = []
        self.buffered = 0  # bytes in attempts that could not be written yet

    def end(self, end: End) -> None:
        self.ends.append(end)

    def hand_back(self, attempt: RunningAttempt) -> None:
        """Put a job whose handler was not called back into the queue, as if it had never been taken."""
        update = attempt.update()
        update.status, update.uncounted = "new", True
        self.ends.append(End(attempt, update, HANDED_BACK))

    def flush(self, running: Iterable[RunningAttempt]) -> list[RunningAttempt]:
        """Write everything that is new; the attempts that turned out to be no longer ours.

        On a database error nothing is forgotten: the next flush writes it again, and what the failed one did
        commit is not doubled.
        """
        # Of a job twice, the end whose write nobody confirmed comes first, the rest in the next flush.
        ends = list({end.attempt.job.id: end for end in reversed(self.ends)}.values())[::-1]
        ending = {end.attempt.job.id for end in ends}
        progressed = [attempt for attempt in running if attempt.changed and attempt.job.id not in ending]
        if not ends and not progressed:
            return []
        updates = [end.update for end in ends if not end.committed] + [attempt.update() for attempt in progressed]
        try:
            lost = self._write(ends, progressed, updates)
        except (OperationalError, InterfaceError):
            for attempt in progressed:
                attempt.changed = True
            raise
        except DatabaseError:
            logger.exception("A batch could not be written; writing its attempts one by one.")
            lost = self._write_singly(ends, progressed)
        written = set(map(id, ends))
        self.ends = [end for end in self.ends if id(end) not in written]
        self._tell(ends, progressed)
        return lost

    def _write(
        self, ends: list[End], progressed: list[RunningAttempt], updates: list[AttemptUpdate]
    ) -> list[RunningAttempt]:
        stories = [*(end.attempt for end in ends), *progressed]
        # One that goes back to the queue ends nothing; its number is given to the next attempt.
        told = [*(end.attempt for end in ends if not end.update.uncounted), *progressed]
        with transaction.atomic(using=self.using):
            ours = write_attempts(self.using, updates)
            by_themselves = self.ended_themselves([each for each in told if each.job.id not in ours])
            for end in ends:
                if end.attempt.job.id in by_themselves and not end.update.uncounted:
                    self._note_done(end)
                if end.committed and self._complete(end):
                    ours.add(end.attempt.job.id)
            kept = [attempt for attempt in stories if attempt.job.id in ours]
            self._insert_stories(kept)
            self._insert_attempts([end for end in ends if end.outcome and end.attempt.job.id in ours])
        waiting = by_themselves - {end.attempt.job.id for end in ends}
        for attempt in stories:
            if attempt.job.id in waiting:
                continue  # its story is written with its end, of which it has yet to tell
            attempt.log, attempt.rows, attempt.buffered = [], [], 0
            attempt.lost = attempt.job.id not in ours
        return [attempt for attempt in progressed if attempt.lost]

    def _write_singly(self, ends: list[End], progressed: list[RunningAttempt]) -> list[RunningAttempt]:
        """One attempt's story must not keep the others, nor its own end, from being written."""
        lost: list[RunningAttempt] = []
        for end, attempt in [*((end, None) for end in ends), *((None, attempt) for attempt in progressed)]:
            try:
                lost += self._write_one(end, attempt)
            except DataError as error:
                story = end.attempt if end else attempt
                assert story is not None
                logger.error("The last lines of job %s cannot be stored (%s); they are dropped.", story.job.id, error)
                story.log, story.rows, story.buffered = [], [], 0
                lost += self._write_one(end, attempt)
        return lost

    def _write_one(self, end: End | None, attempt: RunningAttempt | None) -> list[RunningAttempt]:
        if end is not None:
            return self._write([end], [], [] if end.committed else [end.update])
        assert attempt is not None
        return self._write([], [attempt], [attempt.update()])

    def ended_themselves(self, attempts: Sequence[RunningAttempt]) -> set[int]:
        """Which of these, no longer held, have written their end in their own transaction. Ids of the jobs."""
        numbers = {each.job.id: each.job.attempt for each in attempts if is_atomic(each.job.name)}
        return Job.objects.using(self.using).done_at(numbers) if numbers else set()

    def _note_done(self, end: End) -> None:
        """Whatever its process came to afterwards: what counts is what it has committed."""
        end.committed, end.outcome = True, Outcome.DONE
        end.update.status, end.update.error, end.traceback = "done", "", ""

    def _complete(self, end: End) -> int:
        update = end.update
        return Job.objects.using(self.using).complete_story(
            update.id,
            end.attempt.job.attempt,
            process_id=update.process_id,
            crashes=0,
            progress=update.progress,
            progress_text=update.progress_text or "",
            log_lines=update.log_lines,
            log_bytes=update.log_bytes,
            log_dropped=update.log_dropped,
            results_rows=update.results_rows,
            results_errors=update.results_errors,
        )

    def _written_before(self, end: End) -> bool:
        """Whether a flush whose answer was lost had written this end after all."""
        job = end.attempt.job
        return Job.objects.using(self.using).ended_as(job.id, job.attempt, end.update.status).exists()

    def _insert_stories(self, attempts: list[RunningAttempt]) -> None:
        if lines := [line for attempt in attempts for line in attempt.log]:
            insert(self.using, LogLine, LOG_COLUMNS, lines)
        if rows := [row for attempt in attempts for row in attempt.rows]:
            insert(self.using, ResultsRow, ROW_COLUMNS, rows)

    def _insert_attempts(self, ends: list[End]) -> None:
        if not ends:
            return
        connection = connections[self.using]
        columns = (
            *ATTEMPT_COLUMNS,
            f"started_at={now_sql(connection, '%s')}",
            f"finished_at={now_sql(connection)}",
        )
        insert(self.using, Attempt, columns, [self._attempt_row(end) for end in ends])

    def _attempt_row(self, end: End) -> tuple[object, ...]:
        job, status = end.attempt.job, end.exit_status
        return (
            job.id,
            job.attempt,
            self.worker_id,
            self.worker_name,
            end.attempt.process_id,
            end.outcome,
            status if status is not None and status >= 0 else None,
            -status if status is not None and status < 0 else None,
            end.peak_memory,
            end.survivors,
            end.update.error,
            end.attempt.masked(end.traceback),
            -end.duration,
        )

    def _tell(self, ends: list[End], progressed: list[RunningAttempt]) -> None:
        for end in ends:
            if not end.outcome:
                continue
            if end.attempt.lost and not self._written_before(end):
                logger.warning(
                    "Job %s was taken over while this worker ran it; its end (%s) was not written.",
                    end.attempt.job.id,
                    end.outcome,
                )
            else:
                job_finished.send_robust(
                    Job,
                    job_id=end.attempt.job.id,
                    name=end.attempt.job.name,
                    status=end.update.status,
                    error=end.update.error,
                )
        if job_progressed.has_listeners(Job):
            for attempt in progressed:
                job_progressed.send_robust(
                    Job,
                    job_id=attempt.job.id,
                    name=attempt.job.name,
                    progress=attempt.progress,
                    text=attempt.progress_text or "",
                )


def is_atomic(name: str) -> bool:
    """Whether jobs of this type end in their own transaction."""
    job_type = registry.find(name)
    return job_type is not None and job_type.atomic
