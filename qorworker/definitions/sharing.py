"""Which job types may share a child: ``@job(concurrency=…)``. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from qorworker import validation

MOST = 1000  # jobs that one child may run at the same time


def number_problem(value: Any) -> str:
    """Return why *value* is no number of jobs. Empty if it is."""
    return "" if value is None else validation.whole(2, MOST)(value)


def problem_of(function: Callable[..., Any], chosen: Mapping[str, Any]) -> str:
    """Return why jobs of a type with these options cannot share a child. Empty if they can."""
    if not inspect.iscoroutinefunction(function):
        return "needs an async def: a plain function occupies its process until it returns"
    if chosen.get("max_attempts", 1) == 1:
        return "needs max_attempts above 1: a job whose process ends because of another one is run again"
    if chosen.get("isolation", "warm") != "warm":
        return "cannot have isolation='process': these jobs share a process"
    if chosen.get("memory_limit") is not None:
        return "cannot have a memory_limit: what one of several jobs takes in a process cannot be measured"
    if chosen.get("dry_run"):
        return "cannot have dry_run: what one of several jobs in a process writes cannot be rolled back alone"
    limits = [name for name in ("max_concurrency", "rate_limit") if chosen.get(name) is not None]
    if limits:
        return f"cannot have a {limits[0]}: jobs with limits are started one in a process"
    return ""
