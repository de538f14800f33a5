"""What is put around every job of the project. In the process that runs the job."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.db import connection
from django.utils.decorators import sync_and_async_middleware

from qorworker import JobContext


@sync_and_async_middleware
def cost(call_next: Callable[[JobContext], Any]) -> Callable[[JobContext], Any]:
    """The last line of each job's log says what the job has cost."""

    async def awaiting(context: JobContext) -> Any:  # jobs that share a process have no connection of their own
        begun = time.monotonic()
        try:
            return await call_next(context)
        finally:
            context.add_log(f"{time.monotonic() - begun:.1f} s")

    if iscoroutinefunction(call_next):
        return awaiting

    def middleware(context: JobContext) -> Any:
        begun, statements = time.monotonic(), 0

        def count(execute: Any, *statement: Any) -> Any:
            nonlocal statements
            statements += 1
            return execute(*statement)

        try:
            with connection.execute_wrapper(count):
                return call_next(context)
        finally:
            context.add_log(f"{statements} statements to the database, {time.monotonic() - begun:.1f} s")

    return middleware
