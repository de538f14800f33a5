"""The surroundings of the test: a queue, a folder and workers of its own, all gone at its end. Command."""

from __future__ import annotations

import datetime as dt
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from django.db import Error, connections

from qorworker.management.selftest.job import NOTES, PIDS, self_test
from qorworker.models import Job, JobQuerySet, Summary, Worker, database_now
from qorworker.models.job_messages import SELF_TEST
from qorworker.system import processes
from qorworker.system.processes import monotonic

Found = TypeVar("Found")

PREFIX = "testworkers-"  # of the names of its queues
LEFT_BEHIND = dt.timedelta(hours=1)  # rows that are older belong to a test that was killed
LOOK = 0.02  # seconds between two looks for something that is awaited
FAREWELL = 10.0  # seconds for a worker to end
LINES = 5  # of what a worker has printed, in an error


class NotInTime(Exception):
    """Something did not happen within its limit."""


class WorkerEnded(Exception):
    """A worker of the test ended although nobody ended it."""


class Note(NamedTuple):
    """What a job of the test has left in its folder when it started."""

    job_id: int
    attempt: int
    at: float  # seconds of ``monotonic``


class OwnWorker:
    """A worker of the test. It ends when this process ends, since it holds the other end of its standard input."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], output: Path) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
            )

    def check(self) -> None:
        """Raise ``WorkerEnded`` if it has ended."""
        if self.process.poll() is not None:
            lines = self.output.read_text(errors="replace").splitlines()[-LINES:]
            raise WorkerEnded(f"A worker of the test ended by itself. Its last lines: {' / '.join(lines) or 'none.'}")

    def kill(self) -> None:
        """Kill the parent process, and nothing else."""
        self.process.kill()
        self.process.wait()

    def hang_up(self) -> None:
        """Ask it to end at once."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def await_end(self) -> None:
        """Wait for its end. Kill it if it does not end."""
        try:
            self.process.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            self.kill()


class Trial:
    """One test of the database *using*. As a context manager it leaves no row, no process and no file behind."""

    def __init__(self, using: str, command: Sequence[str], environment: dict[str, str], timeout: float) -> None:
        """:param command: what starts a worker, but for the name of its queue."""
        self.using, self.command, self.environment = using, command, environment
        self.queue = f"{PREFIX}{secrets.token_hex(6)}"
        self.workers: list[OwnWorker] = []
        self.ends_at = monotonic() + timeout

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX)
        self.folder = Path(self._folder.name)
        clear_left_behind(self.using)
        self._check_rights()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            for worker in self.workers:
                worker.hang_up()
            for worker in self.workers:
                worker.await_end()
            for row in own_workers(self.using, self.queue):
                processes.kill_with_cookie(row.cookie)  # what a killed worker has left
            clear(self.using, [self.queue])
        finally:
            self._folder.cleanup()

    def _check_rights(self) -> None:
        """Store a job and delete it. What the database says of that helps more than that no worker has started."""
        self.enqueue()
        clear(self.using, [self.queue])

    # Time.

    def seconds_left(self) -> float:
        """Return the seconds until the whole test has to be over."""
        return self.ends_at - monotonic()

    def wait_for(self, look: Callable[[], Found | None], limit: float, what: str) -> Found:
        """Return the first true value of *look*. Raise ``NotInTime`` after *limit* seconds, saying what is missing."""
        limit = min(limit, self.seconds_left())
        end = monotonic() + limit
        while not (found := look()):
            for worker in self.workers:
                worker.check()
            if monotonic() > end:
                raise NotInTime(f"{what} within {max(0.0, limit):.0f} seconds.")
            time.sleep(LOOK)
        return found

    # Workers and jobs.

    def start_workers(self, number: int, limit: float) -> None:
        """Have *number* workers run, and wait until they have registered."""
        while len(self.workers) < number:
            output = self.folder / f"worker-{len(self.workers)}"
            self.workers.append(OwnWorker([*self.command, self.queue], self.environment, output))
        self.wait_for(
            lambda: len(own_workers(self.using, self.queue)) >= number, limit, f"No {number} workers had started"
        )

    def jobs(self) -> JobQuerySet:
        return Job.objects.using(self.using).on_queue(self.queue)

    def enqueue(self, number: int = 1, *, task: str = "note", max_attempts: int = 1) -> list[Job]:
        """Store jobs of the test in its queue, which no setting has to name."""
        arguments = self_test.arguments.dump({"folder": str(self.folder), "task": task})
        jobs = [
            Job(
                name=SELF_TEST,
                queue_name=self.queue,
                arguments=arguments,
                max_attempts=max_attempts,
                fingerprint=self_test.arguments.fingerprint,
            )
            for _ in range(number)
        ]
        return self.jobs().enqueue_rows(jobs)

    def notes(self) -> list[Note]:
        """Return what its jobs have noted so far, a line that is being written left out."""
        lines = [line.split() for line in self._lines(NOTES)]
        return [Note(int(job_id), int(attempt), float(at)) for job_id, attempt, at in lines]

    def note_of(self, job: Job) -> Note | None:
        """Return the first note of a job; None if there is none yet."""
        return next((note for note in self.notes() if note.job_id == job.pk), None)

    def pids(self) -> list[int]:
        """Return the processes of its jobs that are held."""
        return [int(line) for line in self._lines(PIDS)]

    def _lines(self, name: str) -> list[str]:
        with suppress(FileNotFoundError):
            return (self.folder / name).read_text().split("\n")[:-1]
        return []

    def forget_pids(self) -> None:
        (self.folder / PIDS).unlink(missing_ok=True)


def own_workers(using: str, queue: str) -> list[Worker]:
    """Return the rows of the workers that serve this queue only."""
    return [worker for worker in Worker.objects.using(using).all() if worker.queues == [queue]]


def clear(using: str, queues: Sequence[str]) -> None:
    """Delete all rows of these queues of tests, on a new connection if the old one is broken."""
    try:
        _clear(using, queues)
    except Error:
        connections[using].close()
        _clear(using, queues)


def _clear(using: str, queues: Sequence[str]) -> None:
    if not queues:
        return
    Job.objects.using(using).on_queue(*queues).for_type(SELF_TEST).erase()
    Summary.objects.using(using).filter(queue_name__in=queues, name=SELF_TEST).delete()
    ids = [worker.pk for queue in queues for worker in own_workers(using, queue)]
    Worker.objects.using(using).filter(pk__in=ids).forget()


def clear_left_behind(using: str) -> None:
    """Delete what tests have left that were killed. One that runs at this moment keeps its rows."""
    jobs, before = Job.objects.using(using).for_type(SELF_TEST), database_now(using) - LEFT_BEHIND
    old = {worker.queues[0] for worker in Worker.objects.using(using).gone_since(before) if _is_of_test(worker)}
    old.update(jobs.filter(enqueued_at__lt=before).values_list("queue_name", flat=True).distinct())
    clear(using, sorted(old))


def _is_of_test(worker: Worker) -> bool:
    return len(worker.queues) == 1 and str(worker.queues[0]).startswith(PREFIX)
