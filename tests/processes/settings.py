"""Settings of a worker under test: those of all tests, with values that the test gave in the environment."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, QORWORKER

given = json.loads(os.environ.get("QORWORKER_TEST_SETTINGS") or "{}")
QORWORKER = {**QORWORKER, **given, "QUEUES": {**QORWORKER["QUEUES"], **given.get("QUEUES", {})}}
INSTALLED_APPS = [*INSTALLED_APPS, "qorworker.testing"]

if address := os.environ.get("QORWORKER_TEST_SENTRY"):
    import sentry_sdk

    sentry_sdk.init(address)

if os.environ.get("QORWORKER_TEST_CONSOLE"):  # log lines as a container has them
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "qorworker.contrib.logs.JSONFormatter"}},
        "handlers": {"console": {"class": "qorworker.contrib.logs.ConsoleHandler", "formatter": "json"}},
        "root": {"handlers": ["console"], "level": "INFO"},
    }
    QORWORKER["MIDDLEWARE"] = ["qorworker.contrib.logs.with_job"]
