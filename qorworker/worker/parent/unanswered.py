"""Claims whose answer was lost: the database may still carry them out, even later. Parent process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from qorworker.conf import settings
from qorworker.database.answers import renewal_interval, was_answered
from qorworker.database.session_limits import statement_limit
from qorworker.models import Job
from qorworker.models.sql import Claim, Claimed, claimed_with
from qorworker.system.processes import monotonic


@dataclass(slots=True)
class Unanswered:
    """One such claim. It takes effect within the limit of a statement, and has a lease from then on."""

    token: str
    until: float  # when that lease ends at the latest
    next_look_at: float = 0.0
    recovered: set[int] = field(default_factory=set)  # job ids; a claim of limited types takes jobs one by one


class UnansweredClaims:
    """Remembers such claims, and finds the jobs that they took."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._claims: list[Unanswered] = []

    def __bool__(self) -> bool:
        return bool(self._claims)

    @contextmanager
    def remembering(self, claim: Claim | None, *, in_parts: bool = False) -> Iterator[None]:
        """Remember a claim if this block fails without an answer.

        A claim *in_parts* commits more than once: whatever the error, an earlier part may have taken jobs.
        """
        try:
            yield
        except Exception as error:
            if claim is not None and (in_parts or not was_answered(error)):
                self._claims.append(Unanswered(claim.token, monotonic() + statement_limit() + float(settings.LEASE)))
            raise

    def recover(self) -> list[Claimed]:
        """Return the jobs not found before. The first look is due at once, the next as often as leases are renewed."""
        now = monotonic()
        due = {claim.token: claim for claim in self._claims if now >= claim.next_look_at}
        if not due:
            return []
        jobs = self._renewed([job for job in claimed_with(self.using, due) if job.id not in due[job.token].recovered])
        for job in jobs:
            due[job.token].recovered.add(job.id)
        for claim in due.values():
            claim.next_look_at = min(now + renewal_interval(), claim.until)
        self._claims = [claim for claim in self._claims if now < claim.until]
        return jobs

    def _renewed(self, jobs: list[Claimed]) -> list[Claimed]:
        """Renew the leases of *jobs*, some of which may be nearly over, and return those for which that worked.

        A child may run until the lease that its worker last renewed is over, so no job may have an earlier one.
        """
        rows, lease = Job.objects.using(self.using), float(settings.LEASE)
        if not jobs or rows.renew({job.id: job.token for job in jobs}, lease) == len(jobs):
            return jobs
        return [job for job in jobs if rows.renew({job.id: job.token}, lease)]
