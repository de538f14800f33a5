"""The default backend: the row is the queue, and ``runworker`` takes from it. Web and worker processes."""

from __future__ import annotations

from qorworker.queues.base import BaseBackend


class LocalBackend(BaseBackend):
    """Jobs run in the child processes of ``manage.py runworker``."""

    is_served_by_workers = True
    supports_dry_run = True
