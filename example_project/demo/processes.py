"""The processes of the demo: commands of manage.py that run beside this one and end with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from django.core.management.base import CommandError

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"
STOP_SECONDS = 30  # for ending in order; after that a process is killed


class Processes:
    """A context in which processes run; leaving it stops them, the last one first."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *arguments: str, output: Path | None = None) -> None:
        """Run ``manage.py`` with *arguments*; what it prints goes to *output*, or to where ours goes."""
        stream = output.open("wb") if output else None
        try:
            # A session of its own: Ctrl-C in the terminal is for this process, which then stops the others in order.
            self.running[arguments[0]] = subprocess.Popen(
                [sys.executable, str(MANAGE), *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT if stream else None,
                start_new_session=True,
            )
        finally:
            if stream:
                stream.close()

    def ended(self) -> str | None:
        """A sentence about a process that ended by itself, if there is one."""
        for name, process in self.running.items():
            if process.poll() is not None:
                return f"{name} ended with exit status {process.returncode}."
        return None

    def wait_until(self, condition: Callable[[], bool], what: str, limit: float = 120) -> None:
        """Wait for *condition*; raises ``CommandError`` when it takes too long or a process ends meanwhile."""
        deadline = time.monotonic() + limit
        while not condition():
            if sentence := self.ended():
                raise CommandError(f"Waited for {what}, but {sentence}")
            if time.monotonic() > deadline:
                raise CommandError(f"Waited {limit:.0f} seconds for {what}, in vain.")
            time.sleep(0.05)

    def __enter__(self) -> Processes:
        # What is ignored stays so: under nohup the demo outlives its terminal.
        ending = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
        self.handlers = {number: signal.signal(number, _interrupt) for number in ending}
        return self

    def __exit__(self, *error: object) -> None:
        killed = [name for name, process in reversed(self.running.items()) if not stop(process)]
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if killed:
            raise CommandError(f"{' and '.join(killed)} did not stop in order and had to be killed.")


def stop(process: subprocess.Popen[bytes]) -> bool:
    """End *process*; False if it had to be killed, because it took too long or Ctrl-C came again."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with contextlib.suppress(ProcessLookupError):  # it ended while Ctrl-C was pressed
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
