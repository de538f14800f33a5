"""Watches the attempts of this worker: leases, requests, limits of time and memory. Parent process."""

from __future__ import annotations

from django.utils.translation import gettext as _

from qorworker.attempts.attempt import LEASE_MARGIN, RunningAttempt, given_up_text, size
from qorworker.conf import settings
from qorworker.definitions.registry import registry
from qorworker.models import Job, Outcome
from qorworker.system import processes
from qorworker.text.moments import duration_text
from qorworker.worker.parent.dispatcher import Dispatcher
from qorworker.worker.parent.pool import Pool
from qorworker.worker.parent.stacks import Stacks

GROWTH = 1.25  # a child may have this many times the memory of the fork server, however large that is


class Watchdog:
    """Renews leases, stops attempts that were aborted, taken away, or are over a limit, and pauses others."""

    def __init__(self, dispatcher: Dispatcher, pool: Pool) -> None:
        self.dispatcher, self.pool = dispatcher, pool
        self.stacks = Stacks(pool, dispatcher.stopping)
        self.deadline: float | None = None
        self.has_unrenewed = False  # the last renewal missed leases: rows are locked, or jobs were taken

    def renew(self, now: float) -> None:
        """Renew the leases of all attempts, and stop those that this worker no longer owns."""
        before = processes.monotonic()
        tokens = self.dispatcher.active.tokens()
        lease = float(settings.LEASE)
        jobs = Job.objects.using(self.dispatcher.database.using)
        self.has_unrenewed = bool(tokens) and jobs.renew(tokens, lease) < len(tokens)
        if self.has_unrenewed:
            self._heed_requests(tokens)
        # From before the statement was sent: this worker's lease ends earlier than the database thinks.
        self.deadline = before + lease - LEASE_MARGIN
        self.send_deadline()

    def check_requests(self, now: float) -> None:
        """Stop attempts whose abort was requested, and those that another worker owns now; pause what is to pause."""
        if tokens := self.dispatcher.stopping.stoppable(now):
            self._heed_requests(tokens)
        if self.has_unrenewed:
            self.renew(now)

    def _heed_requests(self, tokens: dict[int, str]) -> None:
        requests = Job.objects.using(self.dispatcher.database.using).requests(tokens)
        attempts = [attempt for attempt in self.dispatcher.active if attempt.job.id in tokens and not attempt.lost]
        for attempt in attempts:
            if (requested := requests.get(attempt.job.id)) is None:
                self.dispatcher.stopping.abandon(attempt)
                continue
            if requested.stack_at is not None:
                self.stacks.request(attempt, requested.stack_at, processes.monotonic())
            if requested.abort:
                self.dispatcher.stopping.stop(attempt, Outcome.ABORTED, _("Aborted."), float(settings.ABORT_GRACE))
            elif requested.pause:
                self.dispatcher.stopping.pause(attempt)

    def enforce_limits(self, now: float) -> None:
        """Stop attempts that are over their limit of time or memory, and those that do not end when asked to."""
        self.dispatcher.sharing.kill_overdue(now)
        for attempt in self.dispatcher.active:
            job_type = registry.find(attempt.job.name)
            if job_type is None or attempt.begun is None or attempt.stop_reason:
                continue
            if job_type.timeout is not None and now - attempt.begun > job_type.timeout:
                text = _("Stopped after the limit of %s.") % duration_text(job_type.timeout)
                self.dispatcher.stopping.stop(attempt, Outcome.TIMEOUT, text, float(settings.ABORT_GRACE))
            elif job_type.memory_limit is not None:
                self._limit_memory(attempt, job_type.memory_limit)

    def _limit_memory(self, attempt: RunningAttempt, limit: int) -> None:
        child = self.dispatcher.stopping.child_of(attempt)
        if child is not None and child.pid is not None and processes.resident_memory(child.pid) > limit:
            text = _("Stopped because it needed more memory than its limit of %s.") % size(limit)
            self.dispatcher.stopping.stop(attempt, Outcome.MEMORY, text, 0)

    def stop_outlived(self, now: float) -> None:
        """Stop attempts whose lease may have passed; the fork server does so even if this process cannot."""
        if not self.is_overdue():
            return
        for child in self.pool.children.values():
            if child.owned and child.attempts:
                for attempt in list(child.attempts) if child.shared_by else [child.attempts[0]]:
                    self.dispatcher.stopping.stop(attempt, Outcome.LOST, given_up_text(), 0)

    def is_overdue(self) -> bool:
        """Whether the renewal of the leases is overdue: until it succeeds, new attempts would be stopped at once."""
        return self.deadline is not None and processes.monotonic() >= self.deadline

    def send_deadline(self) -> None:
        """Send the deadline to a new fork server."""
        if self.deadline is not None:
            self.pool.send({"deadline": True, "at": self.deadline})

    def recycle_children(self, now: float) -> None:
        """Replace children that have grown too large: idle ones, and shared ones once their jobs have ended.

        A new child is as large as the fork server.
        """
        fork_servers = [processes.resident_memory(pid) for pid in self.pool.fork_server.pids]
        limit = max(settings.CHILD_MEMORY, *(GROWTH * memory for memory in fork_servers), 0)
        for child in self.pool.available:
            if (child.idle or child.shared_by) and child.pid and processes.resident_memory(child.pid) > limit:
                self.pool.retire(child)
