"""Makes a middleware of a block around a run: for functions and for coroutines. Wherever a job runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.utils.decorators import sync_and_async_middleware

if TYPE_CHECKING:  # settings name what needs this module, before models can be loaded
    from qorworker.execution.context import JobContext

Block = Callable[["JobContext"], AbstractContextManager[None]]
Handler = Callable[["JobContext"], Any]


def surrounding(block: Block, *, reads_row: bool = False) -> Callable[[Handler], Handler]:
    """Return a factory of middleware.

    :param block: what is entered before the handler is called, and left afterwards, with its exception if there is one.
    :param reads_row: whether the block reads ``context.job``: a query, which a coroutine leaves to a thread.
    """

    @sync_and_async_middleware
    def factory(call_next: Handler) -> Handler:
        def middleware(context: JobContext) -> Any:
            with block(context):
                return call_next(context)

        async def amiddleware(context: JobContext) -> Any:
            if reads_row:
                await sync_to_async(lambda: context.job)()
            with block(context):
                return await call_next(context)

        return amiddleware if iscoroutinefunction(call_next) else middleware

    return factory
