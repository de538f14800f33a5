"""Other places where jobs run, each a backend of a queue. Web, cron and Celery processes; none in a runworker."""

from qorworker.queues.base import BaseBackend

__all__ = ["BaseBackend"]
