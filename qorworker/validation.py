"""Rules for values that developers give, shared by settings and options. Pure.

Each rule takes a value and returns a sentence without its subject, such as "must be True or False"; empty if it fits.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Any

from qorworker.status import FINISHED

FOREVER = "forever"

Rule = Callable[[Any], str]


def number(minimum: float) -> Rule:
    def check(value: Any) -> str:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and minimum <= value < math.inf
        return "" if fits else f"must be a number of at least {minimum}"

    return check


def whole(low: int, high: float = math.inf) -> Rule:
    def check(value: Any) -> str:
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        span = f"from {low} to {high}" if high != math.inf else f"of at least {low}"
        return "" if fits else f"must be a whole number {span}"

    return check


def flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "must be True or False"


def one_of(*choices: str) -> Rule:
    return lambda value: "" if value in choices else f"must be one of {', '.join(map(repr, choices))}"


def seconds(value: Any) -> str:
    value = value.total_seconds() if isinstance(value, dt.timedelta) else value
    fits = value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf)
    return "" if fits else "must be seconds above 0, a timedelta, or None"


def size(value: Any) -> str:
    return "" if value is None or not whole(1)(value) else "must be a number of bytes above 0, or None"


def retention(value: Any) -> str:
    """Return what is wrong with a rule for how long jobs are kept: one duration, or a dict by final status."""
    if not isinstance(value, Mapping):
        return "must be a dict from a final status to a timedelta"
    for status, limit in value.items():
        if status not in FINISHED:
            return f"has no final status {status!r}: the final ones are {', '.join(sorted(map(str, FINISHED)))}"
        if not is_retention_limit(limit):
            return f"must give a timedelta above 0 or {FOREVER!r} for {str(status)!r}"
    return ""


def is_retention_limit(value: Any) -> bool:
    return value == FOREVER or (isinstance(value, dt.timedelta) and value > dt.timedelta())
