"""Runs one attempt in an event loop that it shares with others: what ``execute`` does, for coroutines. In children.

Nothing in here waits for the database in the thread of the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.utils.translation import gettext as _

from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.execution import middleware
from qorworker.execution.budgets import watch_queries
from qorworker.execution.context import JobContext
from qorworker.execution.endings import Ending, clean, ending_of, finished
from qorworker.execution.execute import context_of, counting, keep_returned, load, note_failure
from qorworker.execution.messages import Record, Work
from qorworker.status import Outcome
from qorworker.text.masking import Mask


async def execute_together(
    work: Work,
    send: Callable[[Record], None],
    *,
    requests: dict[str, Callable[[], bool]],
    surroundings: Callable[[JobContext], AbstractContextManager[None]],
    tasks: Callable[[], Collection[asyncio.Task[Any]]],
    mask: Mask,
) -> Ending:
    """Run one attempt to its end. It never raises for what the job does.

    :param requests: ``abort_requested`` and ``suspend_requested``, as for ``execute``. An abort cancels this task, too.
    :param tasks: returns the tasks that the job has started and that have not ended. They end with its handler.
    """
    begun = time.perf_counter()
    job_type = registry.find(work.name)
    try:
        ending = await _load_and_run(work, send, requests, surroundings, mask)
    except BaseException as error:  # this place must survive whatever a handler raises
        if job_type is None or (isinstance(error, asyncio.CancelledError) and requests["abort_requested"]()):
            ending = Ending(Outcome.ABORTED, _("Aborted."))
        else:
            ending = ending_of(error, job_type, mask)
    ending.returned_at = time.monotonic()
    await _end_all(tasks)
    if ending.raised is not None or requests["abort_requested"]():
        # Behind a function of the job that this thread still runs: it cannot be cancelled, and the job has not ended
        # until it returns.
        await _close_broken_connections()
    if ending.raised is not None and job_type is not None:
        note_failure(work, job_type, ending, ending.raised, mask)
    ending.duration = time.perf_counter() - begun
    clean(ending, mask)
    return ending


async def _load_and_run(
    work: Work,
    send: Callable[[Record], None],
    requests: dict[str, Callable[[], bool]],
    surroundings: Callable[[JobContext], AbstractContextManager[None]],
    mask: Mask,
) -> Ending:
    loaded = load(work, mask) if _is_plain(work) else await sync_to_async(load)(work, mask, send=send)
    if isinstance(loaded, Ending):
        return loaded
    job_type, arguments = loaded
    context = context_of(work, job_type, arguments, send, mask, requests, {})
    context.shares_loop = True
    with surroundings(context):
        try:
            if "max_queries" in job_type.budgets:
                await sync_to_async(watch_queries)()
            with counting(context):
                returned = await middleware.around_coroutine(job_type)(context)
            keep_returned(job_type, context, returned)
            return finished(job_type, context)
        finally:
            context.flush()


def _is_plain(work: Work) -> bool:
    """Whether the job can be loaded without the database: rights and approvals are not checked, and no row is read."""
    job_type: JobType[..., Any] | None = registry.find(work.name)
    if work.created_by is not None or job_type is None or job_type.approval is not None:
        return False
    return job_type.arguments.definition.shortcut is not None


async def _end_all(tasks: Callable[[], Collection[asyncio.Task[Any]]]) -> None:
    """Cancel what the handler has started and not awaited, as ``asyncio.run`` does, and wait until it has ended."""
    for task in tasks():
        task.cancel()
    while left := tasks():
        with suppress(asyncio.CancelledError):  # this request ends the handler, which has ended
            await asyncio.wait(left)


async def _close_broken_connections() -> None:
    """Let the thread of Django's ORM connect anew if its connection is broken, which may be why the job has failed."""
    with suppress(asyncio.CancelledError, Exception):  # the failure itself counts
        await sync_to_async(close_old_connections)()
