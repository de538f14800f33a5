"""The row of this worker: made at its start, kept fresh, closed at its end. Parent process."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import qorworker
from qorworker.attempts.writer import Writer
from qorworker.definitions.registry import registry
from qorworker.models import Worker
from qorworker.system.processes import Identity
from qorworker.worker.parent.pool import Pool

logger = logging.getLogger(__name__)


class Heartbeat:
    """Keeps the worker's row, and reads from it what is requested of the worker."""

    def __init__(self, writer: Writer, pool: Pool, identity: Identity, cookie: str, queues: Sequence[str]) -> None:
        self.writer, self.pool, self.identity, self.cookie, self.queues = writer, pool, identity, cookie, list(queues)
        self.worker: Worker | None = None
        self.is_for_one_job = False  # then its row is deleted at the end
        self.request = ""  # what was requested of this worker, as of the last heartbeat

    def register(self) -> Worker:
        """Create the row. Each start of a worker has its own."""
        self.worker = Worker.objects.using(self.writer.using).start(
            name=self.writer.worker_name,
            host=self.identity.host,
            process_id=self.identity.process_id,
            boot_id=self.identity.boot_id,
            pid_namespace=self.identity.pid_namespace,
            process_started=self.identity.process_started,
            cookie=self.cookie,
            version=qorworker.__version__,
            queues=self.queues,
            job_types=registry.startable_names(),
            versions=registry.versions(),
            slots=self.pool.size,
            request=self.request,
            heeded=self.request,
        )
        self.writer.worker_id = self.worker.pk
        return self.worker

    def beat(self, now: float) -> None:
        """Read what is requested of this worker, and write a heartbeat that confirms it."""
        if self.worker is None:
            return
        workers = Worker.objects.using(self.writer.using)
        request = workers.request_of(self.worker.pk)
        if workers.beat(self.worker.pk, memory=self.pool.memory(), heeded=request, trouble=self.pool.trouble):
            self.request = request
        else:
            # Another process took it for dead, or deleted the row. It goes on under a new number.
            logger.warning("The row of this worker was closed by another process; registering again.")
            self.register()

    def sign_off(self) -> None:
        """Close the row, or delete it if this worker ran one job only."""
        if self.worker is not None:
            workers = Worker.objects.using(self.writer.using)
            workers.stop(self.worker.pk)
            if self.is_for_one_job:
                workers.filter(pk=self.worker.pk).forget()
