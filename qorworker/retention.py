"""How long a job is kept after its end: the job type's own rule, else that of the project. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from qorworker.conf import settings
from qorworker.status import FINISHED

FOREVER = "forever"


def keep_for(job_type: Any, status: str) -> dt.timedelta | None:
    """How long after its end a job with this final *status* is kept; None: for ever.

    :param job_type: the job's type, or None if its code is gone: then the project's rule counts.
    """
    chosen = job_type.keep_for if job_type is not None else None
    if isinstance(chosen, Mapping):
        chosen = chosen.get(status)
    if chosen is None:
        chosen = settings.KEEP_FOR.get(status, FOREVER)
    return None if chosen == FOREVER else chosen


def shortest(job_types: Iterable[Any]) -> dt.timedelta | None:
    """The shortest time for which any job is kept; None if everything is kept for ever."""
    limits = [keep_for(job_type, status) for job_type in (None, *job_types) for status in FINISHED]
    return min((limit for limit in limits if limit is not None), default=None)


def problem(value: Any) -> str:
    """What is wrong with a rule for each status; empty if it can be used."""
    if not isinstance(value, Mapping):
        return "must be a dict from a final status to a timedelta"
    for status, limit in value.items():
        if status not in FINISHED:
            return f"knows no final status {status!r}: there are {', '.join(sorted(map(str, FINISHED)))}"
        if not is_limit(limit):
            return f"must give a timedelta above 0 or {FOREVER!r} for {str(status)!r}"
    return ""


def is_limit(value: Any) -> bool:
    return value == FOREVER or (isinstance(value, dt.timedelta) and value > dt.timedelta())
