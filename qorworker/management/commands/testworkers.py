"""``manage.py testworkers``: prove on the project's own database that workers keep what is promised.

The command starts workers of its own, as further processes with the option ``--serve``. They run only its jobs: these
are in a queue of their own, and no other worker knows their type.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

import qorworker
from qorworker.management.arguments import seconds
from qorworker.management.selftest import behaviour, surroundings
from qorworker.management.selftest.trial import Trial
from qorworker.management.selftest.verdicts import Finding, State, findings
from qorworker.management.worker_command import WorkerCommand, log_to_console, raise_failure
from qorworker.system.processes import monotonic

CHECKS = (*surroundings.CHECKS, *behaviour.CHECKS)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130  # what shells say of a command that Ctrl-C has ended


class Command(WorkerCommand):
    help = (
        "Tests with workers and jobs of its own whether workers keep what they promise on this database, in about half"
        " a minute. It touches no other rows and deletes its own. Exit status: 0 unless a check has failed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=("text", "json"), default="text", help="How to report (default: text).")
        parser.add_argument(
            "--timeout", type=seconds, default=180.0, help="Seconds after which no further check starts (default: 180)."
        )
        parser.add_argument("--database", help="Alias of the database with the jobs (default: the router's choice).")
        parser.add_argument("--serve", metavar="QUEUE", help="Internal: be one of the workers of the test.")

    def execute(self, *args: Any, **options: Any) -> str | None:
        self.starts_with = self.command
        if not options["serve"]:
            self.command = None  # this process itself needs no fork server
        return super().execute(*args, **options)

    def handle(self, **options: Any) -> None:
        if options["serve"]:
            self._serve(options["serve"])
            return
        self.require_database()
        begun, found = monotonic(), list[Finding]()
        try:
            with _ended_by_signals(), Trial(self.using, self._command(), _environment(), options["timeout"]) as trial:
                for finding in findings(CHECKS, trial):
                    found.append(finding)
                    if options["format"] == "text":
                        self._print(finding)
        except KeyboardInterrupt:
            text = "Interrupted. The rows, files and processes of the test are gone."
            raise CommandError(text, returncode=INTERRUPTED) from None
        if options["format"] == "text":
            self._print_sum(found, monotonic() - begun)
        else:
            self.stdout.write(json.dumps(self._report(found, monotonic() - begun), indent=2))
        if any(finding.verdict.state == State.FAILED for finding in found):
            sys.exit(1)

    # The report.

    def _print(self, finding: Finding) -> None:
        style = {State.FAILED: self.style.ERROR, State.WARNING: self.style.WARNING, State.OK: self.style.SUCCESS}
        state, verdict = finding.verdict.state, finding.verdict
        word = style.get(state, str)(f"{state.value:8}")
        self.stdout.write(f"{word} {finding.name:12} {verdict.text}")
        if verdict.remedy:
            self.stdout.write(f"{'':21} {verdict.remedy}")
        self.stdout.flush()

    def _print_sum(self, found: Sequence[Finding], seconds: float) -> None:
        counts = Counter(finding.verdict.state for finding in found)
        told = ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])
        self.stdout.write(f"{len(found)} checks in {seconds:.0f} seconds: {told}.")

    def _report(self, found: Sequence[Finding], seconds: float) -> dict[str, Any]:
        return {
            "version": qorworker.__version__,
            "database": self.using,
            "vendor": connections[self.using].display_name,
            "passed": all(finding.verdict.state != State.FAILED for finding in found),
            "seconds": round(seconds, 3),
            "checks": [finding.as_json() for finding in found],
        }

    # Workers.

    def _command(self) -> list[str]:
        """Return what starts a worker of the test, but for the name of its queue."""
        program = self.starts_with or [sys.executable, "-m", "django", "testworkers"]
        return [*program, "--database", self.using, "--serve"]

    def _serve(self, queue: str) -> None:
        # Not for a fork server.
        from qorworker.worker.parent.supervisor import Supervisor, WorkerOptions  # noqa: PLC0415

        log_to_console(self.stderr, 1)
        options = WorkerOptions(queues=[queue], apart=True, processes=behaviour.PROCESSES, grace=0, using=self.using)
        options.command, options.fork_server = self.command, self.fork_server
        supervisor = Supervisor(options)

        def stop(now: float) -> None:
            """End at once: the process that tests is over."""
            supervisor.selector.unregister(sys.stdin)
            supervisor.shutdown.request()
            supervisor.shutdown.request()

        supervisor.selector.register(sys.stdin, selectors.EVENT_READ, stop)  # nothing is ever sent
        supervisor.run()
        raise_failure(supervisor.pool.fork_server.failure)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` for a signal to stop. While the block is left, further ones are ignored."""

    def stop(number: int, frame: object) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment() -> dict[str, str]:
    """Return the environment for workers of the test: they import what this process can import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
