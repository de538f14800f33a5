"""The names that projects import. Each is loaded on first use, so settings may import this package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qorworker.actions.chain import Chain, chain
    from qorworker.actions.pausing import pause_queue, resume_queue
    from qorworker.admin.jobs.selections import run_on_selection
    from qorworker.arguments.arg import Arg
    from qorworker.arguments.row_keys import RowKeys
    from qorworker.arguments.secrets import Secret
    from qorworker.arguments.selection import Selection
    from qorworker.definitions.call import Call
    from qorworker.definitions.job_type import JobType
    from qorworker.definitions.options import EnqueueOptions, FormJobOptions, JobOptions
    from qorworker.definitions.registry import job
    from qorworker.definitions.unique import Unique
    from qorworker.exceptions import InvalidArguments, NotAnswered
    from qorworker.execution.commands import job_of_command
    from qorworker.execution.context import JobContext
    from qorworker.execution.results import Cell
    from qorworker.models.batch import Batch
    from qorworker.models.calendar import Calendar
    from qorworker.models.job import Job
    from qorworker.models.schedule import Schedule
    from qorworker.schedules.cron import Cron
    from qorworker.schedules.plan import Plan
    from qorworker.schedules.timetable import At, Every
    from qorworker.status import JobStatus

__all__ = [
    "Arg",
    "At",
    "Batch",
    "Calendar",
    "Call",
    "Cell",
    "Chain",
    "Cron",
    "EnqueueOptions",
    "Every",
    "FormJobOptions",
    "InvalidArguments",
    "Job",
    "JobContext",
    "JobOptions",
    "JobStatus",
    "JobType",
    "NotAnswered",
    "Plan",
    "RowKeys",
    "Schedule",
    "Secret",
    "Selection",
    "Unique",
    "chain",
    "job",
    "job_of_command",
    "pause_queue",
    "resume_queue",
    "run_on_selection",
]

__version__ = "1.0.0rc1.dev0"

_HOMES = {
    "Arg": "qorworker.arguments.arg",
    "At": "qorworker.schedules.timetable",
    "Batch": "qorworker.models",
    "Calendar": "qorworker.models",
    "Call": "qorworker.definitions.call",
    "Cell": "qorworker.execution.results",
    "Chain": "qorworker.actions.chain",
    "Cron": "qorworker.schedules.cron",
    "EnqueueOptions": "qorworker.definitions.options",
    "Every": "qorworker.schedules.timetable",
    "FormJobOptions": "qorworker.definitions.options",
    "InvalidArguments": "qorworker.exceptions",
    "Job": "qorworker.models",
    "JobContext": "qorworker.execution.context",
    "JobOptions": "qorworker.definitions.options",
    "JobStatus": "qorworker.status",
    "JobType": "qorworker.definitions.job_type",
    "NotAnswered": "qorworker.exceptions",
    "Plan": "qorworker.schedules.plan",
    "RowKeys": "qorworker.arguments.row_keys",
    "Schedule": "qorworker.models",
    "Secret": "qorworker.arguments.secrets",
    "Selection": "qorworker.arguments.selection",
    "Unique": "qorworker.definitions.unique",
    "chain": "qorworker.actions.chain",
    "job": "qorworker.definitions.registry",
    "job_of_command": "qorworker.execution.commands",
    "pause_queue": "qorworker.actions.pausing",
    "resume_queue": "qorworker.actions.pausing",
    "run_on_selection": "qorworker.admin.jobs.selections",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
