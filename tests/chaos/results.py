"""The results of trials: one line of JSON each, so that a long run may end at any time and go on later.

``explained`` is added to a line by hand once the cause of its violations is known, and ``remark`` as long as it is not.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "explanation" / "trials.jsonl"
PROGRAMS = {
    "PostgreSQL": ["psql", "--version"],
    "MariaDB": ["/usr/sbin/mariadbd", "--version"],
}


def add(file: Path, **result: Any) -> None:
    result = {"at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "on": surroundings(), **result}
    with file.open("a") as target:
        target.write(json.dumps(result, sort_keys=True) + "\n")


def store(file: Path | None, *, figures: dict[str, Any], violations: list[str], **more: Any) -> None:
    """Write what a trial has found into the file of its option --json, if it has one."""
    if file is not None:
        file.write_text(json.dumps({"figures": figures, "violations": violations, **more}, indent=1))


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def surroundings() -> dict[str, str]:
    found = {"Python": platform.python_version(), "Django": version("Django"), "SQLite": sqlite3.sqlite_version}
    for name, command in PROGRAMS.items():
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        except OSError:
            continue
        if number := re.search(r"\d+\.\d+(\.\d+)?", said):
            found[name] = number.group()
    return {**found, "system": f"{platform.system()} {platform.release()}", "processors": str(processors())}


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment(database: str) -> dict[str, str]:
    """For a process that works on this kind of database, with names of its own."""
    name = f"{os.environ.get('QORWORKER_TEST_NAME', 'qorworker_test')}_{database}"
    return {**os.environ, "QORWORKER_TEST_DATABASE": database, "QORWORKER_TEST_NAME": name}


def run_trial(database: str, *arguments: str, seed: int, timeout: float) -> tuple[int, str, float]:
    """Run a trial in a process of its own: its exit status, what it said, and its seconds."""
    begun, env = time.monotonic(), environment(database)
    command = [sys.executable, "-m", "tests.chaos", "--seed", str(seed), *arguments]
    try:
        ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as late:
        return 1, f"VIOLATION it took more than {timeout:.0f} s\n{late.stdout!r}", time.monotonic() - begun
    said = ended.stdout + (ended.stderr if ended.returncode else "")
    return ended.returncode, said, time.monotonic() - begun
