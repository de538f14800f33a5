"""``python -m tests.chaos.people SEED FOLDER``: a process of people at work, which a trial can kill at any point."""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import suppress
from pathlib import Path


def main(seed: str, folder: str) -> None:
    import django

    django.setup()
    from django.db import Error, close_old_connections

    from qorworker.models import Job
    from tests.chaos.mix import People

    people = People(random.Random(seed), Path(folder), celery="QORWORKER_TEST_BROKER" in os.environ)
    backlog = int(os.environ.get("QORWORKER_CHAOS_BACKLOG", "12"))
    while not (Path(folder) / "enough").exists():
        close_old_connections()
        with suppress(Error):  # people press the button again
            if Job.objects.filter(status__in=("new", "running")).count() < backlog:
                people.enqueue()
            people.use_a_verb()
        time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
