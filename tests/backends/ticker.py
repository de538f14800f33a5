"""Does in a loop what cron does once a minute: ``python -m tests.backends.ticker``."""

import os
import time

import django

django.setup()

if __name__ == "__main__":
    from django.db import connections

    from qorworker.backends.crontab import run_tick

    while True:
        run_tick()
        connections.close_all()
        time.sleep(float(os.environ.get("QORWORKER_TEST_TICK", "0.2")))
