"""The base of the contract for backends: its fixtures and helpers. Test processes only."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from qorworker.definitions.job_type import JobType
from qorworker.models import Job, LogLine
from qorworker.queues import BaseBackend, backend_of
from qorworker.status import FINISHED


class Ground:
    """The base of every part of the contract."""

    queue_name = "default"
    patience = 30.0  # seconds in which a job of a moment must have ended

    @pytest.fixture
    def running(self) -> Iterator[None]:
        """Run the jobs of the queue during each test."""
        yield

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        """A file into which jobs write what they do."""
        (tmp_path / "lines").touch()
        return str(tmp_path / "lines")

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Iterator[str]:
        """A file for which jobs wait."""
        yield str(tmp_path / "gate")
        (tmp_path / "gate").touch()

    # What the tests use.

    @property
    def backend(self) -> BaseBackend:
        return backend_of(self.queue_name)

    def here(self, job_type: JobType[..., Any], **defaults: Any) -> JobType[..., Any]:
        return job_type.using(queue_name=self.queue_name, **defaults)

    def run(self, job_type: JobType[..., Any], **arguments: Any) -> Job:
        """Return a job of this type after it has ended."""
        return self.ended(self.here(job_type).enqueue(**arguments))

    @contextmanager
    def begun(self, job_type: JobType[..., Any], path: str, **arguments: Any) -> Iterator[Job]:
        """Return a job whose handler has begun. A thread enqueues it, because it may run right there."""
        last = Job.objects.newest_first().values_list("pk", flat=True).first() or 0

        def enqueue() -> None:
            try:
                self.here(job_type).enqueue(path=path, **arguments)
            finally:
                connection.close()

        thread = threading.Thread(target=enqueue, daemon=True)
        thread.start()
        self.wait_until(lambda: lines_of(path))
        try:
            yield Job.objects.filter(pk__gt=last).get()
        finally:
            with suppress(KeyError):
                Path(arguments["gate"]).touch()
            thread.join(self.patience)
            assert not thread.is_alive()

    def ended(self, job: Job) -> Job:
        return self.wait_for(job, *FINISHED)

    def wait_for(self, job: Job, *statuses: str) -> Job:
        def there() -> bool:
            job.refresh_from_db()
            return job.status in statuses

        self.wait_until(there, lambda: f"{job} is {job.status}: {job.error}")
        return job

    def wait_until(self, condition: Callable[[], Any], why: Callable[[], str] = str) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, why()
            time.sleep(0.05)


def lines_of(path: str) -> list[str]:
    """Return the lines that jobs have written into a file."""
    return Path(path).read_text().splitlines()


def log_of(job: Job) -> list[LogLine]:
    return list(LogLine.objects.filter(job=job.pk).order_by("number"))


def alive(pid: int) -> bool:
    """Return whether a process with this number runs. A zombie does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2][:1]
    except (ProcessLookupError, FileNotFoundError):
        return False
    except OSError:
        return True
    return state not in ("Z", "X")
