"""Processes that work on the database of a test, gone with all they have started when it is over."""

import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

from tests.support import MARK, ROOT, WITH_THE_TESTS, census, environment


@contextmanager
def process(folder, *command, settings, queues, **more):
    """``python`` with these arguments and settings, these queues, and *more* in its environment."""
    mark = f"{MARK}={secrets.token_hex(8)}"
    env = {**environment(mark, QUEUES=queues, **more.pop("qorworker", {})), "DJANGO_SETTINGS_MODULE": settings, **more}
    log = folder / f"{mark[-8:]}.log"
    with log.open("wb") as file:
        started = subprocess.Popen(
            [*WITH_THE_TESTS, sys.executable, *command],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    started.mark, started.log = mark, log
    try:
        yield started
    finally:
        end_all(started)
        print(log.read_text())


def celery_process(folder, broker, queue, *, queues, pool="prefork", beat=True, **more):
    """A ``celery worker`` for one *queue* of the *broker*, as ``process()``. It may not be ready yet."""
    command = ["-m", "celery", "-A", "tests.backends.celery_app", "worker", "--pool", pool, "--concurrency", "2"]
    command += ["-n", f"{secrets.token_hex(4)}@test", "--loglevel", "INFO", "-Q", queue, "--without-mingle"]
    command += ["-B", "-s", str(folder / f"beat-{secrets.token_hex(4)}")] if beat else []
    env = {"QORWORKER_TEST_BROKER": broker, "QORWORKER_TEST_BROKER_QUEUE": queue}
    return process(folder, *command, queues=queues, **env, **more)


def end_all(started):
    """Kill the process and everything that it has started."""
    while pids := census(started.mark):
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    started.wait(10)
