"""Running one attempt: the one function in which every backend ends. Child process (or wherever a job runs).

The outcome is a value; writing it down is somebody else's duty.
"""

from __future__ import annotations

import contextvars
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker import middleware, recheck
from qorworker.context import JobContext
from qorworker.exceptions import (
    InvalidArguments,
    JobAborted,
    JobRefused,
    NoLongerAllowed,
    SecretsUnavailable,
    UnknownJobType,
)
from qorworker.models import Outcome
from qorworker.records import ERROR_CHARS, TRACEBACK_CHARS, Record, clean_text
from qorworker.registry import JobType, registry

RETRIED = frozenset({Outcome.FAILED, Outcome.CRASHED, Outcome.LOST, Outcome.TIMEOUT, Outcome.MEMORY})
CRASH_LIMIT = 3  # attempts in a row that ended without a word; a job that does this harms its worker


class Work(NamedTuple):
    """One attempt to be run."""

    id: int
    name: str
    arguments: str  # JSON text, as stored
    attempt: int
    max_attempts: int
    token: str
    database: str = "default"
    created_by: str = ""  # whose rights are to be checked again; empty if nobody's


@dataclass(slots=True)
class Ending:
    """How an attempt ended, as its own process tells it."""

    outcome: str
    error: str = ""
    traceback: str = ""
    duration: float = 0.0  # seconds
    peak_memory: int | None = None  # bytes
    delay: float | None = None  # seconds until the next attempt, if there is one
    leftovers: bool = False  # processes that the job started are still there
    exception_class: str = ""  # module and name of what the handler raised
    committed: bool = False  # the end is already in the database, together with the job's own writes

    def record(self, job_id: int) -> Record:
        told = {name: value for name, usual in _ENDING if (value := getattr(self, name)) != usual}
        return ["end", job_id, told]


_ENDING = [(field.name, field.default) for field in fields(Ending)]  # what is as usual needs no words


def next_status(outcome: str, attempt: int, max_attempts: int, crashes: int) -> str:
    """The status that an attempt's outcome leads to."""
    match outcome:
        case Outcome.DONE:
            return "done"
        case Outcome.ABORTED:
            return "killed"
        case Outcome.INTERRUPTED if max_attempts > 1:
            return "new"
    if outcome in RETRIED and attempt < max_attempts and crashes < CRASH_LIMIT:
        return "scheduled"
    return "exception"


class LostAttempt(Exception):
    """The attempt was taken away while its job ran; what it wrote is rolled back."""


def execute(
    work: Work,
    send: Callable[[Record], None],
    *,
    abort_requested: Callable[[], bool] = lambda: False,
    surroundings: Callable[[JobContext], AbstractContextManager[None]] = lambda context: nullcontext(),
) -> Ending:
    """Run one attempt to its end. Never raises for what the job does."""
    begun = time.perf_counter()
    with _clean_connections(lambda text: send(["log", work.id, time.time(), logging.WARNING, text])):
        ending = _attempt(work, send, abort_requested, surroundings)
    ending.duration = time.perf_counter() - begun
    if ending.outcome != Outcome.DONE:
        ending.error = clean_text(ending.error, ERROR_CHARS)
        ending.traceback = _tail(ending.traceback)
    return ending


def _attempt(
    work: Work,
    send: Callable[[Record], None],
    abort_requested: Callable[[], bool],
    surroundings: Callable[[JobContext], AbstractContextManager[None]],
) -> Ending:
    try:
        job_type = registry.get(work.name)
        if work.created_by:
            recheck.check(work.id, work.created_by, job_type, work.database)
        stored = json.loads(work.arguments)
        if secrets := job_type.arguments.secret_values(stored):
            send(["secrets", work.id, secrets])
        arguments = job_type.arguments.load(stored)
    except (InvalidArguments, NoLongerAllowed, UnknownJobType, SecretsUnavailable) as error:
        return Ending(Outcome.REFUSED, str(error))
    except (DatabaseError, InterfaceError) as error:
        return _failure(work, None, error)
    except Exception as error:  # a form's own code may raise anything
        return Ending(Outcome.REFUSED, _headline(error), _traceback(error))
    context = JobContext(
        job_id=work.id,
        name=work.name,
        attempt=work.attempt,
        max_attempts=work.max_attempts,
        arguments=arguments,
        send=send,
        abort_requested=abort_requested,
    )
    return _run(work, job_type, context, surroundings)


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
        ending = Ending(Outcome.MEMORY, _memory_text(job_type), _traceback(error), delay=_delay(work, job_type))
        ending.exception_class = _class_of(error)
        return ending
    except LostAttempt as error:
        return Ending(Outcome.LOST, str(error))
    except JobRefused as error:
        return Ending(Outcome.REFUSED, str(error) or _("The job was refused."), _traceback(error))
    except SystemExit as error:
        return Ending(
            Outcome.FAILED,
            _("The handler called sys.exit(%s).") % repr(error.code),
            _traceback(error),
            delay=_delay(work, job_type),
            exception_class=_class_of(error),
        )
    except BaseException as error:  # the one place that must survive whatever a handler raises
        return _failure(work, job_type, error)


def _call(work: Work, job_type: JobType[Any], context: JobContext) -> Ending:
    if not job_type.atomic:
        _handle(job_type, context)
        return _finished(job_type, context)
    with transaction.atomic(using=work.database):
        _handle(job_type, context)
        ending = _finished(job_type, context)
        if ending.outcome == Outcome.DONE:
            _commit_together(work, context)
            ending.committed = True
    return ending


def _handle(job_type: JobType[Any], context: JobContext) -> None:
    # In a context of its own: what one job sets, the next does not see; language and time zone among it.
    returned = contextvars.copy_context().run(middleware.around(job_type), context)
    if not context.was_called:
        context.add_log(_("A middleware ended the job; its function was not called."), level=logging.WARNING)
    try:
        if (text := job_type.text_of(returned)) is not None:
            context.give_back(text)
    except (TypeError, ValueError) as error:
        if job_type.needs_result:
            raise
        context.add_log(_("What the job returned is not kept: %s") % error, level=logging.WARNING)


def _finished(job_type: JobType[Any], context: JobContext) -> Ending:
    if context.results_errors and job_type.on_row_errors == "exception":
        return Ending(Outcome.ROW_ERRORS, _row_errors_text(context.results_errors, context.results_rows))
    return Ending(Outcome.DONE)


def _commit_together(work: Work, context: JobContext) -> None:
    from qorworker.models import Job

    if not Job.objects.using(work.database).end_in_transaction(work.id, work.token):
        raise LostAttempt(_("The job was taken from this attempt before it ended; what it wrote was rolled back."))


def _failure(work: Work, job_type: JobType[Any] | None, error: BaseException) -> Ending:
    ending = Ending(Outcome.FAILED, _headline(error), _traceback(error), delay=_delay(work, job_type))
    ending.exception_class = _class_of(error)
    return ending


def _delay(work: Work, job_type: JobType[Any] | None) -> float | None:
    if job_type is None or work.attempt >= work.max_attempts:
        return None
    return job_type.retry_delay(work.attempt)


@contextmanager
def _clean_connections(warn: Callable[[str], None]) -> Iterator[None]:
    """Usable connections before the handler, and nothing of it left on them afterwards."""
    depths = {}
    for connection in _open_connections():
        if not connection.in_atomic_block:  # else it is the caller's, who runs this job himself
            connection.close_if_unusable_or_obsolete()
        if not connection.force_debug_cursor:  # somebody counts queries
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
                with suppress(DatabaseError):  # what cannot even be closed is replaced anyway
                    connection.close()


def _open_connections() -> list[BaseDatabaseWrapper]:
    return [each for each in connections.all(initialized_only=True) if each.connection is not None]


def _depth(connection: BaseDatabaseWrapper) -> tuple[bool, int, bool]:
    return connection.in_atomic_block, len(connection.savepoint_ids), connection.autocommit


def _headline(error: BaseException) -> str:
    kind = type(error).__name__
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # an exception that cannot say what it is
        lines = []
    return f"{kind}: {lines[0]}" if lines else kind


def _class_of(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # a broken __str__ or __cause__ must not hide that the job failed
        return "".join(traceback.format_tb(error.__traceback__))


def _tail(text: str) -> str:
    """The end of a traceback is the part that tells."""
    return clean_text(text if len(text) <= TRACEBACK_CHARS else "…\n" + text[-TRACEBACK_CHARS + 2 :], TRACEBACK_CHARS)


def _memory_text(job_type: JobType[Any]) -> str:
    if job_type.memory_limit is None:
        return _("The job ran out of memory.")
    limit = f"{job_type.memory_limit // (1024 * 1024)} MB"
    return _("The job needed more memory than its limit of %s.") % limit


def _row_errors_text(errors: int, rows: int) -> str:
    told = ngettext("%(errors)s of %(rows)s row has errors.", "%(errors)s of %(rows)s rows have errors.", rows)
    return told % {"errors": errors, "rows": rows}
