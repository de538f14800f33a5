"""Decides which jobs this worker claims: from which queues, how many, and of which types. Parent process."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

from django.db import transaction

from qorworker.attempts.limited_claims import LimitedClaims
from qorworker.attempts.writer import Writer
from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.models import Pause
from qorworker.models.pause import Paused
from qorworker.models.sql import Claim, Claimed, Position, Stretch, claim, claim_one, has_dead_entries, queues_with_jobs
from qorworker.queues import backend_of
from qorworker.system.processes import monotonic
from qorworker.system.resting import rest_after
from qorworker.worker.parent.fair_share import fair_share
from qorworker.worker.parent.floors import Floors
from qorworker.worker.parent.unanswered import UnansweredClaims

BATCH = 1000  # jobs that one statement claims at most


class Claimer:
    """Makes claims, and learns from what each one brought where and how much to claim next."""

    def __init__(self, writer: Writer, queues: Collection[str], excluded: Collection[str]) -> None:
        self.writer, self.using = writer, writer.using
        self.queues, self.excluded = queues, excluded
        self.waiting_queues: list[str] = []  # queues in which jobs waited at the last look
        self.paused = Paused()  # what may not start, as of the last refresh
        self.limited, self.fair_share = LimitedClaims(writer), fair_share()
        self.has_more = False  # whether more jobs may wait
        self.is_next_unfit = False  # the last claim found fewer jobs than it might have taken
        self.lookahead = 1  # waiting jobs that the next claim looks at, beyond the free slots
        self.claimed = 0
        self.limit: int | None = None  # attempts to start in all
        self.unanswered = UnansweredClaims(self.using)
        self.floors = Floors()
        self.uses_floors = has_dead_entries(self.using)
        self.limited_queues: set[str] = set()  # in which jobs of limited types were seen
        self.rests_until = 0.0  # when to look at all entries again
        self.look_again_at = math.inf  # the same, if a job may have been missed since

    def look(self) -> bool:
        """Find the queues in which jobs wait, or while that look has to rest, assume them where some waited before."""
        if not self.uses_floors or monotonic() >= self.rests_until:
            return self.find_queues()
        self.look_again_at = self.rests_until
        self._note_waiting(self.floors.queues, self.limited_queues)
        return self.has_more

    def find_queues(self) -> bool:
        """Find the queues in which jobs wait, and return whether there is one for this worker."""
        start = monotonic()
        heads = queues_with_jobs(self.using, to_claim=True)
        waiting = {queue: heads[queue] for queue in heads if self.serves(queue)}
        now = monotonic()
        self.rests_until, self.look_again_at = now + rest_after(now - start), math.inf
        if self.uses_floors:
            self.floors.set_to(waiting)
        limited = {queue for queue, heads in waiting.items() if heads.limited}
        self.limited_queues = limited | self.limited_queues.intersection(self.floors.queues)
        self._note_waiting(waiting, limited)
        return self.has_more

    def _note_waiting(self, queues: Collection[str], limited: Collection[str]) -> None:
        """Note that jobs wait in these queues; in those in *limited* some have limits."""
        self.waiting_queues = list(queues)
        self.limited.note_waiting([queue for queue in queues if queue in limited], monotonic())
        if queues:
            self.refresh_pauses()
        self.has_more, self.is_next_unfit = bool(self.waiting_queues), False

    def refresh_pauses(self) -> None:
        """Refresh what is paused, and leave it out from now on. Once in a while is enough, not before each claim."""
        self.paused = Pause.objects.using(self.using).paused()
        self.waiting_queues = [queue for queue in self.waiting_queues if queue not in self.paused.queues]
        self.limited.exclude(self.paused.queues)

    def serves(self, queue: str) -> bool:
        """Whether this worker takes jobs from a queue."""
        is_chosen = queue not in self.excluded and ("*" in self.queues or queue in self.queues)
        return is_chosen and backend_of(queue).is_served_by_workers

    def is_exhausted(self) -> bool:
        """Whether it has claimed as many jobs as it may in all."""
        return self.limit is not None and self.claimed >= self.limit

    def next_claim(
        self,
        slots: int,
        ahead: int,
        short: Sequence[str],
        but: Sequence[int] = (),
        least: int = 0,
    ) -> Claim | None:
        """Return a claim for *slots* free children and some more jobs. None for no job.

        :param ahead: how many more jobs of *short* types.
        :param but: ids of jobs to leave out.
        :param least: how many of these to look at in any case, even if the last claim brought fewer.
        """
        limit = max(slots, min(0 if self.limited.crowded else ahead, max(least, self.lookahead)))
        if self.limit is not None:
            limit = min(limit, self.limit - self.claimed)
        if limit < 1:
            return None
        queues = self.waiting_queues
        queues = [self.fair_share.next(queues)] if self.fair_share and queues else queues
        names = [name for name in registry.startable_names() if name not in self.paused.names]
        stretches, returned = self._begin(queues, names, but) if self.uses_floors else ({}, ())
        return Claim(
            worker_id=self.writer.worker_id or 0,
            token=secrets.token_hex(16),
            lease=float(settings.LEASE),
            queues=queues,
            names=names,
            versions=registry.versions(),
            slots=min(slots, limit),
            limit=min(limit, BATCH),
            short=short,
            but=but,
            stretches=stretches,
            returned=returned,
        )

    def _begin(
        self, queues: Sequence[str], names: Sequence[str], but: Sequence[int]
    ) -> tuple[Mapping[str, Sequence[Stretch]], Sequence[int]]:
        """Return where a claim begins: as far as this worker knows, no job that it may take is anywhere else."""
        self.floors.hold_for(names, but)
        if self.writer.returned:
            self.floors.give_back([Position(job.queue_name, job.priority, job.id) for job in self.writer.returned])
            self.writer.returned.clear()
        return {queue: self.floors.stretches(queue) for queue in queues}, self.floors.returned(queues)

    def learn_from(self, claim: Claim, jobs: Sequence[Claimed]) -> None:
        """Learn from the jobs that a claim brought."""
        # Fewer than the free slots: none is left. Otherwise claim again when there is room. Without a free slot there
        # may be none because the next job may not wait in a child.
        self.has_more, self.is_next_unfit = len(jobs) >= claim.slots, len(jobs) < claim.limit
        if self.uses_floors:
            self.floors.raise_for(claim, jobs)
        self._count_shares(jobs)
        if self.fair_share and not self.has_more:
            self.waiting_queues = [queue for queue in self.waiting_queues if queue not in claim.queues]
            self.has_more = bool(self.waiting_queues)
        # Jobs that are looked at and not taken cost as much: look less far where one that may not wait comes first.
        self.lookahead = 2 * len(jobs)
        self.claimed += len(jobs)

    def claim(self, order: Claim) -> list[Claimed]:
        """Make a claim without a write."""
        with self.unanswered.remembering(order):
            jobs = claim(self.using, order)
        self.learn_from(order, jobs)
        return jobs

    def claim_limited(self, slots: int, now: float, but: Sequence[int] = ()) -> list[Claimed]:
        """Claim jobs of limited types for free *slots*. Without a slot, find out whether one of them comes first."""
        if self.limit is not None:
            slots = min(slots, self.limit - self.claimed)
        order = self.next_claim(max(1, slots), 0, (), but)
        if order is None:
            return []
        order = replace(order, slots=slots)
        with self.unanswered.remembering(order, in_parts=True):  # each key in a transaction of its own
            jobs = self.limited.claim(order, now)
        self.claimed += len(jobs)
        self._count_shares(jobs)
        return jobs

    def _count_shares(self, jobs: Sequence[Claimed]) -> None:
        if self.fair_share:
            for job in jobs:
                self.fair_share.count(job.queue_name, 1)

    def claim_one(self, job_id: int | Callable[[], int]) -> Claimed | None:
        """Claim one given job, or make a job and claim it in one transaction, so that no other worker sees it."""
        order = Claim(
            worker_id=self.writer.worker_id or 0,
            token=secrets.token_hex(16),
            lease=float(settings.LEASE),
            versions=registry.versions(),
        )
        is_new = callable(job_id)
        with self.unanswered.remembering(order), transaction.atomic(using=self.using) if is_new else nullcontext():
            job = claim_one(self.using, job_id() if callable(job_id) else job_id, order)
        if job is not None:
            self.claimed += 1
        return job

    def recover(self) -> list[Claimed]:
        """Return the jobs of claims whose answer was lost, if a look for them is due."""
        jobs = self.unanswered.recover()
        self.claimed += len(jobs)
        return jobs
