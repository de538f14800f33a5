"""What a place where jobs run must be able to do. Wherever a job is enqueued or stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BaseBackend:
    """Runs the jobs of one queue. The row is always the truth; a backend only has to be told of changes."""

    supports_schedule = True  # a job may wait for its time
    supports_abort = True  # a running job can be ended
    supports_priority = True

    def __init__(self, queue_name: str, options: Mapping[str, Any]) -> None:
        self.queue_name = queue_name
        self.options = options
        if unknown := set(options) - self.known_options:
            raise ValueError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}.")

    known_options: frozenset[str] = frozenset()
