"""The names that projects import. Each is loaded when it is first asked for, so settings may import this package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qorworker.arguments.arg import Arg
    from qorworker.context import Cell, JobContext
    from qorworker.cron import Cron
    from qorworker.exceptions import InvalidArguments
    from qorworker.models.job import Job
    from qorworker.models.schedule import Schedule
    from qorworker.pausing import pause_queue, resume_queue
    from qorworker.plan import Plan
    from qorworker.registry import JobType, job
    from qorworker.secrets import Secret
    from qorworker.status import JobStatus
    from qorworker.timetable import At, Every
    from qorworker.unique import Unique

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
    "At": "qorworker.timetable",
    "Cell": "qorworker.context",
    "Cron": "qorworker.cron",
    "Every": "qorworker.timetable",
    "InvalidArguments": "qorworker.exceptions",
    "Job": "qorworker.models",
    "JobContext": "qorworker.context",
    "JobStatus": "qorworker.status",
    "JobType": "qorworker.registry",
    "Plan": "qorworker.plan",
    "Schedule": "qorworker.models",
    "Secret": "qorworker.secrets",
    "Unique": "qorworker.unique",
    "job": "qorworker.registry",
    "pause_queue": "qorworker.pausing",
    "resume_queue": "qorworker.pausing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
