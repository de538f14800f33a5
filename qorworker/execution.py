"""Running one attempt: the one function in which every backend ends. Child process (or wherever a job runs).

The outcome is a value; writing it down is somebody else's duty.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from qorworker.context import JobContext
from qorworker.exceptions import InvalidArguments, JobAborted, SecretsUnavailable, UnknownJobType
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
    with _clean_connections():
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
        stored = json.loads(work.arguments)
        if secrets := job_type.arguments.secret_values(stored):
            send(["secrets", work.id, secrets])
        arguments = job_type.arguments.load(stored)
    except (InvalidArguments, UnknownJobType, SecretsUnavailable) as error:
        return Ending(Outcome.REFUSED, str(error))
    except DatabaseError as error:
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
    return _run(work, job_type, context, arguments, surroundings)


def _run(
    work: Work,
    job_type: JobType[Any],
    context: JobContext,
    arguments: dict[str, Any],
    surroundings: Callable[[JobContext], AbstractContextManager[None]],
) -> Ending:
    try:
        with surroundings(context):
            try:
                return _call(work, job_type, context, arguments)
            finally:
                context.flush()
    except JobAborted:
        return Ending(Outcome.ABORTED, "Aborted.")
    except MemoryError as error:
        return Ending(Outcome.MEMORY, _memory_text(job_type), _traceback(error), delay=_delay(work, job_type))
    except LostAttempt as error:
        return Ending(Outcome.LOST, str(error))
    except SystemExit as error:
        return Ending(
            Outcome.FAILED,
            f"The handler called sys.exit({error.code!r}).",
            _traceback(error),
            delay=_delay(work, job_type),
        )
    except BaseException as error:  # the one place that must survive whatever a handler raises
        return _failure(work, job_type, error)


def _call(work: Work, job_type: JobType[Any], context: JobContext, arguments: dict[str, Any]) -> Ending:
    call_arguments = dict(arguments)
    if job_type.context_parameter:
        call_arguments[job_type.context_parameter] = context
    if not job_type.atomic:
        _handle(job_type, call_arguments)
        return _finished(job_type, context)
    with transaction.atomic(using=work.database):
        _handle(job_type, call_arguments)
        ending = _finished(job_type, context)
        if ending.outcome == Outcome.DONE:
            _commit_together(work, context)
            ending.committed = True
    return ending


def _handle(job_type: JobType[Any], arguments: dict[str, Any]) -> None:
    function = job_type.function
    if _is_async(function):
        asyncio.run(function(**arguments))
    else:
        # In a context of its own: what one job sets, the next does not see; language and time zone among it.
        contextvars.copy_context().run(function, **arguments)


_is_async = lru_cache(inspect.iscoroutinefunction)


def _finished(job_type: JobType[Any], context: JobContext) -> Ending:
    if context.results_errors and job_type.on_row_errors == "exception":
        return Ending(Outcome.ROW_ERRORS, f"{context.results_errors} of {context.results_rows} rows have errors.")
    return Ending(Outcome.DONE)


def _commit_together(work: Work, context: JobContext) -> None:
    from qorworker.models import Job

    if not Job.objects.using(work.database).end_in_transaction(work.id, work.token):
        raise LostAttempt("The job was taken from this attempt before it ended; what it wrote was rolled back.")


def _failure(work: Work, job_type: JobType[Any] | None, error: BaseException) -> Ending:
    return Ending(Outcome.FAILED, _headline(error), _traceback(error), delay=_delay(work, job_type))


def _delay(work: Work, job_type: JobType[Any] | None) -> float | None:
    if job_type is None or work.attempt >= work.max_attempts:
        return None
    return job_type.retry_delay(work.attempt)


@contextmanager
def _clean_connections() -> Iterator[None]:
    """Usable connections before the handler, and nothing of it left on them afterwards."""
    depths = {}
    for connection in _open_connections():
        connection.close_if_unusable_or_obsolete()
        connection.queries_log.clear()
        if connection.connection is not None:
            depths[connection.alias] = _depth(connection)
    try:
        yield
    finally:
        for connection in _open_connections():
            before = depths.get(connection.alias, (False, 0, True))
            if _depth(connection) != before:
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
        return "The job ran out of memory."
    return f"The job needed more memory than its limit of {job_type.memory_limit // (1024 * 1024)} MB."
