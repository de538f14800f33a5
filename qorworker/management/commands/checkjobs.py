"""``manage.py checkjobs``: before a deployment, whether its code can run the jobs and schedules that are stored."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from qorworker.actions.preflight import Finding, Level, Report, check_stored
from qorworker.actions.upgrading import upgrade_stored
from qorworker.management.base import DatabaseCommand
from qorworker.models import Job
from qorworker.text.cleaning import visible

SAMPLE = 200
STYLES = {Level.ERROR: "ERROR", Level.WARNING: "WARNING", Level.INFO: "NOTICE"}


class Command(DatabaseCommand):
    help = (
        "Checks all waiting jobs and schedules against the code of this process: whether their types and queues exist,"
        " their arguments fit, and their rules and calendars are valid. Its exit status is 1 if something would fail."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fix", action="store_true", help="First upgrade arguments that older code has stored.")
        parser.add_argument("--format", choices=["text", "json"], default="text", help="How to say what was found.")
        parser.add_argument(
            "--sample", type=_positive, default=SAMPLE, help="Jobs to look at of those that the same code has stored."
        )
        parser.add_argument("--all", action="store_true", help="Look at every job, which may take long.")
        parser.add_argument(
            "--fail-level",
            choices=[Level.ERROR.value, Level.WARNING.value],
            default=Level.ERROR.value,
            help="What makes the exit status 1 (default: error).",
        )
        parser.add_argument("--database", help="Alias of the database with the jobs (default: the router's choice).")

    def handle(self, **options: Any) -> None:
        self.require_database()
        try:
            upgraded = self._upgrade() if options["fix"] else {"jobs": 0, "schedules": 0}
            sample = None if options["all"] else options["sample"]
            report = check_stored(self.using, sample, is_fixed=options["fix"])
        except KeyboardInterrupt:
            raise CommandError("Stopped. What was upgraded so far stays upgraded.", returncode=130) from None
        bad = report.count(Level.ERROR)
        if options["fail_level"] == Level.WARNING:
            bad += report.count(Level.WARNING)
        if options["format"] == "json":
            self.stdout.write(json.dumps(_as_json(report, upgraded, not bad), indent=2))
        else:
            self._write(report, upgraded, options["fix"])
        if bad:
            sys.exit(1)

    def _upgrade(self) -> dict[str, int]:
        counts = {"jobs": 0, "schedules": 0}
        for row in upgrade_stored(self.using):
            counts["jobs" if isinstance(row, Job) else "schedules"] += 1
        return counts

    def _write(self, report: Report, upgraded: dict[str, int], is_fixed: bool) -> None:
        if is_fixed:
            self.stdout.write(f"Upgraded: {upgraded['jobs']} jobs, {upgraded['schedules']} schedules.")
        for finding in report.findings:
            style = getattr(self.style, STYLES[finding.level])
            self.stdout.write(f"{style(finding.level.upper())} {visible(_sentence(finding))}")
        self.stdout.write(
            f"{report.waiting} waiting jobs, of which {report.checked} were looked at, and {report.schedules}"
            f" schedules: {report.count(Level.ERROR)} errors, {report.count(Level.WARNING)} warnings."
        )


def _sentence(finding: Finding) -> str:
    if finding.kind == "schedule":
        return f"Schedule {finding.examples[0]!r} of {finding.job_type}: {finding.problem}"
    version = f", version {finding.version}" if finding.version > 1 else ""
    jobs = "1 job" if finding.count == 1 else f"{finding.count} jobs"
    examples = ", ".join(f"#{pk}" for pk in finding.examples)
    return f"{jobs} of {finding.job_type} in {finding.queue}{version} ({examples}): {finding.problem}"


def _as_json(report: Report, upgraded: dict[str, int], is_sound: bool) -> dict[str, Any]:
    return {
        "ok": is_sound,
        "waiting": report.waiting,
        "checked": report.checked,
        "schedules": report.schedules,
        "upgraded": upgraded,
        "findings": [finding.as_json() for finding in report.findings],
    }


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1.")
    return int(text)
