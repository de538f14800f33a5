"""Settings of a project that runs its jobs with cron."""

import os
from pathlib import Path

from qorworker.backends.crontab import CRONJOBS as TICK
from tests.processes.settings import *  # noqa: F403
from tests.processes.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_crontab"]
CRONJOBS = [*TICK]
CRONTAB_DJANGO_MANAGE_PATH = str(Path(__file__).resolve().parents[2] / "manage.py")
CRONTAB_DJANGO_SETTINGS_MODULE = "tests.backends.cron_settings"
CRONTAB_COMMENT = "a test of qorworker"
CRONTAB_COMMAND_PREFIX = os.environ.get("QORWORKER_TEST_CRON_PREFIX", "")
