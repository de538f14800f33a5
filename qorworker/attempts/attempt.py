"""One running attempt: what it has reported so far, and what its end means. In the process that writes it."""

from __future__ import annotations

import datetime as dt
import json
import math
import signal
import time
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings as django_settings
from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker.arguments import files
from qorworker.arguments.codec import may_hold_secrets
from qorworker.arguments.row_keys import ROW_KEY_CHARS
from qorworker.attempts.vitals import FIRST, Vitals
from qorworker.conf import settings
from qorworker.definitions.backoff import STRATEGIES, seconds
from qorworker.definitions.registry import mask_of, registry
from qorworker.execution import recheck
from qorworker.execution.messages import (
    CHECKPOINT_CHARS,
    ERROR_CHARS,
    REHEARSAL_CHARS,
    RETURN_CHARS,
    TRACEBACK_CHARS,
    Record,
    Work,
    clean_text,
)
from qorworker.models import Outcome
from qorworker.models.job_vitals import stored_stack
from qorworker.models.sql import AttemptUpdate, Claimed
from qorworker.status import CRASH_LIMIT, next_status
from qorworker.system import memory
from qorworker.system.processes import monotonic
from qorworker.system.usage import Usage
from qorworker.text.masking import NOTHING, Mask
from qorworker.text.titles import Title

MIB = 1024 * 1024
LEASE_MARGIN = 1.0  # seconds by which an owner gives up before its lease ends in the database
RETURNED = (Outcome.DONE, Outcome.ROW_ERRORS)  # outcomes after which the handler has returned


@dataclass(eq=False, slots=True)
class RunningAttempt:
    """The state of an attempt between the claim of its job and its end."""

    job: Claimed
    database: str
    begun: float | None = None  # when it started, on the parent's clock
    process_id: int | None = None
    stop_reason: str = ""  # an Outcome: why it is being stopped
    stop_text: str = ""
    asked_to_end_at: float | None = None  # when it was asked to end, by the monotonic clock
    lost: bool = False  # another owner has its job; it may write no more
    mask: Mask = NOTHING
    has_secrets: bool = False
    progress: int | None = None
    progress_text: str | None = None
    log: list[tuple[Any, ...]] = field(default_factory=list)  # lines to be written
    log_limits: tuple[int, int, int] | None = None  # lines, characters, characters of a line; read at the first one
    rows: list[tuple[Any, ...]] = field(default_factory=list)  # results rows to be written
    columns: str = ""  # JSON of the titles of the results columns, to be written
    files: tuple[tuple[Any, ...], ...] = ()  # that were added, to be written
    files_added: int = 0
    buffered: int = 0  # bytes of all these
    reported_end: dict[str, Any] = field(default_factory=dict)  # how it ended, as its own process reports it
    changed: bool = False
    failures: int = 0  # writes of this attempt alone that failed for a passing reason
    refusals: int = 0  # writes of its state that the database refused
    returned: str = ""  # JSON of what the handler has returned
    rehearsal: str = ""  # JSON of what a rehearsal has found, to be written
    checkpoint: str | None = None  # JSON of its loops, to be written; empty: it is over
    iterates: bool = False  # it has sent a checkpoint, so it may be able to end between two items
    asked_to_suspend: bool = False
    has_reported: bool = False  # anything but its end
    vitals: Vitals | None = None  # once it has run for a moment
    queries: tuple[int, float] = (0, 0.0)  # and the seconds that they took, as its own process reports them
    samples: str | None = None  # JSON of its vitals, to be written
    stack_asked_at: dt.datetime | None = None  # the last request for its stack that was heeded
    reported_stack: str | None = None  # what its own process has sent since then
    stack: str | None = None  # JSON of the answer, to be written

    def __post_init__(self) -> None:
        self.has_secrets = may_hold_secrets(self.job.arguments)
        self.mask = mask_of(self.job.name, self.job.arguments)

    def work(self, policy: str) -> Work:
        """Return the message that has a child run it. *policy* is the setting ``RECHECK_PERMISSIONS``."""
        job = self.job
        is_due = not job.is_trusted and recheck.is_due(policy, job.has_waited)
        created_by = str(job.created_by or "") if is_due else None
        return Work(
            job.id,
            job.name,
            job.arguments,
            job.attempt,
            job.max_attempts,
            job.token,
            self.database,
            created_by,
            bool(job.is_dry_run),
            job.version,
        )

    @property
    def duration(self) -> float:
        """Seconds that the handler took, or has been running so far."""
        reported = number(self.reported_end.get("duration"))
        if reported is not None:
            return reported
        return 0.0 if self.begun is None else monotonic() - self.begun

    def ask_to_end(self, reason: str, text: str, *, politely: bool) -> None:
        """Note that and why it is being stopped. The first reason counts. *politely*: the handler may still return."""
        if not self.stop_reason:
            self.stop_reason, self.stop_text = reason, text
        if politely and self.asked_to_end_at is None:
            self.asked_to_end_at = time.monotonic()

    @property
    def has_returned(self) -> bool:
        """Whether its handler has returned."""
        return self.reported_end.get("outcome") in RETURNED

    @property
    def was_stopped(self) -> bool:
        """Whether it ended because it was asked to.

        A handler that returns after the request has not done its work. A handler that returned before it has, and one
        whose loop was suspended before it goes on in another attempt.
        """
        if not self.stop_reason or self.reported_end.get("committed") is True:
            return False
        if not self.has_returned and self.reported_end.get("outcome") != Outcome.SUSPENDED:
            return True
        returned_at = number(self.reported_end.get("returned_at"))
        return self.asked_to_end_at is not None and returned_at is not None and returned_at >= self.asked_to_end_at

    @property
    def stopped_text(self) -> str:
        """Why it was stopped, and whether its handler then returned."""
        return " ".join((self.stop_text, _("Its function then returned."))) if self.has_returned else self.stop_text

    # Records from its own process.

    def apply(self, record: Record) -> None:
        """Take in a record of any kind but the end."""
        self.has_reported = True
        match record:
            case ["log", _, at, level, text]:
                self.add_line(at, level, text)
            case ["progress", _, percent, text]:
                if percent is not None:
                    self.progress = min(100, max(0, int(percent)))
                if text is not None:
                    self.progress_text = clean_text(self.mask(text), 200)
                self.changed = True
            case ["row", _, cells]:
                self.add_row(cells)
            case ["row", _, cells, key]:
                self.add_row(cells, key)
            case ["columns", _, titles]:
                self.set_columns(titles)
            case ["file", _, at, kept]:
                self.add_file(at, kept)
            case ["return", _, text]:
                self.add_returned(text)
            case ["rehearsal", _, text]:
                self.add_rehearsal(text)
            case ["checkpoint", _, text]:
                if len(text) <= CHECKPOINT_CHARS and text.isascii():  # only a manipulated child sends another one
                    self.checkpoint, self.iterates, self.changed = text or self.checkpoint, True, True
            case ["moved", _]:
                self.job.crashes, self.changed = 0, True  # those before led somewhere
            case ["queries", _, count, seconds]:
                self.queries = max(0, count), number(seconds) or 0.0
            case ["stack", _, text]:
                self.reported_stack = text

    def add_returned(self, text: str) -> None:
        """Add a part of what the handler returned. Only a manipulated child sends more than the limit."""
        part = clean_text(text, len(text))
        if len(self.returned) + len(part) <= RETURN_CHARS:
            self.returned += part

    def add_rehearsal(self, text: str) -> None:
        """Add a part of what a rehearsal has found. Only a manipulated child sends what is too long or not ASCII."""
        if len(self.rehearsal) + len(text) <= REHEARSAL_CHARS and text.isascii():
            self.rehearsal += text
            self.changed = True

    def add_line(self, at: float, level: int, text: str) -> None:
        """Add a line to the log, or count it as dropped beyond the limit."""
        self.has_reported = True
        job = self.job
        if self.log_limits is None:
            self.log_limits = settings.LOG_LINES, settings.LOG_BYTES, settings.LOG_LINE_CHARS
        lines, size, chars = self.log_limits
        if job.log_lines >= lines or job.log_bytes >= size:
            job.log_dropped += 1
            self.changed = True
            return
        text = clean_text(self.mask(text), chars)
        job.log_lines += 1
        job.log_bytes += len(text)
        self.buffered += len(text) + 100
        self.log.append((job.id, job.log_lines, job.attempt, moment(at), max(0, min(level, 100)), text))
        self.changed = True

    def set_columns(self, titles: list[Title]) -> None:
        """Set the titles of the results columns. Only a manipulated child sends more than a row may have."""
        stored = [
            [self._clean(part) for part in title] if isinstance(title, list) else self._clean(title) for title in titles
        ]
        text = json.dumps(stored, ensure_ascii=False)
        if len(text) <= settings.RESULTS_ROW_BYTES:
            self.columns = text
            self.buffered += len(text)
            self.changed = True

    def add_file(self, at: float, kept: dict[str, Any]) -> None:
        """Add a file, which is in the storage already. Only a manipulated child sends what was not stored by ours."""
        if not files.is_kept(kept) or self.files_added >= settings.FILES:
            return
        name, kind = (clean_text(self.mask(kept[each]), 1000) for each in ("name", "content_type"))
        row = (self.job.id, self.job.attempt, moment(at), files.display_name(name), kept["size"])
        self.files += ((*row, clean_text(kept["sha256"], 64), kind[:100], kept["storage"], kept[files.TAG]),)
        self.files_added += 1
        self.buffered += 500
        self.changed = True

    def add_row(self, cells: list[list[Any]], key: str | None = None) -> None:
        """Add a row to the results, up to their limit."""
        job = self.job
        if job.results_rows >= settings.RESULTS_ROWS:
            return
        clean = self._clean
        stored = [{"value": clean(cell[0]), "error": clean(cell[1])} for cell in cells]
        if max(map(len, cells), default=0) > 2:
            stored = [{**cell, **_link(*sent[2:])} for cell, sent in zip(stored, cells, strict=True)]
        has_error = any(cell["error"] for cell in stored)
        job.results_rows += 1
        job.results_errors += has_error
        text = json.dumps(stored, ensure_ascii=False)
        self.buffered += len(text) + 100
        row = (job.id, job.results_rows, job.attempt, text, has_error)
        self.rows.append((*row, clean_text(self.mask(key), ROW_KEY_CHARS)) if key else row)
        self.changed = True

    @property
    def sample_due_at(self) -> float:
        """When its next sample is to be taken, on the parent's clock."""
        if self.begun is None:
            return math.inf
        return self.begun + FIRST if self.vitals is None else self.vitals.due_at

    def take_sample(self, now: float, usage: Usage, together: int = 1) -> None:
        """Add a sample of its process to its vitals, to be written if it runs for longer."""
        if self.begun is None:
            return
        if self.vitals is None:
            self.vitals = Vitals(self.begun)
        job = self.job
        output = (job.log_lines, job.log_dropped, job.results_rows, self.progress, self.progress_text)
        if self.vitals.take(now, usage, self.queries, output, together):
            self.samples = self.vitals.text(job.attempt)
            self.changed = self.has_reported = True

    def answer_stack(self, text: str, source: str) -> None:
        """Answer the last request for its stack."""
        if self.stack_asked_at is not None:
            self.stack = stored_stack(self.masked(text), source, moment(time.time()), self.stack_asked_at)
            self.changed = self.has_reported = True

    def forget_reports(self) -> None:
        """Forget the log lines, titles, rows and files that were to be written: they are stored, or cannot be."""
        # New objects: the old ones may be restored.
        self.log, self.columns, self.rows, self.files, self.buffered = [], "", [], (), 0
        self.samples = self.stack = None

    def _clean(self, value: Any) -> Any:
        value = self.mask.in_value(value)
        return clean_text(value, 1 << 20) if isinstance(value, str) else value

    # Updates of its row.

    def update(self) -> AttemptUpdate:
        """Return the update of an attempt that still runs."""
        job = self.job
        self.changed = False
        return AttemptUpdate(
            job.id,
            job.token,
            "running",
            progress=self.progress,
            progress_text=self.progress_text,
            crashes=job.crashes,
            process_id=self.process_id,
            log_lines=job.log_lines,
            log_bytes=job.log_bytes,
            log_dropped=job.log_dropped,
            results_rows=job.results_rows,
            results_errors=job.results_errors,
        )

    def end(self, outcome: str, error: str, delay: float | None = None) -> AttemptUpdate:
        """Return the update that ends the attempt: its status, and when the next attempt is due."""
        job = self.job
        is_crash = outcome in (Outcome.CRASHED, Outcome.LOST)
        job.crashes = job.crashes + 1 if is_crash else 0
        if outcome in RETURNED and self.iterates:
            self.checkpoint = ""  # the work is done: a retry of a job whose rows have errors does all of it again
        update = self.update()
        update.status = next_status(outcome, job.attempt, job.max_attempts, job.crashes)
        update.error = clean_text(self.mask(error), ERROR_CHARS) if outcome != Outcome.DONE else ""
        if update.status == "done" and self.progress is not None:
            update.progress = 100
        if update.status == "scheduled":
            update.delay = _retry_delay(job) if delay is None else delay
        update.uncounted = update.status == "new"
        if is_crash and job.crashes >= CRASH_LIMIT and job.attempt < job.max_attempts:
            update.error += " " + _("It is not tried again, because that happened three times in a row.")
        return update

    def masked(self, text: str) -> str:
        """Return a traceback without secrets, as it can be stored."""
        return clean_text(self.mask(text), TRACEBACK_CHARS)


def _link(token: str = "") -> dict[str, str]:
    """Return what a cell stores of its link to a file; nothing for what is no token of a file."""
    return {"file": token} if files.TOKEN.fullmatch(token) else {}


def number(value: Any, limit: float = 10 * 366 * 24 * 3600) -> float | None:
    """Return a number that a child has sent, if it is one from 0 to *limit*: by default ten years in seconds."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < limit
    return float(value) if fits else None


def _retry_delay(job: Claimed) -> float:
    """Return the delay for an attempt that could not report one."""
    job_type = registry.find(job.name)
    return job_type.retry_delay(job.attempt) if job_type else seconds(STRATEGIES["exponential"](job.attempt))


def moment(seconds: float) -> dt.datetime:
    """Return seconds since 1970 as a time that Django stores."""
    try:
        when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        when = dt.datetime.now(dt.UTC)
    return when if django_settings.USE_TZ else timezone.make_naive(when, timezone.get_default_timezone())


def given_up_text() -> str:
    """Return the error of an attempt that was stopped because its lease may have passed."""
    return _("The worker could not reach the database for so long that it gave the job up.")


def exit_text(status: int, peak: int, error: str) -> str:
    """Return the error of an attempt whose process ended without reporting an end."""
    if error:
        return _("The process ended unexpectedly: %s.") % error
    if status == -signal.SIGKILL and memory.probably_ran_out(peak):
        sentence = _("The process was ended by signal 9 (SIGKILL), probably because memory ran out (peak %s).")
        return sentence % size(peak)
    if status < 0:
        sentence = _("The process crashed with signal %(number)s (%(name)s), peak memory %(peak)s.")
        return sentence % {"number": -status, "name": _signal_name(-status), "peak": size(peak)}
    return _("The process ended with exit code %s without a result.") % status


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return _("unknown")


def size(count: int) -> str:
    """Return a number of bytes in words: ``512 MB``, ``1.5 GB``."""
    return f"{count / 1024 / MIB:.1f} GB" if count >= 1024 * MIB else f"{count // MIB} MB"
