"""``manage.py prunejobs``: delete ended jobs that are no longer kept; with ``PRUNE_AT`` the app does so by itself."""

from __future__ import annotations

import argparse
import datetime as dt
import re
from collections import Counter
from typing import Any

from django.core.management.base import CommandError, CommandParser

from qorworker.definitions.registry import registry
from qorworker.maintenance.jobs import jobs_that_are_over, prune_rest, summary
from qorworker.management.base import DatabaseCommand
from qorworker.models import Job, JobQuerySet, Origin
from qorworker.status import FINISHED

LONGEST = dt.timedelta(days=365 * 1000)
UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class Command(DatabaseCommand):
    help = (
        "Deletes jobs that ended long enough ago, with their logs, results, files and uploads. How long each is kept is"
        " said by keep_for of its @job, else by QORWORKER['KEEP_FOR']. What was deleted stays in the audit."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", type=_age, metavar="AGE", help="Instead of those rules: 7d, 12h or 90m.")
        parser.add_argument("--status", action="append", choices=sorted(FINISHED), help="Only these; may be repeated.")
        parser.add_argument("--type", action="append", metavar="NAME", help="Only jobs of this type; may be repeated.")
        parser.add_argument("--dry-run", action="store_true", help="Only say what would be deleted.")
        parser.add_argument("--database", help="Alias of the database with the jobs (default: the router's choice).")

    def handle(self, **options: Any) -> None:
        using, dry_run = self.using, options["dry_run"]
        self.require_database()
        would = "would be deleted" if dry_run else "deleted"
        try:
            jobs = self._jobs(using, options)
            over = jobs_that_are_over(jobs, options["older_than"], dry_run=dry_run, origin=Origin.COMMAND)
            self.stdout.write(summary(Counter(job.status for job in over), would))
            if not (options["type"] or options["status"]):
                for count, what in prune_rest(using, dry_run=dry_run):
                    self.stdout.write(f"{count} {what} {would}.")
        except KeyboardInterrupt:
            raise CommandError("Stopped. What was deleted so far stays deleted.") from None

    def _jobs(self, using: str, options: dict[str, Any]) -> JobQuerySet:
        jobs = Job.objects.using(using)
        for name in options["type"] or ():
            if registry.find(name) is None and not jobs.for_type(name).exists():
                raise CommandError(f"--type: there is no job of the type {name!r}.")
        if options["type"]:
            jobs = jobs.for_types(options["type"])
        return jobs.filter(status__in=options["status"]) if options["status"] else jobs


def _age(text: str) -> dt.timedelta:
    match = re.fullmatch(r"(\d{1,6})([dhm])", text)
    age = dt.timedelta(**{UNITS[match[2]]: int(match[1])}) if match is not None else LONGEST
    if age >= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: give 7d, 12h or 90m")
    return age
