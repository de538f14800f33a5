"""What the statements have in common. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

TABLE = "qorworker_job"
BATCH = 500  # rows in one statement: SQLite takes 32,766 parameters, and more rows make nothing faster


def marks(items: Collection[Any]) -> str:
    """A placeholder for each of *items*."""
    return ", ".join(["%s"] * len(items))
