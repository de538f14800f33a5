"""Handlers that are coroutines, and loops in them. Wherever a job runs.

Each step of a loop is made in the thread in which Django runs its ORM for coroutines.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

END = object()


class _Thread(threading.local):
    """What runs in each thread."""

    loop: asyncio.AbstractEventLoop | None = None
    error: BaseException | None = None  # with which it was interrupted


_this_thread = _Thread()
running_loops: set[asyncio.AbstractEventLoop] = set()  # of all threads


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine as ``asyncio.run`` does, so that ``interrupt`` can end it."""
    try:
        with asyncio.Runner() as runner:
            _this_thread.loop = runner.get_loop()
            running_loops.add(_this_thread.loop)
            return runner.run(coroutine)
    finally:
        if _this_thread.loop is not None:
            running_loops.discard(_this_thread.loop)
        error, _this_thread.loop, _this_thread.error = _this_thread.error, None, None
        if error is not None:
            raise error


def interrupt(error: BaseException) -> None:
    """Raise *error* where a signal has interrupted this thread; between two steps of a coroutine cancel it instead.

    There asyncio would take it for an exception of one of its callbacks, report it, and go on.
    """
    loop = _this_thread.loop
    if loop is None or not loop.is_running() or asyncio.current_task(loop) is not None:
        raise error
    _this_thread.error = error
    loop.call_soon_threadsafe(_cancel_all, loop)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()


def refuse_event_loop(verb: str, instead: str) -> None:
    """Raise ``SynchronousOnlyOperation`` in a coroutine: what reads the database would block its event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SynchronousOnlyOperation(f"{verb} was called in a coroutine: use {instead}.")


class AsyncLoop(AsyncIterator[Any]):
    """A loop for ``async for``. *begin* returns it, in the thread of the ORM."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self.begin = begin
        self.loop: Iterator[Any] | None = None
        self.step: asyncio.Future[Any] | None = None  # to the next item
        self.is_awaited = False

    async def __anext__(self) -> Any:
        if self.is_awaited:
            raise RuntimeError("aiterate() was asked for its next item by two coroutines at once: one would lose it.")
        if self.step is None:
            self.step = asyncio.ensure_future(sync_to_async(self._next)())
        self.is_awaited = True
        try:
            # If this is cancelled, the item stays for who asks next: the loop takes the one before for done already.
            item = await asyncio.shield(self.step)
            self.step = None
        finally:
            self.is_awaited = False
        if item is END:
            raise StopAsyncIteration
        return item

    def _next(self) -> Any:
        if self.loop is None:
            self.loop = self.begin()
        return next(self.loop, END)
