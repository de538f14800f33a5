"""``manage.py runjob``: run one job from the shell, follow it, and tell its outcome by the exit status.

The command is a small ``runworker`` for that one job, so limits, aborts and crashes are handled as everywhere.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from getpass import getpass
from pathlib import Path
from typing import Any

from django import forms
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import router

from qorworker.arguments.codec import is_secret
from qorworker.exceptions import AlreadyEnqueued, InvalidArguments, InvalidTransition, UnknownJobType
from qorworker.models import Hold, Job, LogLine, Origin, held_by
from qorworker.models.clock import aware
from qorworker.models.limits import RATE
from qorworker.models.unique import conflict_of
from qorworker.registry import JobType, registry
from qorworker.status import JobStatus
from qorworker.worker.database import Database
from qorworker.worker.processes import monotonic
from qorworker.worker.supervisor import Duty, Options, Supervisor

EXIT = {
    JobStatus.DONE: 0,
    JobStatus.EXCEPTION: 1,
    JobStatus.KILLED: 3,
    JobStatus.CANCELLED: 4,
    JobStatus.NEW: 5,  # another attempt waits
    JobStatus.SCHEDULED: 5,
}
INTERVAL = 0.2  # seconds between two looks at the log


class Command(BaseCommand):
    help = (
        "Runs a job and follows it. Exit status: 0 done, 1 failed, 3 aborted, 4 cancelled, 5 waits for another attempt."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--id", type=int, help="Run this stored job, or follow it if it already runs.")
        parser.add_argument("--again", type=int, metavar="ID", help="Run a new job with the arguments of this one.")
        parser.add_argument("--database", help="Alias of the database with the jobs (default: the router's choice).")
        types = parser.add_subparsers(dest="job_type", metavar="JOB_TYPE", help="Registered job types:")
        for job_type in registry.all():
            sub = types.add_parser(
                job_type.name,
                help=_percent(_first_line(job_type)),
                description=_percent(job_type.description),
                allow_abbrev=False,  # --password is not short for --password-file: its text would be in the message
            )
            for name, field in job_type.arguments.form_class.base_fields.items():
                _add_option(sub, name, field)

    def handle(self, **options: Any) -> None:
        using = options["database"] or router.db_for_write(Job)
        job = self._job(using, options)
        try:
            outcome = self._run(job) if job.status in (JobStatus.NEW, JobStatus.SCHEDULED) else self._follow(job)
        except Job.DoesNotExist:
            raise CommandError(f"Job {job.pk} was deleted meanwhile.") from None
        self._say_end(outcome)
        if status := EXIT.get(JobStatus(outcome.status), 1):
            sys.exit(status)

    # Which job.

    def _job(self, using: str, options: dict[str, Any]) -> Job:
        chosen = [name for name in ("id", "again", "job_type") if options[name] is not None]
        if len(chosen) != 1:
            raise CommandError("Give a job type, or --id, or --again: exactly one of them.")
        try:
            if options["id"] is not None:
                job = self._stored(using, options["id"])
                registry.get(job.name)
                return job
            if options["again"] is not None:
                return self._stored(using, options["again"]).rerun(origin=Origin.COMMAND)
            job_type = registry.get(options["job_type"]).using(database=using, origin=Origin.COMMAND)
            job = job_type.enqueue(**_given(job_type, options))
            if job.is_existing:
                self.stdout.write(conflict_of(job))
            return job
        except (AlreadyEnqueued, InvalidArguments, UnknownJobType, InvalidTransition) as error:
            raise CommandError(_told(error)) from error

    def _stored(self, using: str, pk: int) -> Job:
        try:
            return Job.objects.using(using).get(pk=pk)
        except Job.DoesNotExist:
            raise CommandError(f"There is no job {pk}.") from None

    # Running and following.

    def _run(self, job: Job) -> Job:
        """Run a waiting job here; follow it if a worker was faster."""
        supervisor = Supervisor(Options(processes=1, only=job.pk, grace=0, using=job._state.db or "default"))
        printer = Printer(self, job)
        supervisor.extra_duties.append(Duty(lambda now: printer.print_new(), INTERVAL))
        logging.getLogger("qorworker").addHandler(logging.NullHandler())  # the outcome is printed here
        supervisor.run()
        printer.print_new()
        job.refresh_from_db()
        if supervisor.missed and (hold := held_by(job)) is not None:
            raise CommandError(_held(job, hold), returncode=EXIT[JobStatus.NEW])
        return self._follow(job) if supervisor.missed else job

    def _follow(self, job: Job) -> Job:
        """Follow a job that runs elsewhere, also past an outage of its database. Ctrl-C ends this, not the job."""
        printer, database = Printer(self, job), Database(job._state.db or "default")
        stop = threading.Event()
        before = signal.signal(signal.SIGINT, lambda *_: stop.set())
        try:
            while not database.attempt(monotonic(), printer.print_new) and not stop.wait(INTERVAL):
                pass
        finally:
            signal.signal(signal.SIGINT, before)
        return job

    def _say_end(self, job: Job) -> None:
        style = self.style.SUCCESS if job.status == JobStatus.DONE else self.style.ERROR
        text = f"Job {job.pk} {job.title}: {JobStatus(job.status).label}"
        self.stdout.write(style(f"{text}. {job.error}".strip() if job.error else f"{text}."))


class Printer:
    """Prints log lines that are new, and a line for progress when it moved."""

    def __init__(self, command: BaseCommand, job: Job) -> None:
        self.command, self.job, self.seen = command, job, 0
        self.progress = ""

    def print_new(self) -> bool:
        """Whether that was all, because the job has ended."""
        # The row first: a line that came with the end is then not missed.
        self.job.refresh_from_db()
        for line in LogLine.objects.using(self.job._state.db).after(self.job.pk, self.seen):
            clock = time.strftime("%H:%M:%S", time.localtime(line.at.timestamp()))
            self.command.stdout.write(f"{clock} {logging.getLevelName(line.level):8} {line.text}")
            self.seen = line.number
        percent = "" if self.job.progress is None else f"{self.job.progress} %"
        progress = " ".join(filter(None, (percent, self.job.progress_text)))
        if progress and progress != self.progress:
            self.progress = progress
            self.command.stdout.write(f"         {progress}")
        return bool(self.job.is_finished)


def _add_option(parser: Any, name: str, field: forms.Field) -> None:
    """One option for one field; its text is cleaned by the field, like everything else."""
    flag = "--" + name.replace("_", "-")
    told = (str(text).strip() for text in (field.label or "", field.help_text))
    helps = _percent(" ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in told if text))
    if is_secret(field):  # its text would stand in the list of processes and in the history of the shell
        helps += " Its text is read from this file, with - from standard input; asked for if it is needed and missing."
        parser.add_argument(f"{flag}-file", dest=f"argument_{name}", metavar="FILE", help=helps.strip())
        return
    extra: dict[str, Any] = {}
    if isinstance(field, (forms.MultipleChoiceField, forms.TypedMultipleChoiceField, forms.ModelMultipleChoiceField)):
        extra["action"] = "append"
    elif isinstance(field, forms.BooleanField) and not isinstance(field, forms.NullBooleanField):
        extra["choices"] = ("true", "false")
    choices = getattr(field, "choices", None)
    if choices and not isinstance(field, (forms.ModelChoiceField, forms.ModelMultipleChoiceField)):
        helps += " One of: " + _percent(", ".join(str(value) for value, _ in choices if value != ""))
    parser.add_argument(flag, dest=f"argument_{name}", metavar=name.upper(), help=helps, **extra)


def _given(job_type: JobType[Any], options: dict[str, Any]) -> dict[str, Any]:
    """The arguments that were given on the command line, files opened."""
    given: dict[str, Any] = {}
    for name, field in job_type.arguments.form_class.base_fields.items():
        value = options.get(f"argument_{name}")
        if value is None and is_secret(field) and field.required and sys.stdin.isatty():
            given[name] = getpass(f"{field.label or name}: ")
        elif value is None:
            continue
        elif is_secret(field):
            given[name] = _secret(name, value)
        elif isinstance(field, forms.FileField):
            given[name] = _open(name, value)
        elif isinstance(field, forms.BooleanField) and not isinstance(field, forms.NullBooleanField):
            given[name] = value == "true"
        else:
            given[name] = value
    return given


def _secret(name: str, path: str) -> str:
    """The text of a file, or of standard input, without the line break at its end."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--{name.replace('_', '-')}-file: {error}") from error
    return text.removesuffix("\n").removesuffix("\r")


def _open(name: str, path: str) -> Any:
    try:
        return SimpleUploadedFile(Path(path).name, Path(path).read_bytes())
    except OSError as error:
        raise CommandError(f"--{name.replace('_', '-')}: {error}") from error


def _told(error: Exception) -> str:
    if isinstance(error, InvalidArguments):
        lines = [f"--{name.replace('_', '-')}: {' '.join(messages)}" for name, messages in error.errors.items()]
        return "\n".join(["Nothing was started:", *lines])
    return str(error)


def _first_line(job_type: JobType[Any]) -> str:
    return next(iter(str(job_type.description).strip().splitlines()), str(job_type.title))


def _held(job: Job, hold: Hold) -> str:
    """Why a job is not started here, and what becomes of it."""
    whose = f"{job.name} for {hold.key!r}" if hold.key else job.name
    if hold.kind == RATE:
        why = f"no more than {hold.rate} of {whose} may start, the next one at {_clock(hold)}"
    else:
        numbers = ", ".join(str(each.pk) for each in hold.running)
        why = f"no more than {hold.max_concurrency} of {whose} may run at once, and these do: {numbers}"
    return f"Job {job.pk} stays queued: {why}."


def _clock(hold: Hold) -> str:
    return f"{aware(hold.until):%H:%M:%S} UTC" if hold.until else ""


def _percent(text: str) -> str:
    return str(text).replace("%", "%%")
