"""The names that projects import. Each is loaded on first use, so settings may import this package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qorworker.actions.pausing import pause_queue, resume_queue
    from qorworker.arguments.arg import Arg
    from qorworker.arguments.secrets import Secret
    from qorworker.definitions.job_type import JobType
    from qorworker.definitions.registry import job
    from qorworker.definitions.unique import Unique
    from qorworker.exceptions import InvalidArguments
    from qorworker.execution.context import Cell, JobContext
    from qorworker.models.job import Job
    from qorworker.models.schedule import Schedule
    from qorworker.schedules.cron import Cron
    from qorworker.schedules.plan import Plan
    from qorworker.schedules.timetable import At, Every
    from qorworker.status import JobStatus

__all__ = [
    "Arg",
    "At",
    "Cell",
    "Cron",
    "Every",
    "InvalidArguments",
    "Job",
    "JobContext",
    "JobStatus",
    "JobType",
    "Plan",
    "Schedule",
    "Secret",
    "Unique",
    "job",
    "pause_queue",
    "resume_queue",
]

__version__ = "0.1.0.dev0"

_HOMES = {
    "Arg": "qorworker.arguments.arg",
    "At": "qorworker.schedules.timetable",
    "Cell": "qorworker.execution.context",
    "Cron": "qorworker.schedules.cron",
    "Every": "qorworker.schedules.timetable",
    "InvalidArguments": "qorworker.exceptions",
    "Job": "qorworker.models",
    "JobContext": "qorworker.execution.context",
    "JobStatus": "qorworker.status",
    "JobType": "qorworker.definitions.job_type",
    "Plan": "qorworker.schedules.plan",
    "Schedule": "qorworker.models",
    "Secret": "qorworker.arguments.secrets",
    "Unique": "qorworker.definitions.unique",
    "job": "qorworker.definitions.registry",
    "pause_queue": "qorworker.actions.pausing",
    "resume_queue": "qorworker.actions.pausing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
