"""When this worker looks for jobs of limited types, and what it remembers between two looks. Parent process."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection

from django.db import DatabaseError, InterfaceError

from qorworker.conf import settings
from qorworker.limits import limit_key, prefix_of
from qorworker.models import Job
from qorworker.models.limits import limits_by_prefix
from qorworker.models.sql import Claim, Claimed, claim_limited
from qorworker.models.sql.limits import BUSY
from qorworker.registry import registry
from qorworker.worker.writer import Writer

logger = logging.getLogger(__name__)


class LimitedClaims:
    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.behind: dict[str, str] = {}  # queues in which such jobs wait; the key behind which the next look goes on
        self.looked_at = 0.0
        self.at = 0.0  # when another look is worth while
        # Of the looks that go through very many keys, one after another.
        self.stirred = False  # a job could start, or something has changed since the first of them
        self.soonest = math.inf  # when one of the keys before is worth another look
        self.crowded = False  # one is first in line, and waits for a free slot

    def found(self, queues: Collection[str], now: float) -> None:
        """Such jobs wait in these queues, and something has changed."""
        self.behind = {queue: self.behind.get(queue, "") for queue in queues}
        self.at, self.stirred = min(self.at, max(now, self.looked_at + BUSY)), True

    def leave_out(self, queues: Collection[str]) -> None:
        """Nothing may be taken from these queues until something has changed."""
        self.behind = {queue: after for queue, after in self.behind.items() if queue not in queues}

    def due(self, now: float, slots: int, ahead: bool) -> bool:
        """Whether to look now: for free *slots*, or before jobs are taken *ahead*."""
        if self.writer.places_freed:
            self.writer.places_freed, self.at, self.stirred = False, 0.0, True
        if not self.behind:
            return False
        if self.crowded:
            return slots > 0
        return now >= self.at and (slots > 0 or ahead)

    def moments(self) -> list[float]:
        """When there is something to look for."""
        return [self.at] if self.behind else []

    def claim(self, wanted: Claim, now: float) -> list[Claimed]:
        """Take what has a place and comes first."""
        found = claim_limited(self.writer.using, wanted, limits_by_prefix(wanted.names), self.behind)
        goes_on = any(self.behind.values())
        self.behind = {q: found.behind.get(q, "") for q in self.behind if q not in found.empty}
        self.crowded, self.looked_at, self.stirred = found.crowded, now, self.stirred or found.able
        longest = float(settings.POLL_INTERVAL)
        wait = longest if found.wait is None else min(found.wait, longest)
        self.soonest = min(self.soonest, now + wait)
        self.at = now + min(wait, BUSY) if found.behind or (goes_on and self.stirred) else self.soonest
        if not found.behind:  # all have been looked at
            self.stirred, self.soonest = False, math.inf
        return found.claimed


def is_stray(job: Claimed) -> bool:
    """Whether a job was enqueued without a key although its type has a limit: by code from before it had one."""
    job_type = None if job.limit_key else registry.find(job.name)
    return job_type is not None and job_type.is_limited


def give_key(using: str, job: Claimed) -> None:
    """Give a stray job the key that it should have; what cannot be worked out shares the key of no arguments."""
    try:
        Job.objects.using(using).set_limit_key(job.id, _key_of(job))
    except (DatabaseError, InterfaceError):
        logger.warning("Job %s goes back without the key of its limit; that is tried again.", job.id)


def _key_of(job: Claimed) -> str:
    try:
        return limit_key(registry.get(job.name), json.loads(job.arguments))
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:  # a form's own code may raise anything
        logger.warning("The key of the limit of job %s could not be worked out: %s", job.id, type(error).__name__)
        return prefix_of(job.name)
