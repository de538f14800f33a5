"""How much one attempt may do: ``@job(max_queries=…)`` and the like. Pure."""

from __future__ import annotations

from typing import Any

from qorworker import validation

NAMES = ("max_queries", "max_mails", "max_log_lines", "max_rows")


def problem_of(value: Any) -> str:
    """Return what is wrong with a value of one of these options; empty if it is valid."""
    return "" if value is None else validation.whole(0)(value) and f"{validation.whole(0)(value)}, or None"


def budgets_of(options: Any) -> dict[str, int]:
    """Return the budgets that are set among the *options* of a job type, by name."""
    chosen = {name: getattr(options, name) for name in NAMES}
    return {name: most for name, most in chosen.items() if most is not None}
