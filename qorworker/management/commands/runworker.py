"""``manage.py runworker``: options in, ``Supervisor`` out. Parent process."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import router

from qorworker.backends import backend_of
from qorworker.conf import settings
from qorworker.models import Job
from qorworker.worker.supervisor import Options, Supervisor, default_processes


class Command(BaseCommand):
    help = "Runs background jobs until it is told to stop. Any number of workers may share one database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--queues", default="*", help="Queues to serve, separated by commas (default: all).")
        parser.add_argument("--exclude-queues", default="", help="Queues not to serve, separated by commas.")
        parser.add_argument(
            "--processes", type=_at_least_one, default=default_processes(), help="Jobs run at the same time."
        )
        parser.add_argument("--batch", action="store_true", help="End when no job is left to run.")
        parser.add_argument("--max-jobs", type=_at_least_one, help="End after so many jobs.")
        parser.add_argument(
            "--grace", type=_seconds, default=30.0, help="Seconds that running jobs get after the first signal."
        )
        parser.add_argument("--reload", action="store_true", help="Start again when code changes, between jobs.")
        parser.add_argument("--database", help="Alias of the database with the jobs (default: the router's choice).")

    def handle(self, **options: Any) -> None:
        _log_to_console(self.stderr, options["verbosity"])
        supervisor = Supervisor(
            Options(
                queues=_served(_queues(options["queues"], "--queues")),
                excluded=_queues(options["exclude_queues"], "--exclude-queues"),
                processes=options["processes"],
                grace=options["grace"],
                batch=options["batch"],
                max_jobs=options["max_jobs"],
                using=options["database"] or router.db_for_write(Job),
            )
        )
        if options["reload"]:
            from qorworker.worker.reload import stop_on_change

            stop_on_change(supervisor)
        supervisor.run()
        if options["reload"] and supervisor.code_changed:
            os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - the command line of this process


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


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1.")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds.")
    return seconds


def _log_to_console(stream: Any, verbosity: int) -> None:
    """Let people see what the worker does, unless the project has its own logging for it."""
    logger = logging.getLogger("qorworker")
    if not logger.hasHandlers():
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel({0: logging.ERROR, 1: logging.INFO}.get(verbosity, logging.DEBUG))
