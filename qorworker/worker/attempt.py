"""One running attempt, as the parent knows it: what it said so far, and what its end means. Parent process."""

from __future__ import annotations

import datetime as dt
import json
import signal
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings as django_settings
from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker import memory, recheck
from qorworker.conf import settings
from qorworker.execution import Work, next_status
from qorworker.models import Outcome
from qorworker.models.sql import AttemptUpdate, Claimed
from qorworker.records import ERROR_CHARS, TRACEBACK_CHARS, Record, clean_text, mask, mask_json
from qorworker.registry import registry
from qorworker.retry import STRATEGIES, seconds
from qorworker.worker.processes import monotonic

MIB = 1024 * 1024


@dataclass(eq=False, slots=True)
class RunningAttempt:
    """State between the claim of a job and the end of its attempt."""

    job: Claimed
    database: str
    begun: float | None = None  # the parent's clock when its turn came
    process_id: int | None = None
    stop_reason: str = ""  # an Outcome: why it is being stopped
    stop_text: str = ""
    lost: bool = False  # its token was taken away; nothing of it is written any more
    secrets: list[str] = field(default_factory=list)
    progress: int | None = None
    progress_text: str | None = None
    log: list[tuple[Any, ...]] = field(default_factory=list)  # lines not written yet
    rows: list[tuple[Any, ...]] = field(default_factory=list)  # results rows not written yet
    buffered: int = 0  # bytes of both
    last_word: dict[str, Any] = field(default_factory=dict)  # what the child told of the end
    changed: bool = False
    returned: str = ""  # JSON of what the handler has returned

    @property
    def work(self) -> Work:
        job = self.job
        asked = str(job.created_by) if recheck.is_due(job.created_by, job.has_waited) else ""
        return Work(job.id, job.name, job.arguments, job.attempt, job.max_attempts, job.token, self.database, asked)

    @property
    def duration(self) -> float:
        """Seconds that the handler took, or has been running."""
        told = number(self.last_word.get("duration"))
        if told is not None:
            return told
        return 0.0 if self.begun is None else monotonic() - self.begun

    # What the child says.

    def hear(self, record: Record) -> None:
        """Take in a record; anything but the end."""
        match record:
            case ["log", _, at, level, text]:
                self.add_line(at, level, text)
            case ["progress", _, percent, text]:
                if percent is not None:
                    self.progress = min(100, max(0, int(percent)))
                if text is not None:
                    self.progress_text = clean_text(mask(text, self.secrets), 200)
                self.changed = True
            case ["row", _, cells]:
                self.add_row(cells)
            case ["return", _, text]:
                self.returned += clean_text(text, len(text))
            case ["secrets", _, texts]:
                # Longest first: a secret may contain another. Very short ones would blot out ordinary text.
                parts = {part for text in texts for part in (text, *text.splitlines()) if len(part) > 2}
                self.secrets = sorted(parts, key=len, reverse=True)

    def add_line(self, at: float, level: int, text: str) -> None:
        job = self.job
        if job.log_lines >= settings.LOG_LINES or job.log_bytes >= settings.LOG_BYTES:
            job.log_dropped += 1
            self.changed = True
            return
        text = clean_text(mask(text, self.secrets), settings.LOG_LINE_CHARS)
        job.log_lines += 1
        job.log_bytes += len(text)
        self.buffered += len(text) + 100
        self.log.append((job.id, job.log_lines, job.attempt, moment(at), max(0, min(level, 100)), text))
        self.changed = True

    def add_row(self, cells: list[list[Any]]) -> None:
        job = self.job
        if job.results_rows >= settings.RESULTS_ROWS:
            return
        stored = [{"value": self._clean(value), "error": self._clean(error)} for value, error in cells]
        has_error = any(cell["error"] for cell in stored)
        job.results_rows += 1
        job.results_errors += has_error
        text = json.dumps(stored, ensure_ascii=False)
        self.buffered += len(text) + 100
        self.rows.append((job.id, job.results_rows, job.attempt, text, has_error))
        self.changed = True

    def _clean(self, value: Any) -> Any:
        return clean_text(mask(value, self.secrets), 1 << 20) if isinstance(value, str) else value

    # What is written.

    def update(self) -> AttemptUpdate:
        """The attempt as it stands, still running."""
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
        """The attempt's end: which status it leads to, and when the next attempt is due."""
        job = self.job
        silent = outcome in (Outcome.CRASHED, Outcome.LOST)
        job.crashes = job.crashes + 1 if silent else 0
        update = self.update()
        update.status = next_status(outcome, job.attempt, job.max_attempts, job.crashes)
        update.error = clean_text(mask(error, self.secrets), ERROR_CHARS) if outcome != Outcome.DONE else ""
        if update.status == "done" and self.progress is not None:
            update.progress = 100
        if update.status == "scheduled":
            update.delay = _retry_delay(job) if delay is None else delay
        update.uncounted = update.status == "new"
        if silent and job.crashes >= 3 and job.attempt < job.max_attempts:
            update.error += " " + _("It is not tried again, because that happened three times in a row.")
        return update

    @property
    def result(self) -> str:
        """JSON of what the handler has returned, without secrets."""
        return mask_json(self.returned, self.secrets)

    def masked(self, text: str) -> str:
        return clean_text(mask(text, self.secrets), TRACEBACK_CHARS)


def number(told: Any, most: float = 10 * 366 * 24 * 3600) -> float | None:
    """A number that a child told, seconds or otherwise, if it is one that can be stored."""
    fits = isinstance(told, (int, float)) and not isinstance(told, bool) and 0 <= told < most
    return float(told) if fits else None


def _retry_delay(job: Claimed) -> float:
    """For an attempt that could not say it itself."""
    job_type = registry.find(job.name)
    return job_type.retry_delay(job.attempt) if job_type else seconds(STRATEGIES["exponential"](job.attempt))


def moment(seconds: float) -> dt.datetime:
    """A time as Django stores it, from seconds since 1970."""
    try:
        when = dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        when = dt.datetime.now(dt.UTC)
    return when if django_settings.USE_TZ else timezone.make_naive(when, timezone.get_default_timezone())


def exit_text(status: int, peak: int, error: str) -> str:
    """What to tell people about a process that ended without saying why."""
    if error:
        return _("The process ended unexpectedly: %s.") % error
    if status == -signal.SIGKILL and memory.probably_ran_out(peak):
        told = _("The process was ended by signal 9 (SIGKILL), probably because memory ran out (peak %s).")
        return told % size(peak)
    if status < 0:
        told = _("The process crashed with signal %(number)s (%(name)s), peak memory %(peak)s.")
        return told % {"number": -status, "name": _signal_name(-status), "peak": size(peak)}
    return _("The process ended with exit code %s without a result.") % status


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return _("unknown")


def size(count: int) -> str:
    return f"{count / 1024 / MIB:.1f} GB" if count >= 1024 * MIB else f"{count // MIB} MB"
