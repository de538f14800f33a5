"""Counts what the processes of a worker do. A counter is loaded into each of them, and writes a file at its end.

Counts do not depend on how fast the machine is, so a budget can hold them.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from django.db.backends.signals import connection_created

from qorworker.worker.launch import is_fork_server

FOLDER = "QORWORKER_BENCH_COUNTS"  # the variable that names the folder for the files


class ProcessCounter:
    """Counts the calls of Python functions and, on SQLite, the statements of this process and of those it forks."""

    def __init__(self) -> None:
        self.calls = self.statements = 0

    def start(self) -> None:
        self.calls = self.statements = 0
        sys.setprofile(self._on_event)
        threading.setprofile(self._on_event)
        connection_created.connect(self._on_connection)

    def stop(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        connection_created.disconnect(self._on_connection)

    def _on_event(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            self.calls += 1

    def _on_connection(self, sender: Any, connection: Any, **more: Any) -> None:
        if connection.vendor == "sqlite":
            connection.connection.set_trace_callback(self._on_statement)

    def _on_statement(self, text: str) -> None:
        self.statements += 1


def start_if_wanted() -> None:
    """Count from now on if the environment names a folder."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    counter = ProcessCounter()
    role = "fork server" if is_fork_server() else "parent"

    def write() -> None:
        counter.stop()
        figures = {"role": role, "calls": counter.calls, "statements": counter.statements}
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(figures))

    def on_fork() -> None:
        nonlocal role
        role = "child"
        counter.start()
        atexit.register(write)

    os.register_at_fork(after_in_child=on_fork)
    atexit.register(write)
    counter.start()


def total(folder: Path) -> Counter[str]:
    """Add up the files that the processes have written."""
    figures: Counter[str] = Counter()
    for file in folder.glob("*.json"):
        counts = json.loads(file.read_text())
        figures[f"{counts['role']} calls"] += counts["calls"]
        figures["statements"] += counts["statements"]
    return figures
