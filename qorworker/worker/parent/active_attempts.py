"""The attempts of this worker that have not ended, at most one of each job. Parent process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from qorworker.attempts.attempt import RunningAttempt


class ActiveAttempts:
    """Holds each attempt from its claim until no process of this worker runs it any more.

    A lost attempt stays until then, too, so that no other attempt of its job starts beside it.
    """

    def __init__(self) -> None:
        self._of_job: dict[int, RunningAttempt] = {}
        self._of_batch: Counter[int] = Counter()  # how many belong to each batch

    def __len__(self) -> int:
        return len(self._of_job)

    def __iter__(self) -> Iterator[RunningAttempt]:
        """Iterate over a copy: attempts may come and go during the loop."""
        return iter(list(self._of_job.values()))

    def __contains__(self, attempt: object) -> bool:
        return isinstance(attempt, RunningAttempt) and self._of_job.get(attempt.job.id) is attempt

    def of_job(self, job_id: int) -> RunningAttempt | None:
        """Return the attempt of this job, if there is one."""
        return self._of_job.get(job_id)

    def add(self, attempt: RunningAttempt) -> None:
        """Add an attempt. Raises ``ValueError`` while another attempt of its job is here."""
        if self._of_job.setdefault(attempt.job.id, attempt) is not attempt:
            raise ValueError(f"Another attempt of job {attempt.job.id} is still here.")
        if attempt.job.batch_id is not None:
            self._of_batch[attempt.job.batch_id] += 1

    def discard(self, attempt: RunningAttempt) -> None:
        """Remove this attempt. Another attempt of its job stays."""
        if attempt in self:
            del self._of_job[attempt.job.id]
            if (batch := attempt.job.batch_id) is not None:
                self._of_batch[batch] -= 1
                if not self._of_batch[batch]:
                    del self._of_batch[batch]

    def has_batch(self, batch: int) -> bool:
        """Return whether one of them belongs to this batch."""
        return batch in self._of_batch

    def lost_jobs(self) -> list[int]:
        """Return the ids of the jobs whose lost attempt is still here."""
        return [attempt.job.id for attempt in self._of_job.values() if attempt.lost]

    def tokens(self) -> dict[int, str]:
        """Return job id to token of all attempts but the lost ones."""
        return tokens_of(self._of_job.values())


def tokens_of(attempts: Iterable[RunningAttempt]) -> dict[int, str]:
    """Return job id to token of these attempts, without the lost ones."""
    return {attempt.job.id: attempt.job.token for attempt in attempts if not attempt.lost}
