"""Writes what attempts said, in batches: one transaction for many attempts, each behind its token. Parent process."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from django.db import DatabaseError, DataError, Error, InterfaceError, OperationalError, connections, transaction

from qorworker.models import Attempt, Job, LogLine, Outcome, ResultsRow
from qorworker.models.job import wake
from qorworker.models.sql import AttemptUpdate, Claim, Claimed, Note, exchange, insert, note_columns
from qorworker.records import clean_text
from qorworker.registry import registry
from qorworker.signals import job_finished, job_progressed
from qorworker.worker.attempt import RunningAttempt

logger = logging.getLogger(__name__)

LOG_COLUMNS = ("job_id", "number", "attempt", "at", "level", "text")
ROW_COLUMNS = ("job_id", "number", "attempt", "cells", "has_error")
EXCEPTION_CLASS_CHARS = 200
HANDED_BACK = ""  # the outcome of an attempt that never was


@dataclass(slots=True)
class End:
    """An attempt that has ended, waiting to be written."""

    attempt: RunningAttempt
    update: AttemptUpdate
    outcome: str
    traceback: str = ""
    exception_class: str = ""
    duration: float = 0.0  # seconds
    exit_status: int | None = None
    peak_memory: int | None = None
    survivors: int = 0
    committed: bool = False


class Writer:
    """Collects ends and signs of progress, and writes them: all or none, but for what somebody else has locked."""

    def __init__(self, using: str, worker_id: int | None, worker_name: str, *, after_commit: bool = False) -> None:
        self.using = using
        self.worker_id = worker_id
        self.worker_name = worker_name
        self.after_commit = after_commit  # signals wait until the transaction that is open has committed
        self.ends: list[End] = []
        self.places_freed = False  # jobs of limited types have ended since somebody looked here
        self.held_up: list[End] = []  # somebody else has their rows locked; the next ``flush`` tries again

    def end(self, end: End) -> None:
        self.ends.append(end)

    def hand_back(self, attempt: RunningAttempt) -> None:
        """Put a job whose handler was not called back into the queue, as if it had never been taken."""
        update = attempt.update()
        update.status, update.uncounted = "new", True
        self.ends.append(End(attempt, update, HANDED_BACK))

    def flush(self, running: Iterable[RunningAttempt]) -> list[RunningAttempt]:
        """Write everything that is new; the attempts that turned out to be no longer ours."""
        self.ends, self.held_up = self.held_up + self.ends, []
        return self.write_and_claim(None, running)[0]

    def write_and_claim(
        self, wanted: Claim | None, running: Iterable[RunningAttempt] = ()
    ) -> tuple[list[RunningAttempt], list[Claimed] | None]:
        """Write what is new and claim the jobs that are wanted, together.

        The attempts that turned out to be no longer ours; and the jobs, None if they were not asked for after all.
        On a database error nothing is forgotten: the next time writes it again, and what the failed one did
        commit is not doubled.
        """
        # Of a job twice, the end whose write nobody confirmed comes first, the rest the next time.
        ends = list({end.attempt.job.id: end for end in reversed(self.ends)}.values())[::-1]
        ending = {end.attempt.job.id for end in ends}
        progressed = [attempt for attempt in running if attempt.changed and attempt.job.id not in ending]
        if not ends and not progressed and wanted is None:
            return [], None
        try:
            busy, claimed = self._write_somehow(ends, progressed, wanted)
        except Error:
            for attempt in progressed:
                attempt.changed = True
            raise
        tried = set(map(id, ends))
        self.ends = [end for end in self.ends if id(end) not in tried]
        self.held_up += [end for end in ends if end.attempt.job.id in busy]
        tell = partial(self._tell, [end for end in ends if end.attempt.job.id not in busy], progressed)
        if self.after_commit:
            transaction.on_commit(tell, using=self.using, robust=True)
        else:
            tell()
        if any(end.attempt.job.limit_key for end in ends):
            self.places_freed = True
            wake(self.using)
        return [attempt for attempt in progressed if attempt.lost], claimed

    def _write_somehow(
        self, ends: list[End], progressed: list[RunningAttempt], wanted: Claim | None
    ) -> tuple[set[int], list[Claimed] | None]:
        """Together if the database takes all of it, else one by one."""
        try:
            return self._write(ends, progressed, wanted)
        except (OperationalError, InterfaceError):
            raise
        except DatabaseError:
            logger.exception("A batch could not be written; writing its attempts one by one.")
            return self._write_singly(ends, progressed), None

    def _write(
        self, ends: list[End], progressed: list[RunningAttempt], wanted: Claim | None = None
    ) -> tuple[set[int], list[Claimed] | None]:
        """Ids of the jobs whose rows somebody else has locked, and the jobs that were taken."""
        stories = [*(end.attempt for end in ends), *progressed]
        open_ends = [end for end in ends if not end.committed]
        updates = [*(end.update for end in open_ends), *(attempt.update() for attempt in progressed)]
        notes = [self._note(end) for end in open_ends if end.outcome]
        alone = not any(attempt.log or attempt.rows or attempt.returned for attempt in stories)
        with nullcontext() if alone else transaction.atomic(using=self.using):
            result = exchange(self.using, updates, notes, wanted)
            ours, busy = result.ours, result.busy
            # One that goes back to the queue ends nothing; its number is given to the next attempt.
            told = [*(end.attempt for end in ends if not end.update.uncounted), *progressed]
            by_themselves = self.ended_themselves([each for each in told if each.job.id not in ours | busy])
            for end in ends:
                if end.attempt.job.id in by_themselves and not end.update.uncounted:
                    self._note_done(end)
            if committed := [end for end in ends if end.committed]:
                self._complete(committed, ours, busy)
            self._insert_stories([attempt for attempt in stories if attempt.job.id in ours])
            for end in ends:
                if end.attempt.returned and end.update.status == "done" and end.attempt.job.id in ours:
                    Job.objects.using(self.using).keep_return_value(end.update.id, end.attempt.result)
        waiting = by_themselves - {end.attempt.job.id for end in ends}
        for attempt in stories:
            if attempt.job.id in busy:
                attempt.changed = True
            elif attempt.job.id not in waiting:  # that has yet to tell of its end, and its story is written then
                attempt.log, attempt.rows, attempt.buffered = [], [], 0
                attempt.lost = attempt.job.id not in ours
        return busy, result.claimed if wanted else None

    def _write_singly(self, ends: list[End], progressed: list[RunningAttempt]) -> set[int]:
        """One attempt's story must not keep the others, nor its own end, from being written."""
        busy: set[int] = set()
        for end, attempt in [*((end, end.attempt) for end in ends), *((None, attempt) for attempt in progressed)]:
            for drop in (None, _drop_story, _drop_texts):
                if drop is not None:
                    drop(attempt, end)
                try:
                    busy |= self._write([end] if end else [], [] if end else [attempt])[0]
                    break
                except DataError as error:
                    logger.error("What job %s said cannot be stored (%s); it is shortened.", attempt.job.id, error)
            else:
                logger.error("The state of job %s cannot be stored at all.", attempt.job.id)
        return busy

    def ended_themselves(self, attempts: Sequence[RunningAttempt]) -> set[int]:
        """Which of these, no longer held, have written their end in their own transaction. Ids of the jobs."""
        numbers = {each.job.id: each.job.attempt for each in attempts if is_atomic(each.job.name)}
        return Job.objects.using(self.using).done_at(numbers) if numbers else set()

    def _note_done(self, end: End) -> None:
        """Whatever its process came to afterwards: what counts is what it has committed."""
        end.committed, end.outcome = True, Outcome.DONE
        end.update.status, end.update.error, end.traceback = "done", "", ""

    def _complete(self, ends: list[End], ours: set[int], busy: set[int]) -> None:
        """Add to ends that were committed by the attempts themselves what only the parent knows."""
        jobs = Job.objects.using(self.using)
        with transaction.atomic(using=self.using, savepoint=False):
            rows = jobs.filter(pk__in=[end.attempt.job.id for end in ends])
            free = set(rows.unlocked().values_list("pk", flat=True))
            busy.update(set(rows.values_list("pk", flat=True)) - free)
            done = [end for end in ends if end.attempt.job.id in free and self._completed(end)]
            ours.update(end.attempt.job.id for end in done)
            insert(self.using, Attempt, note_columns(connections[self.using]), [self._note(end) for end in done])

    def _completed(self, end: End) -> int:
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

    def _note(self, end: End) -> Note:
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
            clean_text(end.exception_class, EXCEPTION_CLASS_CHARS),
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
                    attempt=end.attempt.job.attempt,
                    status=end.update.status,
                    outcome=str(end.outcome),
                    error=end.update.error,
                    duration=end.duration,
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


def _drop_story(attempt: RunningAttempt, end: End | None) -> None:
    attempt.log, attempt.rows, attempt.buffered = [], [], 0


def _drop_texts(attempt: RunningAttempt, end: End | None) -> None:
    attempt.progress = attempt.progress_text = None
    if end is not None:
        end.update.progress = end.update.progress_text = None
        end.update.error, end.traceback = "What it ended with could not be stored.", ""


def is_atomic(name: str) -> bool:
    """Whether jobs of this type end in their own transaction."""
    job_type = registry.find(name)
    return job_type is not None and job_type.atomic
