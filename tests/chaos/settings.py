"""Settings of the processes of a trial: with crash points where the environment asks for them."""

import os
from pathlib import Path

from tests.backends.celery_settings import *  # noqa: F403
from tests.chaos.points import FOLDER, install

if os.environ.get("QORWORKER_TEST_BROKER"):
    import tests.backends.celery_app  # noqa: F401 - the app to which this process hands jobs over

if folder := os.environ.get(FOLDER):
    install(Path(folder))
