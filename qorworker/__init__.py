"""The names that projects import. Each is loaded when it is first asked for, so settings may import this package."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qorworker.arguments.arg import Arg
    from qorworker.context import Cell, JobContext
    from qorworker.exceptions import InvalidArguments
    from qorworker.models.job import Job
    from qorworker.registry import JobType, job
    from qorworker.secrets import Secret
    from qorworker.status import JobStatus

__all__ = ["Arg", "Cell", "InvalidArguments", "Job", "JobContext", "JobStatus", "JobType", "Secret", "job"]

__version__ = "0.1.0.dev0"

_HOMES = {
    "Arg": "qorworker.arguments.arg",
    "Cell": "qorworker.context",
    "InvalidArguments": "qorworker.exceptions",
    "Job": "qorworker.models",
    "JobContext": "qorworker.context",
    "JobStatus": "qorworker.status",
    "JobType": "qorworker.registry",
    "Secret": "qorworker.secrets",
    "job": "qorworker.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
