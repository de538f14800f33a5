"""``manage.py runjob``: run one job from the shell, follow it, and report its outcome by the exit status.

The command is a small ``runworker`` for that one job, so limits, aborts and crashes are handled as everywhere.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from getpass import getpass
from pathlib import Path
from typing import Any

from django import forms
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management.base import CommandError, CommandParser
from django.utils.translation import pgettext

from qorworker.arguments.codec import is_secret
from qorworker.database.connection import Database
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.exceptions import AlreadyEnqueued, InvalidArguments, InvalidTransition, JobTypeError, UnknownJobType
from qorworker.management.worker_command import WorkerCommand, raise_failure
from qorworker.models import Hold, Job, LogLine, Origin, held_by
from qorworker.models.clock import aware
from qorworker.models.limits import RATE
from qorworker.models.unique import conflict_of
from qorworker.status import JobStatus
from qorworker.system.processes import monotonic
from qorworker.text.cleaning import in_terminal, visible
from qorworker.worker.parent.supervisor import Duty, Supervisor, WorkerOptions

EXIT = {
    JobStatus.DONE: 0,
    JobStatus.EXCEPTION: 1,
    JobStatus.KILLED: 3,
    JobStatus.CANCELLED: 4,
    JobStatus.NEW: 5,  # another attempt waits
    JobStatus.SCHEDULED: 5,
}
INTERRUPTED = 130  # what shells say of a command that Ctrl-C has ended
INTERVAL = 0.2  # seconds between two looks at the log


class Command(WorkerCommand):
    help = (
        "Runs a job in this shell's surroundings and prints its log. Exit status: 0 done, 1 failed, 3 aborted,"
        " 4 cancelled, 5 paused, or waits for another attempt, 130 no longer followed."
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
            if job_type.arguments.problems():  # a check reports them; the other types can be run
                continue
            required = job_type.arguments.required
            for name, field in job_type.arguments.fields.items():
                _add_option(sub, name, field, required)
        types.choices = _Known(types.choices or {})

    def handle(self, **options: Any) -> None:
        using = self.using
        chosen = [name for name in ("id", "again", "job_type") if options[name] is not None]
        if len(chosen) != 1:
            raise CommandError("Give a job type, or --id, or --again: exactly one of them.")
        self.require_database()
        try:
            outcome = self._stored(using, options["id"]) if chosen == ["id"] else self._new(using, options)
        except (AlreadyEnqueued, InvalidArguments, JobTypeError, UnknownJobType, InvalidTransition) as error:
            raise CommandError(_told(error)) from error
        self._say_end(outcome)
        if status := EXIT.get(JobStatus(outcome.status), 1):
            sys.exit(status)

    # Which job.

    def _stored(self, using: str, pk: int) -> Job:
        job = self._find(using, pk)
        registry.get(job.name)
        if _is_withheld(job):
            raise _withheld(job)
        waits = job.status in (JobStatus.NEW, JobStatus.SCHEDULED)
        return self._run(using, job.pk, Printer(self, job)) if waits else self._follow(Printer(self, job))

    def _new(self, using: str, options: dict[str, Any]) -> Job:
        """Run a job that is made in the moment in which it is taken: no worker is faster, and none has its shell."""
        make = self._copy(using, options["again"]) if options["again"] is not None else _of_type(using, options)
        printer = Printer(self)

        def make_and_show() -> int:
            printer.job = job = make()
            if job.is_existing:
                self.stdout.write(conflict_of(job))
            return job.pk

        return self._run(using, make_and_show, printer)

    def _copy(self, using: str, pk: int) -> Callable[[], Job]:
        return partial(self._find(using, pk).rerun, origin=Origin.COMMAND)

    def _find(self, using: str, pk: int) -> Job:
        try:
            return Job.objects.using(using).get(pk=pk)
        except Job.DoesNotExist:
            raise CommandError(f"There is no job {pk}.") from None

    # Running and following.

    def _run(self, using: str, only: int | Callable[[], int], printer: Printer) -> Job:
        """Run one job here; follow it if a worker was faster."""
        options = WorkerOptions(processes=1, only=only, grace=0, using=using)
        options.command, options.fork_server = self.command, self.fork_server
        supervisor = Supervisor(options)
        supervisor.extra_duties.append(Duty(lambda now: printer.print_new(), INTERVAL))
        logging.getLogger("qorworker").addHandler(logging.NullHandler())  # the outcome is printed here
        try:
            supervisor.run()
            raise_failure(supervisor.pool.fork_server.failure)
            printer.print_new()
            job = printer.job
        except Job.DoesNotExist:
            raise _deleted(printer) from None
        if job is None:
            raise CommandError("Nothing was started.")  # a signal came first
        if supervisor.is_job_unavailable and _is_withheld(job):
            raise _withheld(job)
        if supervisor.is_job_unavailable and (hold := held_by(job)) is not None:
            raise CommandError(_held(job, hold), returncode=EXIT[JobStatus.NEW])
        return self._follow(printer) if supervisor.is_job_unavailable else job

    def _follow(self, printer: Printer) -> Job:
        """Follow a job that runs elsewhere, even through an outage of its database. Ctrl-C ends this, not the job."""
        assert printer.job is not None
        database, stop = Database(printer.job._state.db or "default"), threading.Event()
        before = signal.signal(signal.SIGINT, lambda *_: stop.set())
        try:
            with database.limited(), database.call_guard.watching():
                while not database.call(monotonic(), printer.print_new):
                    if stop.wait(INTERVAL):
                        raise CommandError(
                            f"Job {printer.job.pk} continues; it runs elsewhere.", returncode=INTERRUPTED
                        )
        except Job.DoesNotExist:
            raise _deleted(printer) from None
        finally:
            signal.signal(signal.SIGINT, before)
        return printer.job

    def _say_end(self, job: Job) -> None:
        style = self.style.SUCCESS if job.status == JobStatus.DONE else self.style.ERROR
        label = pgettext("job status", "Paused") if job.is_paused else JobStatus(job.status).label
        text = f"Job {job.pk} {job.title}: {label}"
        self.stdout.write(style(f"{text}. {visible(job.error)}".strip() if job.error else f"{text}."))


class _Known(dict[str, Any]):
    """The parsers of job types by name. Of another name it says where job types come from."""

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        try:
            registry.get(str(name))
        except UnknownJobType as error:
            raise argparse.ArgumentError(None, str(error)) from None
        return False


class Printer:
    """Prints new log lines, and a line when the progress has changed. The job continues even if the reader is gone."""

    def __init__(self, command: Command, job: Job | None = None) -> None:
        self.command, self.job, self.seen = command, job, 0
        self.progress = ""

    def print_new(self) -> bool:
        """Print new lines, and return whether the job has ended. Before the job exists, nothing is printed."""
        if self.job is None:
            return False
        # The row first: a line that came with the end is then not missed.
        self.job.refresh_from_db()
        for line in LogLine.objects.using(self.job._state.db).after(self.job.pk, self.seen):
            clock = time.strftime("%H:%M:%S", time.localtime(line.at.timestamp()))
            self._print(f"{clock} {logging.getLevelName(line.level):8} {line.text}")
            self.seen = line.number
        percent = "" if self.job.progress is None else f"{self.job.progress} %"
        progress = " ".join(filter(None, (percent, self.job.progress_text)))
        if progress and progress != self.progress:
            self.progress = progress
            self._print(f"         {progress}")
        return bool(self.job.is_finished)

    def _print(self, text: str) -> None:
        try:
            self.command.stdout.write(in_terminal(text))
            self.command.stdout.flush()
        except BrokenPipeError:  # as with “| head”
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _add_option(parser: Any, name: str, field: forms.Field, required: Collection[str]) -> None:
    """Add an option for a field. The field cleans its text, like any other value."""
    flag = "--" + name.replace("_", "-")
    texts = (str(text).strip() for text in (field.label or "", field.help_text))
    helps = _percent(" ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in texts if text))
    if name in required:
        helps += " Required."
    if is_secret(field):  # its text would stand in the list of processes and in the history of the shell
        helps += " Its text is read from this file, with - from standard input; asked for if it is needed and missing."
        parser.add_argument(f"{flag}-file", dest=f"argument_{name}", metavar="FILE", help=helps.strip())
        return
    extra: dict[str, Any] = {}
    if isinstance(field, forms.ModelChoiceField):
        model = field.queryset.model._meta  # type: ignore[union-attr]
        key = field.to_field_name or model.pk.name
        helps += _percent(f" The {key} of a {model.verbose_name}.")
    if isinstance(field, (forms.MultipleChoiceField, forms.TypedMultipleChoiceField, forms.ModelMultipleChoiceField)):
        extra["action"] = "append"
        helps += " May be repeated."
    elif isinstance(field, forms.BooleanField) and not isinstance(field, forms.NullBooleanField):
        extra["choices"] = ("true", "false")
    is_of_rows = isinstance(field, (forms.ModelChoiceField, forms.ModelMultipleChoiceField))  # these ask the database
    if not is_of_rows and (choices := getattr(field, "choices", None)):
        helps += " One of: " + _percent(", ".join(str(value) for value, _ in choices if value != ""))
    parser.add_argument(flag, dest=f"argument_{name}", metavar=name.upper(), help=helps, **extra)


def _of_type(using: str, options: dict[str, Any]) -> Callable[[], Job]:
    job_type = registry.get(options["job_type"]).using(database=using, origin=Origin.COMMAND)
    return partial(job_type.enqueue_cleaned, job_type.arguments.clean(_given(job_type, options)))


def _deleted(printer: Printer) -> CommandError:
    return CommandError(f"Job {printer.job.pk if printer.job else ''} was deleted meanwhile.")


def _given(job_type: JobType[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the command line, with files opened."""
    given: dict[str, Any] = {}
    for name, field in job_type.arguments.fields.items():
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
    """Return the text of a file, or of standard input, without the line break at its end."""
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
        told = {name: visible(" ".join(messages)) for name, messages in error.errors.items()}  # they may quote values
        lines = [f"--{name.replace('_', '-')}: {text}" for name, text in told.items()]
        return "\n".join(["Nothing was started:", *lines])
    return str(error)


def _first_line(job_type: JobType[..., Any]) -> str:
    return next(iter(str(job_type.description).strip().splitlines()), str(job_type.title))


def _is_withheld(job: Job) -> bool:
    """Return whether it is paused, or waits for anything but its time and a worker."""
    return job.is_paused or _waits_for_more(job)


def _waits_for_more(job: Job) -> bool:
    return job.is_asking or job.awaits_approval or job.waits_for_jobs


def _withheld(job: Job) -> CommandError:
    """Return the error for a job that does not start: see ``_is_withheld``."""
    text = f"Job {job.pk} is paused: it does not start until it is resumed."
    if _waits_for_more(job):
        text = f"Job {job.pk} does not start here. {' '.join(map(str, job.why_waiting()))}"
    return CommandError(text, returncode=EXIT[JobStatus.SCHEDULED])


def _held(job: Job, hold: Hold) -> str:
    """Return why a job cannot start here, and what happens to it."""
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
