"""Settings of a project whose jobs run on Celery."""

from tests.processes.settings import *  # noqa: F403
