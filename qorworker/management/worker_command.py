"""The base of the commands that run jobs: their own command line also starts the fork server. Commands."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import Any

from django.core import checks
from django.core.management.base import CommandError, SystemCheckError

from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.management.base import DatabaseCommand
from qorworker.system.forking import call_in_fork
from qorworker.worker import launch
from qorworker.worker.early import EarlyForkServer, fork_server_if_safe

CLASH = "qorworker.E002"  # of two names: neither of them can be left out alone


class WorkerCommand(DatabaseCommand):
    """A command that runs jobs. If it was started as a fork server, it becomes one instead."""

    command: list[str] | None = None  # the command line of this process, if another process may be started by it
    fork_server: EarlyForkServer | None = None
    keeps_checked_modules = False  # whether this process needs what the system checks load

    def run_from_argv(self, argv: list[str]) -> None:
        if launch.is_fork_server():
            from qorworker.worker.forkserver import serve  # noqa: PLC0415 - a parent must not load it

            serve()
            return
        self.command = launch.same_command(argv)
        super().run_from_argv(argv)

    def execute(self, *args: Any, **options: Any) -> str | None:
        if self.command is not None:  # else this process belongs to another program
            self.fork_server = fork_server_if_safe()
        self.set_up(**options)
        return super().execute(*args, **options)

    def set_up(self, **options: Any) -> None:
        """Prepare this process, and not the fork server."""

    def check(self, *args: Any, **options: Any) -> None:
        """Run the system checks. A job type with an error is left out, so that it does not stop all others.

        They load what a worker never needs, such as all views, so they run in a process of their own if they can.
        """
        check = partial(self.broken_types, *args, **options)
        is_apart = self.fork_server is not None and not self.keeps_checked_modules
        broken = call_in_fork(check) if is_apart else None
        # After a problem again: this time it is raised where it can be reported.
        registry.leave_out(check() if broken is None else broken)

    def broken_types(self, *args: Any, **options: Any) -> list[str]:
        """Run the system checks, and return the names of the job types that have errors. Raise all other errors."""
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            serious = [each for each in checks.run_checks() if each.is_serious() and not each.is_silenced()]
            broken = {each.obj.name for each in serious if isinstance(each.obj, JobType) and each.id != CLASH}
            if not all(isinstance(each.obj, JobType) and each.id != CLASH for each in serious):
                raise
            self.stderr.write(str(error))
            self.stderr.write(f"No jobs of these types are started until that is mended: {', '.join(sorted(broken))}.")
            return sorted(broken)
        return []

    def warn_of_root(self) -> None:
        """Warn once that jobs run with the rights of root."""
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            self.stderr.write(self.style.WARNING("This worker runs as root, and so does every job. Give it a user."))


def raise_failure(failure: str) -> None:
    """End the command with an error if its worker could not work."""
    if failure:
        raise CommandError(failure)


def log_to_console(stream: Any, verbosity: int) -> None:
    """Let people see what the worker does, unless the project has its own logging for it."""
    logger = logging.getLogger("qorworker")
    if not logger.hasHandlers():
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel({0: logging.ERROR, 1: logging.INFO}.get(verbosity, logging.DEBUG))
