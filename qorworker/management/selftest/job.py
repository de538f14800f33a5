"""The job of the test. Only the processes of ``manage.py testworkers`` know its type, so no other worker runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

from qorworker.definitions.registry import job, registry
from qorworker.execution.context import JobContext
from qorworker.models.job_messages import SELF_TEST
from qorworker.system.processes import LINUX, monotonic

NOTES, PIDS = "notes", "pids"  # files in the folder of the test
DEPTH = 2  # programs that are started one by the other
SECONDS = 120  # after which they end even if nobody ends them
PROGRAM = """
import os, subprocess, sys, time
program, depth, path, seconds, is_apart = sys.argv[1:]
if int(depth) > 1:
    command = [sys.executable, "-c", program, program, str(int(depth) - 1), path, seconds, is_apart]
    subprocess.Popen(command, start_new_session=bool(is_apart))
with open(path, "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(float(seconds))
"""


@job(name=SELF_TEST, max_attempts=2, backoff=lambda attempt: 0, schedulable=False)
def self_test(context: JobContext, folder: str, task: Literal["note", "hold"] = "note") -> None:
    """Leaves a note that it has started. With *hold*, its first attempt then goes on until it is ended."""
    _append(Path(folder, NOTES), f"{context.job_id} {context.attempt} {monotonic()}")
    if task == "hold" and context.attempt == 1:
        _append(Path(folder, PIDS), str(os.getpid()))
        is_apart = "1" if LINUX else ""  # elsewhere only the process group of a job is ended
        arguments = [PROGRAM, str(DEPTH), str(Path(folder, PIDS)), str(SECONDS), is_apart]
        subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], start_new_session=LINUX).wait()


registry.hide(SELF_TEST)


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")
