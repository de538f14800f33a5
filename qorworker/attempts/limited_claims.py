"""Claims of jobs with limits: when to look for them, and what to remember between two looks. Parent process."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection

from django.db import DatabaseError, InterfaceError

from qorworker.attempts.writer import Writer
from qorworker.conf import settings
from qorworker.definitions.limits import limit_key, prefix_of
from qorworker.definitions.registry import limits_by_prefix, registry
from qorworker.models import Job
from qorworker.models.sql import Claim, Claimed, claim_limited
from qorworker.models.sql.limits import BUSY

logger = logging.getLogger(__name__)


class LimitedClaims:
    """Decides when a look at jobs of limited types is due, and claims those that fit their limits."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.resume_after: dict[str, str] = {}  # queue with such jobs -> the key after which the next look goes on
        self.looked_at = 0.0
        self.next_look_at = 0.0  # when another look is worthwhile
        self.locked: set[str] = set()  # keys from which other processes were claiming: they may do so for long
        # For looks at very many keys, in several steps.
        self.has_changed = False  # since the first step: a job could start, a limit was freed, or jobs came
        self.soonest = math.inf  # when a key of an earlier step is worth another look
        self.crowded = False  # one of these jobs comes first, and waits for a free slot

    def note_waiting(self, queues: Collection[str], now: float) -> None:
        """Note that such jobs wait in these queues, and that something has changed."""
        self.resume_after = {queue: self.resume_after.get(queue, "") for queue in queues}
        self.next_look_at, self.has_changed = min(self.next_look_at, max(now, self.looked_at + BUSY)), True

    def exclude(self, queues: Collection[str]) -> None:
        """Claim no jobs from these queues until something has changed."""
        self.resume_after = {queue: after for queue, after in self.resume_after.items() if queue not in queues}

    def due(self, now: float, slots: int, ahead: bool) -> bool:
        """Whether to look now: for free *slots*, or before jobs are claimed *ahead*."""
        if self.writer.limits_freed:
            self.writer.limits_freed, self.next_look_at, self.has_changed = False, 0.0, True
        if not self.resume_after:
            return False
        if self.crowded:
            return slots > 0
        return now >= self.next_look_at and (slots > 0 or ahead)

    def moments(self) -> list[float]:
        """Return when the next look is due; empty if no such job waits."""
        return [self.next_look_at] if self.resume_after else []

    def claim(self, order: Claim, now: float) -> list[Claimed]:
        """Claim the jobs that come first and fit their limits."""
        limits = limits_by_prefix(order.names)
        result = claim_limited(self.writer.using, order, limits, self.resume_after, self.locked)
        self.locked = result.locked
        was_partial = any(self.resume_after.values())
        self.resume_after = {q: result.behind.get(q, "") for q in self.resume_after if q not in result.empty}
        self.crowded, self.looked_at, self.has_changed = result.crowded, now, self.has_changed or result.able
        longest = float(settings.POLL_INTERVAL)
        wait = longest if result.wait is None else min(result.wait, longest)
        self.soonest = min(self.soonest, now + wait)
        repeat = result.behind or (was_partial and self.has_changed)
        self.next_look_at = now + min(wait, BUSY) if repeat else self.soonest
        if not result.behind:  # every key was looked at
            self.has_changed, self.soonest = False, math.inf
        return result.claimed


def is_stray(job: Claimed) -> bool:
    """Whether a job of a limited type has no key: code from before the limit enqueued it."""
    job_type = None if job.limit_key else registry.find(job.name)
    return job_type is not None and job_type.is_limited


def give_key(using: str, job: Claimed) -> None:
    """Give a stray job its key. If that cannot be computed, it gets the key of no arguments."""
    try:
        Job.objects.using(using).set_limit_key(job.id, _key_of(job))
    except (DatabaseError, InterfaceError):
        logger.warning("Job %s goes back without the key of its limit; trying again later.", job.id)


def _key_of(job: Claimed) -> str:
    try:
        return limit_key(registry.get(job.name), json.loads(job.arguments))
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:  # a form's own code may raise anything
        logger.warning("The key of the limit of job %s could not be computed: %s", job.id, type(error).__name__)
        return prefix_of(job.name)
