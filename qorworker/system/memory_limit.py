"""Limits the memory of a process while it runs a job. Children, and those of Celery's pools."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator

NO_LIMIT = contextlib.nullcontext()


def memory_limit(limit: int | None) -> contextlib.AbstractContextManager[None]:
    """Limit this process to *limit* bytes, so that a greedy job fails and its worker does not."""
    return NO_LIMIT if limit is None else _limited(limit)  # most jobs have none


@contextlib.contextmanager
def _limited(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
