"""Tasks with which ``TaskBackendContract`` tests a backend of Django's task framework. All processes.

They belong to the alias ``default``; the contract enqueues them under its own. Workers find them because the module is
called ``tasks``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task  # type: ignore[import-not-found, no-redef, unused-ignore]


@task()
def add(first: int, second: int = 2) -> int:
    return first + second


@task()
def echo(*args: Any, **kwargs: Any) -> Any:
    return [list(args), kwargs]


@task()
async def add_later(first, second):  # type: ignore[no-untyped-def]
    await asyncio.sleep(0)
    return first + second


@task()
def fail(message):  # type: ignore[no-untyped-def]
    raise ValueError(message)


@task()
def leave() -> None:
    sys.exit(3)


@task()
def unserializable() -> Any:
    return object()


@task()
def not_a_number() -> float:
    return float("nan")


@task(takes_context=True)
def attempt(context, path):  # type: ignore[no-untyped-def]
    """Returns what it knows of its attempt."""
    Path(path).write_text(f"{context.attempt} {context.task_result.id} {context.task_result.status}")
    return context.task_result.args


@task()
def note(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{text}\n")
