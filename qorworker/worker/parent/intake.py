"""Claims jobs for children that are free, and keeps their attempts until a child takes them. Parent process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable

from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.limited_claims import give_key, is_stray
from qorworker.attempts.writer import Writer
from qorworker.models.sql import Claim, Claimed
from qorworker.worker.parent.active_attempts import ActiveAttempts
from qorworker.worker.parent.claims import Claimer
from qorworker.worker.parent.durations import Durations
from qorworker.worker.parent.pool import Pool
from qorworker.worker.parent.sharing import Sharing


class Intake:
    """Claims jobs, and hands back those that no child has begun."""

    def __init__(
        self,
        pool: Pool,
        writer: Writer,
        claimer: Claimer,
        active: ActiveAttempts,
        durations: Durations,
        sharing: Sharing,
    ) -> None:
        self.pool, self.writer, self.claimer = pool, writer, claimer
        self.active, self.durations, self.sharing = active, durations, sharing
        self.ready: deque[RunningAttempt] = deque()  # claimed and not yet with a child
        self.stuck_since: float | None = None  # since when no child has taken one of these
        self.is_for_one_job = False  # which is requested from a shell: no user's rights are checked again
        self.abandon: Callable[[RunningAttempt], None] = lambda attempt: None  # stops an attempt that was taken away

    def idle_slots(self) -> int:
        """Return the number of children without work that claimed attempts do not fill yet."""
        return max(0, sum(not child.attempts for child in self.pool.available) - len(self.ready))

    def next_claim(self) -> Claim | None:
        """Return the next claim: jobs for the free slots, and short re-runnable jobs ahead. None to claim nothing."""
        if not self.pool.ready or not self.claimer.has_more:
            return None
        slots, short = self.idle_slots(), self.durations.short()
        if room := self._shared_room(slots):
            return self.claimer.next_claim(slots, room, [self.sharing.latest], self.active.lost_jobs(), room)
        usable = sum(not child.shared_by for child in self.pool.available)
        held = len(self.active) - len(self.sharing)
        ahead = self.durations.ahead() * usable if short else 0
        if not slots and held * 2 > ahead:
            return None
        return self.claimer.next_claim(slots, ahead - held, short, self.active.lost_jobs())

    def can_take(self) -> bool:
        """Whether there is a child for one more job."""
        slots = self.idle_slots()
        return bool(slots or self.sharing.room(0))

    def wants_jobs(self) -> bool:
        """Whether a claim is to be made now."""
        return self.claimer.has_more and bool(self.idle_slots() or self._shared_room(0))

    def _shared_room(self, idle: int) -> int:
        """Return for how many jobs of a shared type to claim ahead. 0 if another job comes first, as far as known."""
        if not self.sharing.latest or self.claimer.is_next_unfit or self.ready:
            return 0
        return self.sharing.room(idle)

    def exchange(self, claim: Claim | None, most: int | None = None) -> int:
        """Write the ends that have come in, *most* of them, make the claim, and return how many jobs came of it."""
        recovered = self.recover() if claim else 0
        if recovered:
            claim = None  # the recovered jobs may have filled the slots
        with self.claimer.unanswered.remembering(claim):
            jobs = self.writer.write_and_claim(claim, most=most)[1]
        if claim is None or jobs is None:
            return recovered
        self.claimer.learn_from(claim, jobs)
        return self._take(jobs)

    def claim(self, claim: Claim) -> int:
        """Make the claim without a write, and return how many jobs came of it."""
        return self.recover() or self._take(self.claimer.claim(claim))

    def claim_limited(self, now: float) -> int:
        """Claim jobs of limited types if a look for them is due, and return how many. They come before other jobs."""
        slots = self.idle_slots()
        if not self.pool.ready or not self.claimer.limited.due(now, slots, bool(self.durations.short())):
            return 0
        if self.writer.ends:
            self.exchange(None)  # that may free a slot of a limit
        return self.recover() or self._take(self.claimer.claim_limited(slots, now, self.active.lost_jobs()))

    def claim_one(self, job_id: int | Callable[[], int]) -> int:
        """Claim one given job, or the job that the given function makes. Return how many were claimed: 0 or 1."""
        if recovered := self.recover():
            return recovered
        if self.active.of_job(job_id) if isinstance(job_id, int) else self.claimer.unanswered:
            return 0  # an earlier attempt is still here, or the job may have been made already
        job = self.claimer.claim_one(job_id)
        return self._take([job] if job else [])

    def recover(self) -> int:
        """Take the jobs of claims whose answer was lost, and return how many."""
        return self._take(self.claimer.recover())

    def _take(self, jobs: Collection[Claimed]) -> int:
        for job in jobs:
            job.is_trusted = self.is_for_one_job
            attempt = RunningAttempt(job, self.writer.using)
            if is_stray(job):
                give_key(self.writer.using, job)
                self._hand_back_claimed(attempt)
            elif self._runs_earlier_attempt(attempt):
                self._hand_back_claimed(attempt)
            else:
                self.active.add(attempt)
                self.ready.append(attempt)
        return len(jobs)

    def _runs_earlier_attempt(self, attempt: RunningAttempt) -> bool:
        """Whether a process of this worker still runs an earlier attempt of the same job: a lost one."""
        earlier = self.active.of_job(attempt.job.id)
        if earlier is not None and not earlier.lost:
            self.abandon(earlier)
        return self.active.of_job(attempt.job.id) is not None

    def _hand_back_claimed(self, attempt: RunningAttempt) -> None:
        """Hand back an attempt that was only just claimed."""
        self.writer.hand_back(attempt)
        self.claimer.claimed -= 1

    # Handing back.

    def hand_back_ready(self) -> None:
        """Hand back the attempts that no child was given yet."""
        self.hand_back(reversed(self.ready))
        self.ready.clear()
        self.stuck_since = None

    def hand_back(self, attempts: Iterable[RunningAttempt]) -> None:
        """Hand back attempts that have not begun."""
        for attempt in attempts:
            self.active.discard(attempt)
            self.writer.hand_back(attempt)
            if not self.is_for_one_job:  # that one is not tried again and again
                self.claimer.claimed -= 1
