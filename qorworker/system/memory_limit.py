"""Limits the memory of a process while it runs a job. Children, and those of Celery's pools."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def memory_limit(limit: int | None) -> Iterator[None]:
    """Limit this process to *limit* bytes, so that a greedy job fails and its worker does not."""
    if limit is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
