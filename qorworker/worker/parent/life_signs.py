"""Signs that a worker is ready and alive, for what watches it from outside: systemd, and probes. Parent process.

They come from the loop itself, so they stop if that hangs. A database that does not answer does not stop them: another
worker could do no more.
"""

from __future__ import annotations

import logging
from pathlib import Path

from qorworker.system.service_manager import ServiceManager

logger = logging.getLogger(__name__)

INTERVAL = 5.0  # seconds between two signs at most


class LifeSigns:
    """Tells the service manager how the worker is, and touches a file as long as it is ready and its loop runs."""

    def __init__(self, manager: ServiceManager, file: Path | None = None) -> None:
        self.manager, self.file = manager, file
        self.is_ready = self.is_stopping = False
        self.interval = min(INTERVAL, manager.watchdog / 3) if manager.watchdog else INTERVAL
        if file is not None:
            file.unlink(missing_ok=True)  # of a worker before, which was killed

    def check_file(self) -> None:
        """Raise ``OSError`` if the file cannot be written."""
        if self.file is not None:
            self.file.touch()
            self.file.unlink()

    def ready(self) -> None:
        """Say that jobs can start."""
        self.is_ready = True
        self.manager.tell(READY=1, STATUS="Takes jobs.")
        self._touch()

    def step(self, running: int, *, is_stopping: bool) -> None:
        """Give a sign.

        :param running: how many jobs run.
        :param is_stopping: whether no more jobs are claimed, because the worker is to end.
        """
        if is_stopping:
            self._stopping()
        state = "Stops" if is_stopping else "Runs"
        self.manager.tell(WATCHDOG=1, STATUS=f"{state}; {running} jobs are running.")
        if self.is_ready:
            self._touch()

    def end(self) -> None:
        """Remove the file."""
        self._stopping()
        if self.file is not None:
            try:
                self.file.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("The file %s could not be removed: %s", self.file, error)

    def _stopping(self) -> None:
        if not self.is_stopping:
            self.is_stopping = True
            self.manager.tell(STOPPING=1)

    def _touch(self) -> None:
        if self.file is None:
            return
        try:
            self.file.touch()
        except OSError as error:
            logger.warning("The file %s could not be touched: %s", self.file, error)
