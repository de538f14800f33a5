"""Settings of a project whose jobs run on Celery."""

from tests.worker.settings import *  # noqa: F403
