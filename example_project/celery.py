"""The Celery app of the example project, for EXAMPLE_BROKER=redis://…: jobs of the queue "media" run on its workers."""

from __future__ import annotations

import os

from celery import Celery  # type: ignore[import-not-found, import-untyped, unused-ignore]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")

app = Celery("example_project", broker=os.environ.get("EXAMPLE_BROKER"))
app.conf.beat_schedule = {"tend": {"task": "qorworker.tend", "schedule": 5.0}}  # where no runworker runs
app.set_default()
