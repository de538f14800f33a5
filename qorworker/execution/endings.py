"""How an attempt ended, as a value: made of what its handler raised or returned. Wherever a job runs."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field, fields
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.definitions.job_type import JobType
from qorworker.exceptions import BudgetExceeded, CommandFailed, JobAborted, JobRefused, NotAnswered
from qorworker.execution.checkpoints import LostAttempt
from qorworker.execution.context import JobContext
from qorworker.execution.loops import AttemptSuspended
from qorworker.execution.messages import ERROR_CHARS, EXCEPTION_CLASS_CHARS, TRACEBACK_CHARS, Record, clean_text
from qorworker.status import Outcome
from qorworker.text.masking import Mask
from qorworker.text.storable import text_of


@dataclass(slots=True)
class Ending:
    """How an attempt ended, as its own process reports it."""

    outcome: str
    error: str = ""
    traceback: str = ""
    duration: float = 0.0  # seconds
    peak_memory: int | None = None  # bytes
    delay: float | None = None  # seconds until the next attempt, if there is one
    leftovers: bool = False  # something of the job remains in its process
    exception_class: str = ""  # module and name of what the handler raised
    committed: bool = False  # the end is already in the database, together with the job's own writes
    raised: BaseException | None = field(default=None, repr=False)  # stays in this process: it may quote a secret
    returned_at: float = 0.0  # when the handler ended, on the system's monotonic clock

    def as_message(self) -> dict[str, Any]:
        """Return the fields for the message: those that differ from their defaults."""
        return {name: value for name, default in _FIELDS if (value := getattr(self, name)) != default}

    def record(self, job_id: int) -> Record:
        """Return the record of the end."""
        return ["end", job_id, self.as_message()]


_FIELDS = [(each.name, each.default) for each in fields(Ending) if each.name != "raised"]


def finished(job_type: JobType[..., Any], context: JobContext) -> Ending:
    """Return how an attempt ends whose handler has returned."""
    if context.was_suspended:  # and the handler has caught that
        return Ending(Outcome.SUSPENDED)
    if context.results_errors and job_type.on_row_errors == "exception":
        return Ending(Outcome.ROW_ERRORS, _row_errors_text(context.results_errors, context.results_rows))
    return Ending(Outcome.DONE)


def ending_of(error: BaseException, job_type: JobType[..., Any], mask: Mask) -> Ending:
    """Return how an attempt ends whose handler has raised *error*."""
    match error:
        case JobAborted():
            return Ending(Outcome.ABORTED, _("Aborted."))
        case AttemptSuspended():
            return Ending(Outcome.SUSPENDED)
        case LostAttempt():
            return Ending(Outcome.LOST, str(error))
        case NotAnswered():
            return Ending(Outcome.UNANSWERED, str(error))
        case BudgetExceeded():
            return Ending(Outcome.BUDGET, str(error), traceback_of(error))
        case JobRefused():
            return Ending(Outcome.REFUSED, str(error) or _("The job was refused."), traceback_of(error))
        case CommandFailed():  # it says all, as in a terminal
            return Ending(Outcome.FAILED, str(error), exception_class=_class_of(error.__cause__ or error), raised=error)
        case MemoryError():
            ending = Ending(Outcome.MEMORY, _memory_text(job_type), traceback_of(error))
        case SystemExit():
            text = _("The handler called sys.exit(%s).") % text_of(error.code, repr)
            ending = Ending(Outcome.FAILED, text, traceback_of(error))
        case _:
            return failure(error, mask)
    ending.exception_class, ending.raised = _class_of(error), error
    return ending


def failure(error: BaseException, mask: Mask) -> Ending:
    """Return how an attempt ends that has failed."""
    ending = Ending(Outcome.FAILED, headline(error, mask), traceback_of(error))
    ending.exception_class, ending.raised = _class_of(error), error
    return ending


def clean(ending: Ending, mask: Mask) -> None:
    """Remove secrets from the texts of an ending, and cut them."""
    if ending.outcome != Outcome.DONE:
        ending.error = clean_text(mask(ending.error), ERROR_CHARS)
        ending.traceback = _tail(mask(ending.traceback))
        ending.exception_class = clean_text(mask(ending.exception_class), EXCEPTION_CLASS_CHARS)


def headline(error: BaseException, mask: Mask) -> str:
    kind = type(error).__name__
    try:
        lines = mask(str(error)).strip().splitlines()
    except Exception:  # an exception whose text fails
        lines = []
    return f"{kind}: {lines[0]}" if lines else kind


def _class_of(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # a broken __str__ or __cause__ must not hide the failure
        return "".join(traceback.format_tb(error.__traceback__))


def _tail(text: str) -> str:
    """Return the end of a traceback, which matters most."""
    return clean_text(text if len(text) <= TRACEBACK_CHARS else "…\n" + text[-TRACEBACK_CHARS + 2 :], TRACEBACK_CHARS)


def _memory_text(job_type: JobType[..., Any]) -> str:
    if job_type.memory_limit is None:
        return _("The job ran out of memory.")
    limit = f"{job_type.memory_limit // (1024 * 1024)} MB"
    return _("The job needed more memory than its limit of %s.") % limit


def _row_errors_text(errors: int, rows: int) -> str:
    sentence = ngettext("%(errors)s of %(rows)s row has errors.", "%(errors)s of %(rows)s rows have errors.", rows)
    return sentence % {"errors": errors, "rows": rows}
