"""Runs one attempt: every backend ends in this function. Wherever a job runs.

It returns the outcome as a value. The caller writes it.
"""

from __future__ import annotations

import contextvars
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, fields
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import mask_of, registry
from qorworker.exceptions import (
    InvalidArguments,
    JobAborted,
    JobRefused,
    NoLongerAllowed,
    SecretsUnavailable,
    UnknownJobType,
    UploadsUnavailable,
)
from qorworker.execution import middleware, recheck
from qorworker.execution.context import JobContext
from qorworker.execution.messages import ERROR_CHARS, EXCEPTION_CLASS_CHARS, TRACEBACK_CHARS, Record, Work, clean_text
from qorworker.models import Job
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


class LostAttempt(Exception):
    """The attempt was taken away while its job ran. Its writes are rolled back."""


def execute(
    work: Work,
    send: Callable[[Record], None],
    *,
    abort_requested: Callable[[], bool] = lambda: False,
    surroundings: Callable[[JobContext], AbstractContextManager[None]] = lambda context: nullcontext(),
    mask: Mask | None = None,
) -> Ending:
    """Run one attempt to its end. It never raises for what the job does.

    *mask* removes secrets from all that it sends. None stands for the mask of its own arguments.
    """
    begun = time.perf_counter()
    mask = mask_of(work.name, work.arguments) if mask is None else mask
    with _clean_connections(lambda text: send(["log", work.id, time.time(), logging.WARNING, text])):
        ending = _load_and_run(work, send, abort_requested, surroundings, mask)
        ending.returned_at = time.monotonic()
    ending.duration = time.perf_counter() - begun
    if ending.outcome != Outcome.DONE:
        ending.error = clean_text(mask(ending.error), ERROR_CHARS)
        ending.traceback = _tail(mask(ending.traceback))
        ending.exception_class = clean_text(mask(ending.exception_class), EXCEPTION_CLASS_CHARS)
    return ending


def _load_and_run(
    work: Work,
    send: Callable[[Record], None],
    abort_requested: Callable[[], bool],
    surroundings: Callable[[JobContext], AbstractContextManager[None]],
    mask: Mask,
) -> Ending:
    try:
        job_type = registry.get(work.name)
        if work.created_by is not None:
            recheck.check(work.id, work.created_by, job_type, work.database)
        arguments = job_type.arguments.load(json.loads(work.arguments))
    except UploadsUnavailable as error:
        return _failure(error, mask)
    except (InvalidArguments, NoLongerAllowed, UnknownJobType, SecretsUnavailable) as error:
        return Ending(Outcome.REFUSED, str(error))
    except (DatabaseError, InterfaceError) as error:
        return _failure(error, mask)
    except Exception as error:  # a form's own code may raise anything
        return Ending(Outcome.REFUSED, _headline(error, mask), _traceback(error))
    context = JobContext(
        job_id=work.id,
        name=work.name,
        attempt=work.attempt,
        max_attempts=work.max_attempts,
        arguments=arguments,
        send=send,
        abort_requested=abort_requested,
        mask=mask,
    )
    ending = _run(work, job_type, context, surroundings)
    if ending.raised is not None:
        # Not where it is handled: if the back-off fails, the record of that would show what the handler raised.
        ending.delay = _delay(work, job_type)
        _log_failure(work, ending.raised, mask)
    return ending


def _log_failure(work: Work, error: BaseException, mask: Mask) -> None:
    """Log a failure for the project and its error tracker. The job's own log leaves it out: its page has the error.

    A failure with a retry is a warning. The exceptions of jobs with secrets may contain them and are not passed on.
    """
    level = logging.ERROR if work.attempt >= work.max_attempts else logging.WARNING
    logging.getLogger(f"qorworker.job.{work.name}").log(
        level,
        "Job %s (%s) failed in attempt %s of %s: %s",
        work.id,
        work.name,
        work.attempt,
        work.max_attempts,
        mask(type(error).__name__),
        exc_info=None if mask else error,
        extra={"job_id": work.id, "job_name": work.name, "job_attempt": work.attempt},
    )


def _run(
    work: Work,
    job_type: JobType[Any],
    context: JobContext,
    surroundings: Callable[[JobContext], AbstractContextManager[None]],
) -> Ending:
    try:
        with surroundings(context):
            try:
                return _call(work, job_type, context)
            finally:
                context.flush()
    except JobAborted:
        return Ending(Outcome.ABORTED, _("Aborted."))
    except MemoryError as error:
        ending = Ending(Outcome.MEMORY, _memory_text(job_type), _traceback(error))
        ending.exception_class, ending.raised = _class_of(error), error
        return ending
    except LostAttempt as error:
        return Ending(Outcome.LOST, str(error))
    except JobRefused as error:
        return Ending(Outcome.REFUSED, str(error) or _("The job was refused."), _traceback(error))
    except SystemExit as error:
        return Ending(
            Outcome.FAILED,
            _("The handler called sys.exit(%s).") % text_of(error.code, repr),
            _traceback(error),
            exception_class=_class_of(error),
            raised=error,
        )
    except BaseException as error:  # this place must survive whatever a handler raises
        return _failure(error, context.mask)


def _call(work: Work, job_type: JobType[Any], context: JobContext) -> Ending:
    if not job_type.atomic:
        _handle(job_type, context)
        return _finished(job_type, context)
    begun = time.perf_counter()
    with transaction.atomic(using=work.database):
        _handle(job_type, context)
        ending = _finished(job_type, context)
        if ending.outcome == Outcome.DONE:
            _commit_together(work, time.perf_counter() - begun)
    ending.committed = ending.outcome == Outcome.DONE
    return ending


def _handle(job_type: JobType[Any], context: JobContext) -> None:
    # In its own context, so that no job sees what another one sets, such as language and time zone.
    returned = contextvars.copy_context().run(middleware.around(job_type), context)
    if not context.was_called:
        context.add_log(_("A middleware ended the job; its function was not called."), level=logging.WARNING)
    try:
        if (text := job_type.text_of(returned)) is not None:
            context.send_return_value(text)
    except Exception as error:  # from JSON, or from the code of the returned object
        if job_type.needs_result:
            raise
        context.add_log(_("The return value was not kept: %s") % text_of(error), level=logging.WARNING)


def _finished(job_type: JobType[Any], context: JobContext) -> Ending:
    if context.results_errors and job_type.on_row_errors == "exception":
        return Ending(Outcome.ROW_ERRORS, _row_errors_text(context.results_errors, context.results_rows))
    return Ending(Outcome.DONE)


def _commit_together(work: Work, seconds: float) -> None:
    if not Job.objects.using(work.database).end_in_transaction(work.id, work.attempt, work.token, seconds):
        raise LostAttempt(_("The job was taken from this attempt before it ended; what it wrote was rolled back."))


def _failure(error: BaseException, mask: Mask) -> Ending:
    ending = Ending(Outcome.FAILED, _headline(error, mask), _traceback(error))
    ending.exception_class, ending.raised = _class_of(error), error
    return ending


def _delay(work: Work, job_type: JobType[Any]) -> float | None:
    return job_type.retry_delay(work.attempt) if work.attempt < work.max_attempts else None


@contextmanager
def _clean_connections(warn: Callable[[str], None]) -> Iterator[None]:
    """Make connections usable before the handler, and undo what it leaves on them."""
    depths = {}
    for connection in _open_connections():
        if not connection.in_atomic_block:  # else it belongs to the caller, which runs this job itself
            connection.close_if_unusable_or_obsolete()
        if not connection.force_debug_cursor:  # else a test counts queries
            connection.queries_log.clear()
        if connection.connection is not None:
            depths[connection.alias] = _depth(connection)
    try:
        yield
    finally:
        for connection in _open_connections():
            before = depths.get(connection.alias, (False, 0, connection.settings_dict["AUTOCOMMIT"]))
            if _depth(connection) != before:
                warn(f"The handler left a transaction open on database {connection.alias!r}; it is rolled back.")
                # Inside a block that was never left, Django would keep the closed connection for ever.
                connection.in_atomic_block = before[0]
                with suppress(DatabaseError):  # it is replaced even if it cannot be closed
                    connection.close()


def _open_connections() -> list[BaseDatabaseWrapper]:
    return [each for each in connections.all(initialized_only=True) if each.connection is not None]


def _depth(connection: BaseDatabaseWrapper) -> tuple[bool, int, bool]:
    return connection.in_atomic_block, len(connection.savepoint_ids), connection.autocommit


def _headline(error: BaseException, mask: Mask) -> str:
    kind = type(error).__name__
    try:
        lines = mask(str(error)).strip().splitlines()
    except Exception:  # an exception whose text fails
        lines = []
    return f"{kind}: {lines[0]}" if lines else kind


def _class_of(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # a broken __str__ or __cause__ must not hide the failure
        return "".join(traceback.format_tb(error.__traceback__))


def _tail(text: str) -> str:
    """Return the end of a traceback, which matters most."""
    return clean_text(text if len(text) <= TRACEBACK_CHARS else "…\n" + text[-TRACEBACK_CHARS + 2 :], TRACEBACK_CHARS)


def _memory_text(job_type: JobType[Any]) -> str:
    if job_type.memory_limit is None:
        return _("The job ran out of memory.")
    limit = f"{job_type.memory_limit // (1024 * 1024)} MB"
    return _("The job needed more memory than its limit of %s.") % limit


def _row_errors_text(errors: int, rows: int) -> str:
    sentence = ngettext("%(errors)s of %(rows)s row has errors.", "%(errors)s of %(rows)s rows have errors.", rows)
    return sentence % {"errors": errors, "rows": rows}
