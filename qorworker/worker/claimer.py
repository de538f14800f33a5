"""Which jobs this worker asks for: where some wait, how many, what was asked without an answer. Parent process."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from django.db import Error

from qorworker.backends import backend_of
from qorworker.conf import settings
from qorworker.models import Pause
from qorworker.models.pause import Paused
from qorworker.models.sql import Claim, Claimed, claim, claim_one, claimed_with, queues_with_jobs
from qorworker.registry import registry
from qorworker.worker.limited import LimitedClaims
from qorworker.worker.processes import monotonic
from qorworker.worker.turns import turns
from qorworker.worker.writer import Writer

BATCH = 1000  # jobs claimed by one statement


class Claimer:
    def __init__(self, writer: Writer, queues: Collection[str], excluded: Collection[str]) -> None:
        self.writer, self.using = writer, writer.using
        self.queues, self.excluded = queues, excluded
        self.found: list[str] = []  # queues in which something waited
        self.paused = Paused()  # what may not be started, as of a moment ago
        self.limited, self.turns = LimitedClaims(writer), turns()
        self.more = False  # the last claim left something behind
        self.reach = 1  # waiting jobs that the next claim looks at
        self.claimed = 0
        self.limit: int | None = None  # attempts to start in all
        self.unanswered: list[str] = []  # tokens of claims of which nobody knows whether they were carried out

    def look(self) -> bool:
        """Ask in which queues a job waits; whether there is one for this worker."""
        waiting = queues_with_jobs(self.using)
        self.found = [queue for queue in waiting if self.serves(queue)]
        self.limited.found([queue for queue in self.found if waiting[queue]], monotonic())
        if self.found:
            self.heed_pauses()
        self.more = bool(self.found)
        return self.more

    def heed_pauses(self) -> None:
        """Ask what is paused, and leave that out from now on. Not before each claim: once in a while is enough."""
        self.paused = Pause.objects.using(self.using).paused()
        self.found = [queue for queue in self.found if queue not in self.paused.queues]
        self.limited.leave_out(self.paused.queues)

    def serves(self, queue: str) -> bool:
        chosen = queue not in self.excluded and ("*" in self.queues or queue in self.queues)
        return chosen and backend_of(queue).is_served_by_workers

    def exhausted(self) -> bool:
        return self.limit is not None and self.claimed >= self.limit

    def wanted(self, slots: int, ahead: int, short: Sequence[str]) -> Claim | None:
        """What to ask for when *slots* children are free and *ahead* more jobs may wait if they are short."""
        limit = max(slots, min(0 if self.limited.crowded else ahead, self.reach))
        if self.limit is not None:
            limit = min(limit, self.limit - self.claimed)
        if limit < 1:
            return None
        return Claim(
            self.writer.worker_id or 0,
            secrets.token_hex(16),
            [self.turns.next(self.found)] if self.turns and self.found else self.found,
            [name for name in registry.names() if name not in self.paused.names],
            min(slots, limit),
            min(limit, BATCH),
            short,
            float(settings.LEASE),
        )

    @contextmanager
    def asking(self, wanted: Claim | None) -> Iterator[None]:
        """Remember the claim if it fails: it may have been carried out and only its answer lost."""
        try:
            yield
        except Error:
            if wanted is not None:
                self.unanswered.append(wanted.token)
            raise

    def answered(self, wanted: Claim, jobs: Sequence[Claimed]) -> None:
        """Learn from what came."""
        # Fewer than the free slots: nothing is left. Otherwise ask again when there is room. Without a free slot
        # nothing may have come because the next job may not wait.
        self.more = len(jobs) >= wanted.slots
        self._note_turns(jobs)
        if self.turns and not self.more:
            self.found = [queue for queue in self.found if queue not in wanted.queues]
            self.more = bool(self.found)
        # What is looked at and not taken costs as much: where one that may not wait stands in the way, look less far.
        self.reach = 2 * len(jobs)
        self.claimed += len(jobs)

    def claim(self, wanted: Claim) -> list[Claimed]:
        """Take jobs, and nothing else."""
        with self.asking(wanted):
            jobs = claim(self.using, wanted)
        self.answered(wanted, jobs)
        return jobs

    def claim_limited(self, slots: int, now: float) -> list[Claimed]:
        """Take jobs of limited types for free *slots*. With none: find out whether one waits that comes first."""
        if self.limit is not None:
            slots = min(slots, self.limit - self.claimed)
        wanted = self.wanted(max(1, slots), 0, ())
        if wanted is None:
            return []
        wanted = replace(wanted, slots=slots)
        with self.asking(wanted):
            jobs = self.limited.claim(wanted, now)
        self.claimed += len(jobs)
        self._note_turns(jobs)
        return jobs

    def _note_turns(self, jobs: Sequence[Claimed]) -> None:
        if self.turns:
            for job in jobs:
                self.turns.note(job.queue_name, 1)

    def one(self, job_id: int) -> Claimed | None:
        """Take one certain job."""
        wanted = Claim(self.writer.worker_id or 0, secrets.token_hex(16), (), (), 1, 1, (), float(settings.LEASE))
        with self.asking(wanted):
            job = claim_one(self.using, job_id, wanted)
        if job is not None:
            self.claimed += 1
            job.created_by = None  # whoever has a shell is trusted: nobody's rights are checked again
        return job

    def recover(self) -> list[Claimed]:
        """The jobs of claims whose answer was lost."""
        if not self.unanswered:
            return []
        jobs = claimed_with(self.using, self.unanswered)
        self.unanswered.clear()
        self.claimed += len(jobs)
        return jobs
