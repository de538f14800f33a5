"""Writes progress and ends of attempts, in batches, each behind its token. In the process that owns them."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial

from django.db import Error, OperationalError, connections, transaction

from qorworker.attempts import story
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.batch_ends import BatchEnds
from qorworker.attempts.reports import report
from qorworker.attempts.separation import Piece, Separation, has_failed_often
from qorworker.definitions.registry import limits_of, registry
from qorworker.execution.messages import EXCEPTION_CLASS_CHARS, clean_text
from qorworker.models import Attempt, Job, Outcome
from qorworker.models.dependents import SECONDS, resolve
from qorworker.models.locks import short_waits, waited_in_vain
from qorworker.models.refusals import FAILURES, describe, is_refusal
from qorworker.models.sql import (
    AttemptNote,
    AttemptUpdate,
    Claim,
    Claimed,
    PlainEnd,
    exchange,
    insert,
    note_columns,
)
from qorworker.models.waking import wake
from qorworker.status import FINISHED
from qorworker.system.processes import monotonic

logger = logging.getLogger(__name__)

USUAL_BATCH = 1000  # attempts; above this the limit of a batch is lifted again
SETTLING = 2.0  # seconds of one write for doubtful ends: a worker must renew its leases in time
RETURNED = 100  # jobs that were returned and are remembered for the next claim
HANDED_BACK = ""  # the outcome of an attempt whose handler was not called


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
    given_up: bool = False  # the database takes it in no form
    foreign: bool = False  # ended for a worker that is gone
    is_plain: bool = False  # done, and there is nothing more to store than a ``PlainEnd`` has

    @property
    def is_doubtful(self) -> bool:
        """Whether the attempt may have ended in its own transaction without reporting it."""
        if self.is_plain or self.committed or not self.outcome:
            return False
        return self.foreign or is_atomic(self.attempt.job.name)

    def mark_committed(self) -> None:
        """Make it the end that its transaction committed, whatever its process came to afterwards."""
        self.committed, self.outcome = True, Outcome.DONE
        self.update.status, self.update.error, self.traceback = "done", "", ""
        self.update.delay, self.update.uncounted, self.update.crashes = None, False, 0
        if self.update.progress is not None:
            self.update.progress = 100

    def fail(self, error: str) -> None:
        """Make it a final failure with this error."""
        self.update.status, self.update.delay, self.update.uncounted = "exception", None, False
        self.update.error, self.outcome, self.is_plain = error, Outcome.FAILED, False

    @property
    def has_more(self) -> bool:
        """Whether there is more to store in the row than its end."""
        return self.has_result or bool(self.attempt.rehearsal)

    @property
    def has_result(self) -> bool:
        """Whether to store what the handler returned, also with errors in rows."""
        done = self.update.status == "done" and bool(self.attempt.returned)
        return done or self.outcome == Outcome.ROW_ERRORS


class Writer:
    """Collects ends and progress, and writes them in one transaction, apart from locked rows."""

    def __init__(self, using: str, worker_id: int | None, worker_name: str, *, after_commit: bool = False) -> None:
        self.using = using
        self.worker_id = worker_id
        self.worker_name = worker_name
        self.after_commit = after_commit  # send signals only once the open transaction has committed
        self.ends: list[End] = []
        self.has_resolved = False  # whether jobs that wait for others were looked at since this was last reset
        self.batches = BatchEnds(using, after_commit=after_commit)
        self.limits_freed = False  # whether jobs of limited types ended since this was last reset
        self.returned: deque[Claimed] = deque(maxlen=RETURNED)  # jobs that wait again since the last claim
        self.next_retry = math.inf  # when the first retry of the attempts written here is due
        self.deferred: list[End] = []  # locked or refused; the next ``flush`` tries again
        self.batch_limit: int | None = None  # attempts in one batch, set after failures

    def end(self, end: End) -> None:
        """Queue an end for the next write."""
        self.ends.append(end)

    def hand_back(self, attempt: RunningAttempt) -> None:
        """Put a job whose handler was not called back into the queue, as if it had never been claimed."""
        update = attempt.update()
        update.status, update.uncounted, update.unstarted = "new", True, True
        self.ends.append(End(attempt, update, HANDED_BACK))

    def flush(self, running: Iterable[RunningAttempt], most: int | None = None) -> list[RunningAttempt]:
        """Write everything new, and return the attempts that turned out to be lost.

        :param most: how many ends to write; those that were deferred come first.
        """
        self.ends, self.deferred = self.deferred + self.ends, []
        return self.write_and_claim(None, running, most)[0]

    def write_and_claim(
        self, claim: Claim | None, running: Iterable[RunningAttempt] = (), most: int | None = None
    ) -> tuple[list[RunningAttempt], list[Claimed] | None]:
        """Write everything new, but *most* of the ends, and make a claim, together.

        Returns the attempts that turned out to be lost, and the claimed jobs: None if no claim was made after all.
        After a database error the next call writes all of it again, without doubling what was committed.
        """
        ends, progressed = self._next(running, most)
        if not ends and not progressed and claim is None:
            return [], None
        try:
            locked, claimed = self._write_or_separate(ends, progressed, claim)
        except FAILURES:
            for attempt in progressed:
                attempt.changed = True
            self._shrink_batch([*(end.attempt for end in ends), *progressed])
            raise
        self.batch_limit = None if self.batch_limit is None or self.batch_limit > USUAL_BATCH else self.batch_limit * 2
        tried = set(map(id, ends))
        self.ends = [end for end in self.ends if id(end) not in tried]
        self.deferred += [end for end in ends if end.attempt.job.id in locked]
        written = [end for end in ends if end.attempt.job.id not in locked and not end.given_up]
        send_signals = partial(report, self.using, written, progressed)
        if self.after_commit:
            transaction.on_commit(send_signals, using=self.using, robust=True)
        else:
            send_signals()
        self._resolve_dependents(written)
        self.has_resolved |= self.batches.settle(written, claimed or ())
        self.returned += (end.attempt.job for end in written if end.update.status == "new")
        delays = [end.update.delay for end in written if end.update.delay is not None]
        self.next_retry = min(self.next_retry, monotonic() + min(delays, default=math.inf))
        if any(end.attempt.job.limit_key for end in ends):
            self.limits_freed = True
            with suppress(Error):  # only a hint; the jobs claimed by this write must not get lost over it
                wake(self.using)
        return [attempt for attempt in progressed if attempt.lost], claimed

    def _next(self, running: Iterable[RunningAttempt], most: int | None) -> tuple[list[End], list[RunningAttempt]]:
        """Return what to write now: everything, or after failures a part of it, with the fewest failures first."""
        # A job may have two ends: the one whose write was not confirmed comes first, the other one next time.
        ends = list({end.attempt.job.id: end for end in reversed(self.ends)}.values())[::-1]
        ending = {end.attempt.job.id for end in ends}
        progressed = [attempt for attempt in running if attempt.changed and attempt.job.id not in ending]
        if self.batch_limit is None:
            return ends[:most], progressed
        ends.sort(key=lambda end: end.attempt.failures)
        progressed.sort(key=lambda attempt: attempt.failures)
        ends = ends[: self.batch_limit]
        return ends, progressed[: self.batch_limit - len(ends)]

    def _shrink_batch(self, failed: Sequence[RunningAttempt]) -> None:
        """Halve the next batch after a passing failure: its size may be the reason, or a single attempt."""
        if len(failed) == 1:
            failed[0].failures += 1
        if failed:
            self.batch_limit = max(1, len(failed) // 2)

    def _write_or_separate(
        self, ends: list[End], progressed: list[RunningAttempt], claim: Claim | None
    ) -> tuple[set[int], list[Claimed] | None]:
        """Write all of it together. If the database refuses something, find and shorten that."""
        try:
            return self._write(ends, progressed, claim)
        except FAILURES as error:
            pieces: list[Piece] = [*((end, end.attempt) for end in ends), *((None, attempt) for attempt in progressed)]
            # A claim without an answer may have been carried out: the caller must get the error.
            often = claim is None and has_failed_often(pieces)
            if not pieces or not (is_refusal(error) or often):
                raise
            logger.warning("The database refused a batch (%s); looking for the culprit.", describe(error))
            return Separation(self.using, self._write_pieces).write(pieces, error), None

    def _write_pieces(self, pieces: Sequence[Piece]) -> set[int]:
        ends = [end for end, _ in pieces if end is not None]
        return self._write(ends, [attempt for end, attempt in pieces if end is None])[0]

    def _write(
        self, ends: list[End], progressed: list[RunningAttempt], claim: Claim | None = None
    ) -> tuple[set[int], list[Claimed] | None]:
        """Write a batch. Return the ids of jobs whose rows are locked, and the claimed jobs."""
        attempts = [*(end.attempt for end in ends), *progressed]
        doubtful = [end for end in ends if end.is_doubtful]
        has_more = any(
            each.log or each.rows or each.columns or each.files or each.returned or each.has_secrets
            for each in attempts
        )
        has_more = has_more or any(
            each.checkpoint is not None or each.samples is not None or each.stack is not None for each in attempts
        )
        # Whatever follows the exchange has to be in its transaction, or the claimed jobs get lost if that fails.
        has_more = has_more or any(end.committed or end.has_more for end in ends if not end.is_plain)
        handed_back = [end.attempt.job for end in ends if end.outcome == HANDED_BACK]
        unstarted = {job.id: job.token for job in handed_back if job.limit_key and limits_of(job.limit_key).rate}
        has_more = has_more or bool(unstarted)
        alone = not (doubtful or has_more) and not connections[self.using].in_atomic_block
        with nullcontext() if alone else transaction.atomic(using=self.using):
            undecided = self._settle_doubtful(doubtful) if doubtful else set()
            if unstarted:
                Job.objects.using(self.using).forget_starts(unstarted)
            plain = [self._plain(end) for end in ends if end.is_plain]
            updates = [end.update for end in ends if not end.is_plain and end.attempt.job.id not in undecided]
            updates += [attempt.update() for attempt in progressed]
            notes = [self._note(end) for end in ends if end.outcome and not end.is_plain and end not in doubtful]
            result = exchange(self.using, updates, notes, claim, plain)
            owned, locked = result.ours, result.busy | undecided
            for end in ends:
                end.attempt.job.has_dependents |= end.attempt.job.id in result.parents
            self._complete([end for end in ends if end.committed and end.attempt.job.id in owned])
            story.store(self.using, [attempt for attempt in attempts if attempt.job.id in owned])
            self._erase_secrets([end for end in ends if end.attempt.job.id in owned])
            returned = {end.update.id: end.attempt.returned or "null" for end in ends if end.has_result}
            Job.objects.using(self.using).keep_return_values({pk: returned[pk] for pk in returned if pk in owned})
            if reports := {end.update.id: end.attempt.rehearsal for end in ends if end.attempt.rehearsal}:
                Job.objects.using(self.using).keep_rehearsals({pk: reports[pk] for pk in reports if pk in owned})
        for attempt in attempts:
            if attempt.job.id in locked:
                attempt.changed = True
            else:
                attempt.forget_reports()
                attempt.checkpoint = None
                attempt.lost, attempt.failures = attempt.job.id not in owned, 0
        return locked, result.claimed if claim else None

    def _settle_doubtful(self, ends: list[End]) -> set[int]:
        """Find out whether these attempts ended in their own transaction. Return the ids of locked jobs.

        It inserts the note of each attempt first. Such a transaction writes the same note last, so one of both fails.
        """
        locked, end_at = set[int](), monotonic() + SETTLING
        attempts = Attempt.objects.using(self.using)
        for end in ends:
            if end is not ends[0] and monotonic() >= end_at:
                locked.add(end.attempt.job.id)  # the next write looks at it
                continue
            job, note = end.attempt.job, self._note(end, counted=True)
            rows = Job.objects.using(self.using).held({job.id: job.token})
            if not rows.unlocked().exists():
                # Locked, or taken away. A lock may be gone by the exchange, which would then write an undecided end.
                locked |= {job.id} if rows.exists() else set()
                continue
            try:
                with transaction.atomic(using=self.using), short_waits(self.using):
                    insert(self.using, Attempt, note_columns(connections[self.using]), [note])
            except OperationalError as error:
                if not waited_in_vain(error):
                    raise
                locked.add(job.id)  # its transaction is still open
                continue
            notes = attempts.filter(job_id=job.id, number=job.attempt, counted=True)
            # With a lock, so that a transaction that sees an older state also sees what was just committed.
            if notes.filter(outcome=Outcome.DONE).select_for_update().exists():
                end.mark_committed()
            elif end.update.uncounted:
                notes.update(counted=None)
        return locked

    def _complete(self, ends: list[End]) -> None:
        """Complete the notes of attempts that ended in their own transaction by what only their parent knows."""
        if not ends:
            return
        attempts, by_job = Attempt.objects.using(self.using), {end.attempt.job.id: end for end in ends}
        notes = [
            note
            for note in attempts.filter(job_id__in=by_job, counted=True).only("job_id", "number")
            if note.number == by_job[note.job_id].attempt.job.attempt
        ]
        for note in notes:
            end = by_job[note.job_id]
            note.worker_id, note.worker_name = self.worker_id, self.worker_name
            note.process_id, note.peak_memory = end.attempt.process_id, end.peak_memory
            note.survivors = end.survivors
        attempts.bulk_update(notes, ["worker_id", "worker_name", "process_id", "peak_memory", "survivors"])

    def _erase_secrets(self, ends: list[End]) -> None:
        over = [end.update.id for end in ends if end.attempt.has_secrets and end.update.status in FINISHED]
        if over:
            Job.objects.using(self.using).filter(pk__in=over).erase_secrets()

    def _plain(self, end: End) -> PlainEnd:
        job, attempt = end.attempt.job, end.attempt
        return PlainEnd(
            job.id,
            job.token,
            job.attempt,
            attempt.process_id,
            end.duration,
            end.peak_memory,
            self.worker_id,
            self.worker_name,
        )

    def _note(self, end: End, counted: bool = False) -> AttemptNote:
        job, status = end.attempt.job, end.exit_status
        return AttemptNote(
            job_id=job.id,
            number=job.attempt,
            worker_id=self.worker_id,
            worker_name=self.worker_name,
            process_id=end.attempt.process_id,
            outcome=end.outcome,
            started_at=-end.duration,
            exit_code=status if status is not None and status >= 0 else None,
            signal=-status if status is not None and status < 0 else None,
            peak_memory=end.peak_memory,
            survivors=end.survivors,
            error=end.update.error,
            traceback=end.attempt.masked(end.traceback) if end.traceback else "",
            exception_class=clean_text(end.exception_class, EXCEPTION_CLASS_CHARS) if end.exception_class else "",
            counted=True if counted or not end.update.uncounted else None,
        )

    def _resolve_dependents(self, written: list[End]) -> None:
        """Let the jobs follow that wait for those that have ended."""
        parents = [
            end.attempt.job.id for end in written if end.attempt.job.has_dependents and end.update.status in FINISHED
        ]
        if not parents:
            return
        self.has_resolved = True
        resolve_them = partial(resolve, Job.objects.using(self.using), parents, SECONDS)
        if self.after_commit:
            transaction.on_commit(resolve_them, using=self.using, robust=True)
            return
        with suppress(Error):  # a worker does it later; the claimed jobs must not get lost over it
            resolve_them()


def is_atomic(name: str) -> bool:
    """Whether jobs of this type end in their own transaction."""
    job_type = registry.find(name)
    return job_type is not None and job_type.atomic is True
