"""Settings of the benchmark's project: the test settings on a database of its own, with jobs to measure."""

from __future__ import annotations

import os

os.environ.setdefault("QORWORKER_TEST_NAME", "qorworker_bench")

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, ENGINE, INSTALLED_APPS, NAME, SCRATCH

DATABASES["default"]["NAME"] = str(SCRATCH / "bench.sqlite3") if ENGINE == "sqlite" else NAME
DATABASES["default"]["CONN_MAX_AGE"] = None
INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.benchjobs"]
SILENCED_SYSTEM_CHECKS = ["models.W037", "models.W043"]  # an index of the table beside which enqueueing is measured
TASKS: dict = {}  # else the signals of Django's framework are sent for each job
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"qorworker": {"handlers": ["console"], "level": "WARNING"}},
}
