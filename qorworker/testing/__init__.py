"""For the tests of projects: helpers to see, run and drain jobs; and contracts for backends. Test processes only."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qorworker.testing.answers import DECLINED, NOBODY
    from qorworker.testing.cases import JobTestMixin
    from qorworker.testing.enqueued import assert_enqueued, capture_jobs, refute_enqueued
    from qorworker.testing.running import JobRun, drain, immediate_jobs, run_job

__all__ = [
    "DECLINED",
    "NOBODY",
    "JobRun",
    "JobTestMixin",
    "assert_enqueued",
    "capture_jobs",
    "drain",
    "immediate_jobs",
    "refute_enqueued",
    "run_job",
]

_HOMES = {
    "DECLINED": "answers",
    "NOBODY": "answers",
    "JobRun": "running",
    "JobTestMixin": "cases",
    "assert_enqueued": "enqueued",
    "capture_jobs": "enqueued",
    "drain": "running",
    "immediate_jobs": "running",
    "refute_enqueued": "enqueued",
    "run_job": "running",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: pytest imports this package in every project where qorworker is installed.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
