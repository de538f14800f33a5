"""Jobs that Celery's workers run. Web processes, and those of Celery."""

from qorworker.backends.celery import tasks as _tasks  # noqa: F401 - registers them with Celery
from qorworker.backends.celery.backend import CeleryBackend

__all__ = ["CeleryBackend"]
