"""Whether the code of this process can run what is stored: waiting jobs and schedules, before a deployment. Commands.

Nothing is changed here, and no handler is called.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, OperationalError

from qorworker.arguments import files
from qorworker.conf import settings
from qorworker.definitions.job_type import JobType
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidArguments, SecretsUnavailable, UnknownJobType, UploadsUnavailable
from qorworker.models import Schedule
from qorworker.models.schedule_verbs import calendar_problem
from qorworker.queries.stored import Group, groups, jobs_of, recurring
from qorworker.queues import backend_of

TEXTS, EXAMPLES = 10, 5  # different problems of a group, and ids of each, that are reported


class Level(StrEnum):
    INFO = "info"  # nothing has to be done
    WARNING = "warning"  # it may be meant
    ERROR = "error"  # something would not run, or fail


@dataclass
class Finding:
    """One problem of some jobs, or of a schedule."""

    level: Level
    kind: str  # "job" or "schedule"
    job_type: str
    queue: str
    version: int
    problem: str
    count: int = 1
    examples: list[Any] = field(default_factory=list)  # ids of jobs, or the name of the schedule

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "level": str(self.level)}


@dataclass
class Report:
    """What was looked at, and what was found."""

    waiting: int = 0
    checked: int = 0  # of the waiting jobs: those whose arguments were loaded
    schedules: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, level: Level) -> int:
        return sum(finding.level == level for finding in self.findings)


def check_stored(using: str, sample: int | None, *, is_fixed: bool = False) -> Report:
    """Check all waiting jobs and schedules.

    :param sample: of each group of jobs that were stored by the same code, the arguments of so many are loaded; None:
        those of all.
    :param is_fixed: whether what is older was to be upgraded just now: what is left needs ``upgrade`` for longer.
    """
    report = Report()
    for group in groups(using):
        report.waiting += group.count
        report.findings += _of_group(group, using, sample, report, is_fixed=is_fixed)
    for schedule in recurring(using):
        report.schedules += 1
        report.findings += _of_schedule(schedule, is_fixed=is_fixed)
    return report


def _of_group(group: Group, using: str, sample: int | None, report: Report, *, is_fixed: bool) -> Iterator[Finding]:
    def found(level: Level, problem: str, count: int = group.count, examples: list[Any] | None = None) -> Finding:
        some = [job.pk for job in jobs_of(group, using, EXAMPLES)] if examples is None else examples
        return Finding(level, "job", group.name, group.queue_name, group.version, problem, count, some)

    if problem := queue_problem(group.queue_name):
        yield found(Level.WARNING, f"{problem} Only workers that serve all queues take its jobs.")
    job_type, problem = _usable(group.name, group.version)
    if job_type is None:
        yield found(Level.ERROR, problem)
        return
    problems = Problems()
    for job in jobs_of(group, using, sample):
        report.checked += 1
        problems.add(job.pk, *load_problem(job_type, job.arguments, job.version))
    for (level, text), count in problems.counts.most_common():
        yield found(level, text, count, problems.examples[level, text])
    if problems.others:
        text = "There are more problems, of which no two jobs have the same."
        yield found(Level.ERROR, text, problems.others, problems.examples[Level.ERROR, ""])
    if job_type.upgrade is not None and group.version < job_type.version and not problems.counts:
        yield found(*_older(f"They are upgraded to version {job_type.version} as they start", is_fixed=is_fixed))


class Problems:
    """The problems of the jobs of a group: how many have which, and the ids of some."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Level, str]] = Counter()
        self.examples: dict[tuple[Level, str], list[Any]] = {}
        self.others = 0  # jobs with other problems, when there are too many different ones

    def add(self, pk: int, level: Level, text: str) -> None:
        if not text:
            return
        key = level, text
        if key in self.counts or len(self.counts) < TEXTS:
            self.counts[key] += 1
        else:
            key = Level.ERROR, ""
            self.others += 1
        some = self.examples.setdefault(key, [])
        if len(some) < EXAMPLES:
            some.append(pk)


def _of_schedule(schedule: Schedule, *, is_fixed: bool) -> Iterator[Finding]:
    def found(level: Level, problem: str) -> Finding:
        name = schedule.job_name
        return Finding(level, "schedule", name, queue, schedule.version, problem, examples=[schedule.name])

    queue = ""
    job_type, problem = _usable(schedule.job_name, schedule.version)
    if job_type is None:
        yield found(Level.ERROR, problem)
        return
    queue = job_type.queue_name
    if problem := queue_problem(queue) or calendar_problem(schedule) or _rule_problem(schedule):
        yield found(Level.ERROR, problem)
    if schedule.declared_in_code:  # a worker with this code gives it the arguments that stand there
        return
    level, problem = load_problem(job_type, schedule.arguments, schedule.version)
    if problem:
        yield found(level, problem)
    elif job_type.upgrade is not None and schedule.version < job_type.version:
        text = f"Its arguments are upgraded to version {job_type.version} each time it fires"
        yield found(*_older(text, is_fixed=is_fixed))


def _older(text: str, *, is_fixed: bool) -> tuple[Level, str]:
    if is_fixed:
        return Level.WARNING, f"{text}; --fix could not do it now, so “upgrade” has to stay in the code."
    return Level.INFO, f"{text}; --fix does it now."


def _usable(name: str, version: int) -> tuple[JobType[..., Any] | None, str]:
    """Return the type *name* if this code can run what this version has stored, else why not."""
    try:
        job_type = registry.get(name)
    except UnknownJobType as error:
        return None, str(error)
    if problems := job_type.arguments.problems():
        text = "; ".join(f"{argument}: {problem}" for argument, problem in problems.items())
        return None, f"The definition at {job_type.place} is wrong: {text}."
    if version > job_type.version:
        return None, f"Newer code stored it: this code has version {job_type.version}, and leaves it alone."
    return job_type, ""


def queue_problem(queue_name: str) -> str:
    """Return why a queue cannot be used; empty if it can."""
    if queue_name not in settings.QUEUES:
        return f"QORWORKER['QUEUES'] has no queue {queue_name!r}."
    try:
        backend_of(queue_name)
    except ImproperlyConfigured as error:
        return str(error)
    return ""


def _rule_problem(schedule: Schedule) -> str:
    try:
        schedule.timetable.after(schedule.timetable.start)
    except ValueError as error:  # InvalidSchedule, or what somebody wrote into the row by hand
        return str(error)
    return ""


def load_problem(job_type: JobType[..., Any], stored: Any, version: int) -> tuple[Level, str]:
    """Return why stored arguments do not fit, and how bad that is; an empty text if they fit."""
    try:
        files.close_all(job_type.arguments.load(job_type.upgraded(stored, version)))
    except UploadsUnavailable as error:
        return Level.WARNING, str(error)
    except (OperationalError, InterfaceError):
        raise
    except InvalidArguments as error:
        return Level.ERROR, "; ".join(f"{name}: {' '.join(messages)}" for name, messages in error.errors.items())
    except SecretsUnavailable as error:
        return Level.ERROR, str(error)
    except Exception as error:  # a form's own code may raise anything, and quote a secret
        mask = job_type.arguments.mask_of(json.dumps(stored))
        return Level.ERROR, mask(f"{type(error).__name__}: {error}")
    return Level.INFO, ""
