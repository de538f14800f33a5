"""``manage.py runworker``: options in, ``Supervisor`` out. Parent process."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError, CommandParser
from django.db import OperationalError, connections

from qorworker.conf import settings
from qorworker.database import sqlite
from qorworker.database.connection import Database
from qorworker.management.arguments import at_least_one, seconds
from qorworker.management.worker_command import WorkerCommand, log_to_console, raise_failure
from qorworker.queues import backend_of
from qorworker.system.processes import default_processes
from qorworker.system.service_manager import ServiceManager

if TYPE_CHECKING:
    from qorworker.worker.parent.life_signs import LifeSigns

WAIT = 1.0  # seconds between two system checks while the database does not answer
logger = logging.getLogger(__name__)


class Command(WorkerCommand):
    help = "Runs background jobs until it gets a signal to stop. Any number of workers may share one database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queues", default="*", help="Queues to serve, separated by commas (default: all).")
        parser.add_argument("--exclude-queues", default="", help="Queues not to serve, separated by commas.")
        parser.add_argument(
            "--processes", type=at_least_one, default=default_processes(), help="Jobs run at the same time."
        )
        parser.add_argument("--batch", action="store_true", help="End when no job is left to run.")
        parser.add_argument("--max-jobs", type=at_least_one, help="End after so many jobs.")
        parser.add_argument(
            "--grace", type=seconds, default=30.0, help="Seconds that running jobs get after the first signal."
        )
        parser.add_argument(
            "--health-file", type=Path, metavar="FILE", help="Exists while it takes jobs, touched every 5 seconds."
        )
        parser.add_argument("--reload", action="store_true", help="Start again when code changes, between jobs.")
        parser.add_argument("--database", help="Alias of the database with the jobs (default: the router's choice).")

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except KeyboardInterrupt:  # before the worker hears signals: it may wait long for its database
            raise CommandError("Interrupted.", returncode=130) from None

    def set_up(self, **options: Any) -> None:
        log_to_console(self.stderr, options["verbosity"])
        self.keeps_checked_modules = options["reload"]  # their files are watched, too

    def broken_types(self, *args: Any, **options: Any) -> list[str]:
        """Wait for a server that is down: on MariaDB the system checks ask it.

        A file that cannot be opened is an error. Not every release of Django opens it for its checks.
        """
        connection = connections[self.using]
        has_said = False
        while True:
            try:
                with Database(self.using).limited():
                    if connection.vendor == "sqlite":
                        connection.ensure_connection()
                    return super().broken_types(*args, **options)
            except OperationalError as error:
                if sqlite.unwritable(connection, error):
                    raise  # waiting does not help
                if not has_said:
                    has_said = True
                    logger.warning("The database does not answer (%s); waiting for it.", error.args[-1])
            time.sleep(WAIT)

    def handle(self, **options: Any) -> None:
        # Not for a fork server.
        from qorworker.worker.parent.supervisor import Supervisor, WorkerOptions  # noqa: PLC0415

        self.warn_of_root()
        supervisor = Supervisor(
            WorkerOptions(
                queues=_served(_queues(options["queues"], "--queues")),
                excluded=_queues(options["exclude_queues"], "--exclude-queues"),
                processes=options["processes"],
                grace=options["grace"],
                batch=options["batch"],
                max_jobs=options["max_jobs"],
                using=self.using,
                command=self.command,
                fork_server=self.fork_server,
                life_signs=_life_signs(options["health_file"]),
            )
        )
        if options["reload"]:
            from qorworker.worker.parent.reload import stop_on_change  # noqa: PLC0415 - as above

            stop_on_change(supervisor)
        supervisor.run()
        raise_failure(supervisor.pool.fork_server.failure)
        if self.command is not None and options["reload"] and supervisor.code_changed:
            os.execv(self.command[0], self.command)  # noqa: S606 - the command line of this process


def _life_signs(file: Path | None) -> LifeSigns:
    from qorworker.worker.parent.life_signs import LifeSigns  # noqa: PLC0415 - not for a fork server

    try:
        signs = LifeSigns(ServiceManager(), file)
        signs.check_file()
    except OSError as error:
        raise CommandError(f"--health-file: {error}") from error
    return signs


def _queues(text: str, option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name != "*" and name not in settings.QUEUES]:
        raise CommandError(
            f"{option}: unknown queue {', '.join(unknown)}. QORWORKER['QUEUES'] has {', '.join(settings.QUEUES)}."
        )
    return names


def _served(names: list[str]) -> list[str]:
    for name in names:
        if name != "*" and not backend_of(name).is_served_by_workers:
            raise CommandError(f"--queues: the jobs of queue {name} are run by {type(backend_of(name)).__name__}.")
    return names
