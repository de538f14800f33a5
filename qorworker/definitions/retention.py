"""How long a job is kept after its end: the job type's own rule, else that of the project. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from qorworker.conf import settings
from qorworker.status import FINISHED
from qorworker.validation import FOREVER


def keep_for(job_type: Any, status: str) -> dt.timedelta | None:
    """Return how long after its end a job with this final *status* is kept; None: for ever.

    :param job_type: the job's type, or None if its code is gone: then the project's rule counts.
    """
    chosen = job_type.keep_for if job_type is not None else None
    if isinstance(chosen, Mapping):
        chosen = chosen.get(status)
    if chosen is None:
        chosen = settings.KEEP_FOR.get(status, FOREVER)
    return None if chosen == FOREVER else chosen


def shortest(job_types: Iterable[Any]) -> dt.timedelta | None:
    """Return the shortest time for which any job is kept; None if everything is kept for ever."""
    limits = [keep_for(job_type, status) for job_type in (None, *job_types) for status in FINISHED]
    return min((limit for limit in limits if limit is not None), default=None)
