"""The row that tells people of this worker: made at its start, kept fresh, closed at its end. Parent process."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import qorworker
from qorworker.models import Worker
from qorworker.registry import registry
from qorworker.worker.pool import Pool
from qorworker.worker.processes import Identity
from qorworker.worker.writer import Writer

logger = logging.getLogger(__name__)


class Registration:
    def __init__(self, writer: Writer, pool: Pool, me: Identity, cookie: str, queues: Sequence[str]) -> None:
        self.writer, self.pool, self.me, self.cookie, self.queues = writer, pool, me, cookie, list(queues)
        self.worker: Worker | None = None
        self.request = ""  # what people ask of this worker, as of its last sign of life

    def register(self) -> Worker:
        """Make the row. Each start of a worker has one of its own."""
        self.worker = Worker.objects.using(self.writer.using).start(
            name=self.writer.worker_name,
            host=self.me.host,
            process_id=self.me.process_id,
            boot_id=self.me.boot_id,
            pid_namespace=self.me.pid_namespace,
            process_started=self.me.process_started,
            cookie=self.cookie,
            version=qorworker.__version__,
            queues=self.queues,
            job_types=registry.names(),
            slots=self.pool.size,
            request=self.request,
            heeded=self.request,
        )
        self.writer.worker_id = self.worker.pk
        return self.worker

    def beat(self, now: float) -> None:
        """Take in what people ask of this worker, and show a sign of life that says so."""
        if self.worker is None:
            return
        workers = Worker.objects.using(self.writer.using)
        request = workers.request_of(self.worker.pk)
        if workers.beat(self.worker.pk, memory=self.pool.memory(), heeded=request):
            self.request = request
        else:
            # Somebody on this machine took it for dead, or deleted the row: it is alive, under a new number.
            logger.warning("The row of this worker was closed by another process; registering again.")
            self.register()

    def sign_off(self) -> None:
        if self.worker is not None:
            Worker.objects.using(self.writer.using).stop(self.worker.pk)
