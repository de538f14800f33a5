"""Runs one attempt: every backend ends in this function. Wherever a job runs.

It returns the outcome as a value. The caller writes it.
"""

from __future__ import annotations

import contextvars
import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext as _

from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import mask_of, registry
from qorworker.exceptions import (
    CommandFailed,
    InvalidArguments,
    NoLongerAllowed,
    NotApproved,
    SecretsUnavailable,
    UnknownJobType,
    UploadsUnavailable,
)
from qorworker.execution import approved, middleware, recheck
from qorworker.execution.budgets import Budgets
from qorworker.execution.checkpoints import (
    CommittedCheckpoints,
    LostAttempt,
    NoCheckpoints,
    SentCheckpoints,
)
from qorworker.execution.context import JobContext
from qorworker.execution.endings import Ending, clean, ending_of, failure, finished, headline, traceback_of
from qorworker.execution.messages import Record, Work
from qorworker.execution.rehearsal import Rehearsal
from qorworker.models import Job
from qorworker.models.locks import limited_idling
from qorworker.status import Outcome
from qorworker.text.masking import Mask
from qorworker.text.storable import text_of

_from_json = json.JSONDecoder().decode  # what the module's function does beside it takes a third as long
Depths = dict[str, tuple[bool, int, bool]]  # by alias: in a block, savepoints, autocommit


def execute(
    work: Work,
    send: Callable[[Record], None],
    *,
    abort_requested: Callable[[], bool] = lambda: False,
    suspend_requested: Callable[[], bool] = lambda: False,
    surroundings: Callable[[JobContext], AbstractContextManager[None]] = lambda context: nullcontext(),
    mask: Mask | None = None,
    may_rehearse: bool = False,
) -> Ending:
    """Run one attempt to its end. It never raises for what the job does.

    *suspend_requested* says whether a loop is to end between two items, so that another attempt goes on. *mask* removes
    secrets from all that it sends. None stands for the mask of its own arguments. *may_rehearse* says that this process
    is for this attempt alone, and exits after it.
    """
    begun = time.perf_counter()
    mask = mask_of(work.name, work.arguments) if mask is None else mask
    depths = _check_connections()
    try:
        requests = {"abort_requested": abort_requested, "suspend_requested": suspend_requested}
        loaded = load(work, mask, may_rehearse=may_rehearse, send=send)
        ending = _run_loaded(loaded, work, send, requests, surroundings, mask, depths)
        ending.returned_at = time.monotonic()
    finally:
        for alias in _roll_back(depths):
            text = f"The handler left a transaction open on database {alias!r}; it is rolled back."
            send(["log", work.id, time.time(), logging.WARNING, text])
    ending.duration = time.perf_counter() - begun
    clean(ending, mask)
    return ending


def _run_loaded(
    loaded: tuple[JobType[..., Any], dict[str, Any]] | Ending,
    work: Work,
    send: Callable[[Record], None],
    requests: dict[str, Callable[[], bool]],
    surroundings: Callable[[JobContext], AbstractContextManager[None]],
    mask: Mask,
    depths: Depths,
) -> Ending:
    if isinstance(loaded, Ending):
        return loaded
    job_type, arguments = loaded
    context = context_of(work, job_type, arguments, send, mask, requests, depths)
    try:
        ending = (_rehearse if work.is_dry_run else _run)(work, job_type, context, surroundings)
    except BaseException as error:  # this place must survive whatever a handler raises
        ending = ending_of(error, job_type, mask)
    if ending.raised is not None:
        # Not where it is handled: if the back-off fails, the record of that would show what the handler raised.
        note_failure(work, job_type, ending, ending.raised, mask)
    return ending


def load(
    work: Work, mask: Mask, *, may_rehearse: bool = False, send: Callable[[Record], None] | None = None
) -> tuple[JobType[..., Any], dict[str, Any]] | Ending:
    """Return the job type and the arguments for its handler, or how the attempt ends because it cannot start.

    What an operator can do about that is sent for the job's log.
    """
    try:
        job_type = registry.get(work.name)
        if work.is_dry_run and not (job_type.dry_run and may_rehearse):
            return Ending(Outcome.REFUSED, _("Here this job cannot be rehearsed. It was not started."))
        if work.created_by is not None:
            recheck.check(work.id, work.created_by, job_type, work.database)
        if job_type.approval is not None and not work.is_dry_run:
            approved.check(work, job_type)
        return job_type, job_type.arguments.load(job_type.upgraded(_from_json(work.arguments), work.version))
    except UploadsUnavailable as error:
        return failure(error, mask)
    except (InvalidArguments, NoLongerAllowed, NotApproved, UnknownJobType, SecretsUnavailable) as error:
        if send is not None and (advice := getattr(error, "advice", "")):
            send(["log", work.id, time.time(), logging.WARNING, advice])
        return Ending(Outcome.REFUSED, str(error))
    except (DatabaseError, InterfaceError) as error:
        return failure(error, mask)
    except Exception as error:  # a form's own code may raise anything
        return Ending(Outcome.REFUSED, headline(error, mask), traceback_of(error))


def context_of(
    work: Work,
    job_type: JobType[..., Any],
    arguments: dict[str, Any],
    send: Callable[[Record], None],
    mask: Mask,
    requests: dict[str, Callable[[], bool]],
    depths: Depths,
) -> JobContext:
    """Return the context that the handler gets."""
    kind = CommittedCheckpoints if job_type.atomic == "chunk" else SentCheckpoints
    checkpoints = NoCheckpoints() if work.is_dry_run else kind(work, send)
    return JobContext(
        job_id=work.id,
        name=work.name,
        attempt=work.attempt,
        max_attempts=work.max_attempts,
        arguments=arguments,
        send=send,
        budgets=Budgets(job_type.budgets) if job_type.budgets else None,
        mask=mask,
        using=work.database,
        in_transaction=partial(_has_begun_transaction, depths),
        checkpoints=checkpoints,
        is_dry_run=work.is_dry_run,
        **requests,
    )


def note_failure(work: Work, job_type: JobType[..., Any], ending: Ending, error: BaseException, mask: Mask) -> None:
    """Set when the next attempt is due, and log the failure for the project and its error tracker.

    The job's own log leaves it out: its page has the error.

    A failure with a retry is a warning. A command that fails has no traceback, as in a terminal. The exceptions of jobs
    with secrets may contain them and are not passed on.
    """
    ending.delay = _delay(work, job_type)
    level = logging.ERROR if work.attempt >= work.max_attempts else logging.WARNING
    logging.getLogger(f"qorworker.job.{work.name}").log(
        level,
        "Job %s (%s) failed in attempt %s of %s: %s",
        work.id,
        work.name,
        work.attempt,
        work.max_attempts,
        mask(type(error).__name__),
        exc_info=None if mask or isinstance(error, CommandFailed) else error,
        extra={"job_id": work.id, "job_name": work.name, "job_attempt": work.attempt},
    )


def _run(
    work: Work,
    job_type: JobType[..., Any],
    context: JobContext,
    surroundings: Callable[[JobContext], AbstractContextManager[None]],
) -> Ending:
    with surroundings(context):
        try:
            return _call(work, job_type, context)
        finally:
            context.flush()


def _rehearse(
    work: Work,
    job_type: JobType[..., Any],
    context: JobContext,
    surroundings: Callable[[JobContext], AbstractContextManager[None]],
) -> Ending:
    rehearsal = Rehearsal(context.mask)
    rehearsal.begin()
    try:
        ending = _run(work, job_type, context, surroundings)
    finally:
        rehearsal.end()
        context.send_rehearsal(rehearsal.report())
    rehearsal.check()
    return ending


def _call(work: Work, job_type: JobType[..., Any], context: JobContext) -> Ending:
    if job_type.atomic is not True:
        _handle(job_type, context)
        return finished(job_type, context)
    begun = time.perf_counter()
    with limited_idling(work.database, float(settings.LEASE)) as ends, transaction.atomic(using=work.database):
        _handle(job_type, context)
        ending = finished(job_type, context)
        if ending.outcome == Outcome.DONE and not work.is_dry_run:
            ends()
            _commit_together(work, time.perf_counter() - begun)
    ending.committed = ending.outcome == Outcome.DONE and not work.is_dry_run
    return ending


def _handle(job_type: JobType[..., Any], context: JobContext) -> None:
    # In its own context, so that no job sees what another one sets, such as language and time zone.
    if context.budgets is None:  # most types have none: their jobs do not pay for a block
        returned = contextvars.copy_context().run(middleware.around(job_type), context)
    else:
        with context.budgets.counting():
            returned = contextvars.copy_context().run(middleware.around(job_type), context)
    keep_returned(job_type, context, returned)


def counting(context: JobContext) -> AbstractContextManager[None]:
    """Count what the handler does in this block, if its type has a budget."""
    return nullcontext() if context.budgets is None else context.budgets.counting()


def keep_returned(job_type: JobType[..., Any], context: JobContext, returned: Any) -> None:
    """Send what the handler has returned."""
    if not context.was_called:
        context.add_log(_("A middleware ended the job; its function was not called."), level=logging.WARNING)
    try:
        if (text := job_type.text_of(returned)) is not None:
            context.send_return_value(text)
    except Exception as error:  # from JSON, or from the code of the returned object
        if job_type.needs_result:
            raise
        context.add_log(_("The return value was not kept: %s") % text_of(error), level=logging.WARNING)


def _commit_together(work: Work, seconds: float) -> None:
    if not Job.objects.using(work.database).end_in_transaction(work.id, work.attempt, work.token, seconds):
        raise LostAttempt


def _delay(work: Work, job_type: JobType[..., Any]) -> float | None:
    return job_type.retry_delay(work.attempt) if work.attempt < work.max_attempts else None


def _check_connections() -> Depths:
    """Make connections usable before the handler. Return how deep in transactions each one is."""
    depths = {}
    for connection in _open_connections():
        if not connection.in_atomic_block:  # else it belongs to the caller, which runs this job itself
            connection.close_if_unusable_or_obsolete()
        if not connection.force_debug_cursor:  # else a test counts queries
            connection.queries_log.clear()
        if connection.connection is not None:
            depths[connection.alias] = _depth(connection)
    return depths


def _roll_back(depths: Depths) -> list[str]:
    """Roll back what the handler left open. Return the aliases of the databases where it did."""
    left = []
    for connection in _open_connections():
        before = _depth_before(depths, connection)
        if _depth(connection) != before:
            left.append(connection.alias)
            # Inside a block that was never left, Django would keep the closed connection for ever.
            connection.in_atomic_block = before[0]
            with suppress(DatabaseError):  # it is replaced even if it cannot be closed
                connection.close()
    return left


def _has_begun_transaction(depths: Depths) -> bool:
    """Whether a transaction is open that was not when the attempt began."""
    return any(_depth(each) != _depth_before(depths, each) for each in _open_connections())


def _depth_before(depths: Depths, connection: BaseDatabaseWrapper) -> tuple[bool, int, bool]:
    return depths.get(connection.alias, (False, 0, connection.settings_dict["AUTOCOMMIT"]))


def _open_connections() -> list[BaseDatabaseWrapper]:
    return [each for each in connections.all(initialized_only=True) if each.connection is not None]


def _depth(connection: BaseDatabaseWrapper) -> tuple[bool, int, bool]:
    return connection.in_atomic_block, len(connection.savepoint_ids), connection.autocommit
