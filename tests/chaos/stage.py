"""What trials of the whole have in common: workers, people, bystanders, and a look at everything once all has ended."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db import Error, close_old_connections, connection
from django.test import override_settings

from qorworker import Schedule
from qorworker.exceptions import QorWorkerError
from qorworker.models import Batch, Job, JobQuerySet, MessageMark, Worker, database_now
from qorworker.models.job_messages import SENDER
from qorworker.models.worker import WorkerKind
from tests.backends.processes import celery_process, end_all
from tests.chaos.clocks import Clock
from tests.chaos.mix import People, decider
from tests.chaos.oracle import Figures, Oracle, unfinished, untold
from tests.chaos.points import FOLDER, Control
from tests.chaos.trees import children_of
from tests.messages.receiver import receiving
from tests.support import (
    ROOT,
    WITH_THE_TESTS,
    RunningWorker,
    Transitions,
    alive,
    census,
    empty_tables,
    environment,
    running_worker,
    wait_until,
)

QUEUES: dict[str, object] = {
    "default": {"BACKEND": "qorworker.backends.local.LocalBackend", "OPTIONS": {}, "AGEING": 60},
}
OPTIONS = {
    "LEASE": 3.0, "OBSERVATION": 1.0, "POLL_INTERVAL": 0.2, "ABORT_GRACE": 1.0, "CHILD_JOBS": 200,
    "QUEUES": QUEUES,
}  # fmt: skip
VARIABLES = {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings"}
ARGUMENTS = ("--grace", "2", "--verbosity", "0")
BYSTANDERS = 3


@dataclass
class Stage:
    """One set of workers and people on one database."""

    folder: Path
    transitions: Transitions
    chance: random.Random
    workers: int = 2
    processes: int = 2
    options: dict[str, object] = field(default_factory=lambda: dict(OPTIONS))
    machine: bool = False  # each worker in a PID namespace of its own
    ports: tuple[int, ...] = ()  # of proxies on the way to the database: each worker takes the next one
    clocks: tuple[Clock, ...] = ()  # of people, and of workers, which take the other ones in turn; one: of all
    broker: str = ""  # of Celery, which then runs some of the jobs
    figures: Figures = field(default_factory=Figures)
    violations: list[str] = field(default_factory=list)

    def __enter__(self) -> Stage:
        self.stack = ExitStack()
        self.running: list[RunningWorker] = []
        self.port_of: dict[int, int | None] = {}  # by the process
        self.dead: list[RunningWorker] = []
        self.refused = ""
        self.people: subprocess.Popen[bytes] | None = None
        self.receiver = self.stack.enter_context(receiving())
        webhook = {"url": self.receiver.url, "secret": "hunter2", "private_addresses": True}
        self.options |= {"MESSAGES": [{"name": "failures", "on": ["failed", "attempt_failed"], "webhook": webhook}]}
        self.bystanders = [self.stack.enter_context(bystander()) for _ in range(BYSTANDERS)]
        (self.folder / "spans").mkdir()
        Control(self.folder)  # before processes look for it
        decider()
        self.celery: list[subprocess.Popen[bytes]] = []
        if self.broker:
            self.set_up_celery()
        for _ in range(self.workers):
            self.start_worker()
        return self

    def set_up_celery(self) -> None:
        """Add a queue of Celery for this process as well, and start a worker of it."""
        from tests.backends.celery_app import app_on

        name = f"qorworker-chaos-{self.chance.getrandbits(32):x}"
        backend = {"BACKEND": "qorworker.backends.celery.CeleryBackend", "OPTIONS": {"CELERY_QUEUE": name}}
        self.options["QUEUES"] = {**QUEUES, "celery": backend}
        self.celery_variables = {"QORWORKER_TEST_BROKER": self.broker, "QORWORKER_TEST_BROKER_QUEUE": name}
        self.stack.enter_context(override_settings(QORWORKER={**settings.QORWORKER, **self.options}))
        app = app_on(self.broker, name)
        app.set_current()
        app.set_default()
        self.start_celery()

    def start_celery(self) -> None:
        options = dict(self.options)
        queues = options.pop("QUEUES")
        queue, settings_module = (
            self.celery_variables["QORWORKER_TEST_BROKER_QUEUE"],
            VARIABLES["DJANGO_SETTINGS_MODULE"],
        )
        started = celery_process(
            self.folder, self.broker, queue, queues=queues, qorworker=options, settings=settings_module,
            **{FOLDER: str(self.folder)},
        )  # fmt: skip
        self.celery.append(self.stack.enter_context(started))

    def __exit__(self, *error: object) -> None:
        self.end_people()
        with (self.folder / "workers.log").open("w") as log, redirect_stdout(log):
            self.stack.close()

    @property
    def variables(self) -> dict[str, str]:
        return {**VARIABLES, FOLDER: str(self.folder), **(self.celery_variables if self.broker else {})}

    def next_port(self) -> int | None:
        return self.ports[len(self.port_of) % len(self.ports)] if self.ports else None

    def clock_of(self, number: int) -> dict[str, str]:
        """The variables that let a process have its clock; people are number 0."""
        if not self.clocks:
            return {}
        workers = self.clocks[1:] or self.clocks
        return self.clocks[0].variables if number == 0 else workers[number % len(workers)].variables

    def start_worker(self) -> RunningWorker:
        given = {"folder": self.folder, "processes": self.processes, "machine": self.machine}
        variables = {**self.variables, **self.clock_of(len(self.port_of) + 1)}
        given |= {"variables": variables, "port": (port := self.next_port())}
        worker = self.stack.enter_context(running_worker(*ARGUMENTS, **given, **self.options, ready=self.machine))
        worker.pid = worker.pid or worker.process.pid  # it may be killed before it is ready
        self.running.append(worker)
        self.port_of[worker.pid] = port
        return worker

    def start_people(self) -> None:
        with (self.folder / "people.log").open("ab") as log:
            self.people = subprocess.Popen(
                [*WITH_THE_TESTS, sys.executable, "-m", "tests.chaos.people", str(self.chance.random()), self.folder],
                cwd=ROOT,
                env={**environment(port=self.next_port(), **self.options), **self.variables, **self.clock_of(0)},
                stdout=log,
                stderr=log,
            )

    def end_people(self) -> None:
        if self.people is not None:
            (self.folder / "enough").touch()
            try:
                self.people.wait(30)
            except subprocess.TimeoutExpired:
                self.people.kill()
                self.people.wait()
            self.people = None
            (self.folder / "enough").unlink()

    def replace_dead(self) -> list[RunningWorker]:
        """Start another one for each that is gone; those that are gone."""
        gone = [worker for worker in self.running if worker.process.poll() is not None or not alive(worker.pid)]
        for worker in gone:
            if "Traceback" in worker.said:
                self.violations.append(f"a worker ended: {worker.said[-3000:]}")
            self.running.remove(worker)
            self.dead.append(worker)
            self.start_worker()
        for dead in [each for each in self.celery if each.poll() is not None]:
            end_all(dead)  # as a service manager does: a pool of Celery outlives its parent, which is not our doing
            self.celery.remove(dead)
            self.start_celery()
        if self.people is not None and (status := self.people.poll()) is not None:
            if status > 0:
                self.violations.append(f"people ended: {(self.folder / 'people.log').read_text()[-3000:]}")
            self.start_people()
        return gone

    def tokens_of(self, worker: RunningWorker) -> dict[int, str]:
        row = worker.row()
        return dict(Job.objects.of_worker(row.pk).values_list("pk", "attempt_token")) if row else {}

    def settled(self, tokens: dict[int, str], begun: float, timeout: float = 60) -> None:
        """Wait until nobody holds these any more, and note how long it took."""
        if tokens:
            held = Job.objects.held(tokens)
            wait_until(lambda: not held.exists(), timeout, lambda: self.state_of(held), every=0.02)
            self.figures.recovery.append(time.monotonic() - begun)

    def state_of(self, jobs: JobQuerySet) -> str:
        """All about jobs that should have ended, and about the workers."""
        rows = list(jobs.values_list("pk", "name", "status", "worker", "process_id", "lease_expires_at", "crashes"))
        workers = list(Worker.objects.values_list("pk", "process_id", "heartbeat_at", "stopped_at", "found_dead"))
        said = [f"{worker.pid}: {worker.said[-3000:]}" for worker in (*self.dead, *self.running)]
        return "\n".join(map(str, (rows, database_now("default"), workers, *said)))

    # Looking.

    def settle_and_look(self, what: object, timeout: float = 120) -> None:
        """Let everything end, and compare; then begin anew. *what* has happened since the last look, for messages."""
        self.end_people()
        close_old_connections()
        for schedule in Schedule.objects.filter(name="ticks"):
            self.use(schedule.pause)
        before, self.refused = len(self.violations), ""
        try:
            wait_until(self.is_over, timeout, every=0.1)
        except AssertionError:
            batches = list(Batch.objects.open().values_list("pk", flat=True)[:5])
            self.violations.append(f"not over: open batches {batches}, last refusal {self.refused}")
        self.look_at_processes()
        # A message may be on its way, and its job has not ended when it arrives. The oracle finds what is missing.
        with suppress(AssertionError):
            wait_until(lambda: not untold(self.folder, self.receiver.payloads) and self.is_over(), 60, every=0.1)
        oracle = Oracle(self.folder, self.transitions, self.receiver.payloads)
        oracle.look()
        self.figures += oracle.figures
        self.violations += oracle.violations
        if len(self.violations) > before:
            print(f"{len(self.violations) - before} violations after {what}", flush=True)
            for violation in self.violations[before:]:
                print("  VIOLATION", violation[:2000], flush=True)
        self.begin_anew()

    def is_over(self) -> bool:
        self.replace_dead()
        try:
            self.decide()
            return not unfinished().exists() and not Batch.objects.open().exists()
        except Error:
            return False

    def decide(self) -> None:
        """Decide all that waits for people."""
        for job in Job.objects.asking():
            self.use(job.answer, go=True)
        for job in Job.objects.awaiting_approval():
            self.use(job.approve, by=decider())
        self.use(Job.objects.paused().resume)
        self.use(Job.objects.filter(name=SENDER, status="scheduled").run_now)

    def use(self, verb: Callable[..., object], **how: object) -> None:
        try:
            verb(**how)
        except QorWorkerError as error:  # a worker came first; if not, this says what is in the way
            self.refused = repr(error)

    def look_at_processes(self) -> None:
        for worker in self.dead:
            try:
                wait_until(lambda worker=worker: not census(worker.mark), 10)
            except AssertionError:
                left = census(worker.mark)
                self.note("orphans", f"{len(left)} processes are left of a dead worker", len(left))
        self.dead.clear()
        for worker in self.running:
            with suppress(OSError, AssertionError):
                found = [*children_of(worker.pid), *children_of(worker.fork_server())]
                self.look_for_zombies(found)
        for number, other in enumerate(self.bystanders):
            if other.poll() is not None:
                self.note("innocents", "a bystander is gone")
                self.bystanders[number] = self.stack.enter_context(bystander())

    def look_for_zombies(self, pids: list[int]) -> None:
        """Note those of these processes that have ended, and that nobody reaps: a busy parent may take its time."""

        def zombies() -> list[int]:
            return [pid for pid in pids if not alive(pid) and os.path.exists(f"/proc/{pid}")]

        try:
            wait_until(lambda: not zombies(), 10)
        except AssertionError:
            left = zombies()
            self.note("zombies", f"{len(left)} zombies of a worker", len(left))

    def note(self, figure: str, violation: str, number: int = 1) -> None:
        setattr(self.figures, figure, getattr(self.figures, figure) + number)
        self.violations.append(f"{figure}: {violation}")

    def begin_anew(self) -> None:
        """Forget all jobs, so that the next look is about what happens from now on."""
        rows = [row for worker in self.running if (row := worker.row())]
        while True:
            with suppress(Error):
                empty_tables([*rows, *Worker.objects.not_stopped().filter(kind=WorkerKind.CELERY)])
                with connection.cursor() as cursor:
                    cursor.execute(f"DELETE FROM {self.transitions.TABLE}")
                break
        for path in (self.folder / "spans").iterdir():
            path.unlink()
        for name in ("accepted", "due"):
            (self.folder / name).unlink(missing_ok=True)
        self.receiver.got.clear()
        decider()

    def begin(self) -> None:
        """Let people begin, as soon as a worker looks for what fails: what was before is not reported."""
        wait_until(self.is_watched, 60)
        People(self.chance, self.folder).schedule()
        self.start_people()

    def is_watched(self) -> bool:
        self.replace_dead()
        with suppress(Error):
            return MessageMark.objects.exists()
        return False


@contextmanager
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours, and must outlive the trial."""
    process = subprocess.Popen([*WITH_THE_TESTS, "sleep", "86400"], start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def told(figures: Figures, violations: Iterable[str]) -> None:
    for name, figure in figures.as_json().items():
        print(f"{name}: {figure}")
    for violation in violations:
        print(f"VIOLATION {violation[:2000]}")
