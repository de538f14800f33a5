"""A process that does nothing but fire schedules, as the parent of a worker does: ten of them are cheap."""

from __future__ import annotations

import os
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.processes.settings")


def main() -> None:
    django.setup()
    from qorworker.database.connection import Database
    from qorworker.maintenance.scheduler import Scheduler
    from qorworker.system.processes import monotonic

    database, scheduler = Database("default"), Scheduler("default")
    print("ready", flush=True)
    while True:
        now = monotonic()
        answer = database.call(now, scheduler.look)
        time.sleep(max(0.0, answer[1] if answer else database.retry_at - monotonic()))


if __name__ == "__main__":
    sys.exit(main())
