"""What is put around every job of the project. In the process that runs the job."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.db import connection

from qorworker import JobContext


def cost(call_next: Callable[[JobContext], Any]) -> Callable[[JobContext], Any]:
    """The last line of each job's log says what the job has cost."""

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
