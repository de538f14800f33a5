"""Calls a function in a fork of this process: the memory that it takes is free again afterwards. Parent process."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from qorworker.system import processes


def call_in_fork(function: Callable[[], Any]) -> Any:
    """Return what *function* returns there, which must be JSON. None if it raises anything.

    The fork dies with this process. It must be safe to fork this process: there is one thread.
    """
    source, sink = os.pipe()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os.close(source)
        os.close(sink)
        return None
    if not pid:
        _answer(function, sink, parent)
    os.close(sink)
    is_read = False
    try:
        with os.fdopen(source, "rb") as file:
            answer = file.read()
        is_read = True
    finally:
        if not is_read:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    return json.loads(answer) if status == 0 else None


def _answer(function: Callable[[], Any], sink: int, parent: int) -> None:
    """Call the function in the fork. Never returns."""
    status = 1
    try:
        processes.die_with_parent(parent)
        answer = json.dumps(function()).encode()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with os.fdopen(sink, "wb") as file:
            file.write(answer)
        status = 0
    finally:
        os._exit(status)
