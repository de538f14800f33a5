"""Watches over the attempts of this worker: leases, asked-for aborts, limits of time and memory. Parent process."""

from __future__ import annotations

from django.utils import formats
from django.utils.translation import gettext as _

from qorworker.conf import settings
from qorworker.models import Job, Outcome
from qorworker.registry import registry
from qorworker.worker import processes
from qorworker.worker.attempt import RunningAttempt, size
from qorworker.worker.dispatcher import Dispatcher
from qorworker.worker.pool import Pool

GROWTH = 1.25  # times the memory of the template that a child may have, however large that is
MARGIN = 1.0  # seconds by which this worker gives up before the database lets others in


class Keeper:
    def __init__(self, dispatcher: Dispatcher, pool: Pool) -> None:
        self.dispatcher, self.pool = dispatcher, pool
        self.deadline: float | None = None
        self.behind = False  # not every lease was renewed the last time: somebody else has the row locked, or the job

    def renew(self, now: float) -> None:
        """Prolong the leases of all attempts; what is no longer held is stopped."""
        before = processes.monotonic()
        tokens = self.dispatcher.tokens()
        lease = float(settings.LEASE)
        jobs = Job.objects.using(self.dispatcher.database.using)
        self.behind = bool(tokens) and jobs.renew(tokens, lease) < len(tokens)
        if self.behind:
            self._look_at(tokens)
        # From before the statement was sent: this worker's lease ends earlier than the database thinks.
        self.deadline = before + lease - MARGIN
        self.tell_deadline()

    def check(self, now: float) -> None:
        """Look for attempts that somebody wants aborted, and for those that were taken away."""
        if tokens := self.dispatcher.stoppable():
            self._look_at(tokens)
        if self.behind:
            self.renew(now)

    def _look_at(self, tokens: dict[int, str]) -> None:
        held = Job.objects.using(self.dispatcher.database.using).abort_requests(tokens)
        running = self.dispatcher.running
        gone = [running[pk] for pk in tokens if pk in running and pk not in held]
        ended = self.dispatcher.writer.ended_themselves(gone)
        for job_id in tokens:
            attempt = running.get(job_id)
            if attempt is None or job_id in ended:
                continue
            if job_id not in held:
                self.dispatcher.forget(attempt)
            elif held[job_id]:
                self.dispatcher.stop(attempt, Outcome.ABORTED, _("Aborted."), float(settings.ABORT_GRACE))

    def limit(self, now: float) -> None:
        """Stop attempts that are over their limits."""
        for attempt in list(self.dispatcher.running.values()):
            job_type = registry.find(attempt.job.name)
            if job_type is None or attempt.begun is None or attempt.stop_reason:
                continue
            if job_type.timeout is not None and now - attempt.begun > job_type.timeout:
                text = _("Stopped after the limit of %s.") % duration_text(job_type.timeout)
                self.dispatcher.stop(attempt, Outcome.TIMEOUT, text, float(settings.ABORT_GRACE))
            elif job_type.memory_limit is not None:
                self._limit_memory(attempt, job_type.memory_limit)

    def _limit_memory(self, attempt: RunningAttempt, limit: int) -> None:
        child = self.dispatcher.child_of(attempt)
        if child is not None and child.pid is not None and processes.resident(child.pid) > limit:
            text = _("Stopped because it needed more memory than its limit of %s.") % size(limit)
            self.dispatcher.stop(attempt, Outcome.MEMORY, text, 0)

    def outlived(self, now: float) -> None:
        """End attempts that others may take by now; the template does so even if this process cannot."""
        if not self.overdue():
            return
        text = _("The worker could not reach the database for so long that it gave the job up.")
        for child in self.pool.children.values():
            if child.owned and child.attempts:
                self.dispatcher.stop(child.attempts[0], Outcome.LOST, text, 0)

    def overdue(self) -> bool:
        """Whether the leases were to be renewed by now: until they are, whatever is started is ended at once."""
        return self.deadline is not None and processes.monotonic() >= self.deadline

    def tell_deadline(self) -> None:
        """Say it to a template that is new."""
        if self.deadline is not None:
            self.pool.tell({"deadline": self.deadline})

    def recycle(self, now: float) -> None:
        """Replace idle children that have grown too large; another one would be as large as the template."""
        most = max(settings.CHILD_MEMORY, *(GROWTH * processes.resident(pid) for pid in self.pool.link.pids), 0)
        for child in self.pool.available:
            if child.idle and child.pid and processes.resident(child.pid) > most:
                self.pool.dismiss(child)


def duration_text(seconds: float) -> str:
    """A limit in words: ``1 h 30 min``, ``45 s``."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [_("%d h") % hours] * bool(hours) + [_("%d min") % minutes] * bool(minutes)
    return " ".join(parts + [_("%s s") % formats.number_format(f"{rest:g}")] * bool(rest or not parts))
