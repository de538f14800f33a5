"""Stops workers with SIGSTOP for longer than lease and observation, and looks for a job with two owners."""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from django.db.models import Count

from qorworker.exceptions import InvalidTransition
from qorworker.models import Attempt, Job, database_now
from tests.chaos import results
from tests.chaos.database import new_database
from tests.support import RunningWorker, Transitions, all_ended, recorded_transitions, running_worker, wait_until
from tests.testapp import jobs

LEASE, OBSERVATION = 3.0, 1.0
WORKERS, PROCESSES, BACKLOG = 3, 3, 6
PARTS = (
    ("parent",),
    ("parent", "fork server"),
    ("parent", "fork server"),
    ("parent", "fork server", "children"),
    ("parent", "fork server", "children"),
    ("fork server", "children"),
    ("children",),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=200)


def run(options: argparse.Namespace) -> int:
    with new_database(), recorded_transitions() as transitions, tempfile.TemporaryDirectory() as folder:
        trial = Trial(random.Random(options.seed), Path(folder), transitions)
        trial.run(options.rounds)
        for number, figure in trial.figures().items():
            print(f"{number}: {figure}")
        for violation in trial.violations:
            print(f"VIOLATION {violation}")
        if trial.violations:
            print(trial.said())
        found = {"faults": len(trial.freezes), "jobs": Job.objects.count()}
        results.store(options.json, figures=found, violations=trial.violations)
        print(f"{len(trial.freezes)} freezes, {trial.taken} attempts taken over: {len(trial.violations)} violations")
    return int(bool(trial.violations))


@dataclass(frozen=True)
class Span:
    """One attempt as its own process saw it."""

    job: int
    attempt: int
    process: int
    begun: float
    last: float  # when it was last alive
    fork_server: int  # of its worker
    returned: bool


@dataclass(frozen=True)
class Freeze:
    fork_server: int
    begun: float
    ended: float


@dataclass
class Trial:
    random: random.Random
    folder: Path
    transitions: Transitions
    workers: list[RunningWorker] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)
    retries: Counter[int] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    taken: int = 0  # attempts that were taken from a worker that stood still
    overlap: float = 0.0  # seconds that two workers ran the same job, the longest time of all
    stale: float = 0.0  # seconds that a lost attempt went on after its worker had woken up, likewise

    def run(self, rounds: int) -> None:
        (self.folder / "spans").mkdir()
        with ExitStack() as stack:
            for _ in range(WORKERS):
                options = {"LEASE": LEASE, "OBSERVATION": OBSERVATION, "POLL_INTERVAL": 0.2}
                worker = running_worker(folder=self.folder, processes=PROCESSES, **options)
                self.workers.append(stack.enter_context(worker))
            for number in range(1, rounds + 1):
                self.round()
                if number % 20 == 0:
                    print(f"{number} rounds, {self.taken} attempts taken over", flush=True)
            all_ended(timeout=300)
            self.look_for_orphans()
        self.look_at_spans()
        self.look_at_rows()

    def said(self) -> str:
        return "\n".join(worker.said for worker in self.workers)

    # One round.

    def round(self) -> None:
        parts = self.random.choice(PARTS)
        victim = wait_until(self.half_busy, 60, self.said, every=0.2)
        self.freeze(victim, parts)
        self.look_for_orphans()

    def half_busy(self) -> RunningWorker | None:
        """A worker that runs something and has a free child, which is what a job needs to come back to it."""
        self.enqueue()
        found = [worker for worker in self.workers if 0 < len(self.tokens_of(worker)) < PROCESSES]
        return self.random.choice(found) if found else None

    def enqueue(self) -> None:
        missing = BACKLOG - Job.objects.waiting().count() - Job.objects.running().count()
        for _ in range(missing):
            job_type = self.random.choice((jobs.live_again, jobs.live_again, jobs.live_once))
            seconds, by_clock = self.random.uniform(0.5, 12.0), self.random.random() < 0.5
            job_type.enqueue(folder=str(self.folder / "spans"), seconds=seconds, by_clock=by_clock)

    def tokens_of(self, worker: RunningWorker) -> dict[int, str]:
        row = worker.row()
        return dict(Job.objects.of_worker(row.pk).values_list("pk", "attempt_token")) if row else {}

    def freeze(self, worker: RunningWorker, parts: tuple[str, ...]) -> None:
        processes = {"parent": [worker.pid], "fork server": [worker.fork_server()], "children": worker.children()}
        stopped = [pid for part in parts for pid in processes[part]]
        with self.stopped(worker, stopped):
            if "parent" not in parts:
                time.sleep(self.random.uniform(0.0, LEASE))
                return
            tokens = self.tokens_of(worker)
            wait_until(lambda: not Job.objects.held(tokens).exists(), 60, self.said, every=0.01)
            self.taken += len(tokens)
            if self.random.random() < 0.3:
                self.retry(tokens)
                return
            # When this worker wakes up, no other one can take the jobs that it has lost.
            with ExitStack() as stack:
                for other in self.workers:
                    if other is not worker:
                        stack.enter_context(self.stopped(other, [other.pid]))
                self.retry(tokens)
                self.wake(stopped)
                time.sleep(self.random.uniform(0.3, 1.0))

    @contextmanager
    def stopped(self, worker: RunningWorker, processes: list[int]) -> Iterator[None]:
        fork_server, begun = worker.fork_server(), time.monotonic()
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            self.wake(processes)
            self.freezes.append(Freeze(fork_server, begun, time.monotonic()))

    def wake(self, processes: list[int]) -> None:
        """Let them go on, one a little later than the other; mostly the parent first, which then takes jobs."""
        first, *rest = processes
        self.random.shuffle(rest)
        for pid in [first, *rest] if self.random.random() < 0.8 else [*rest, first]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            time.sleep(self.random.choice((0.0, 0.4, 0.8)))

    def retry(self, tokens: dict[int, str]) -> None:
        """Have most of the jobs that failed tried again, as a person would."""
        for job in Job.objects.filter(pk__in=list(tokens)).ended_badly():
            if self.random.random() < 0.7:
                with suppress(InvalidTransition):
                    job.retry()
                    self.retries[job.pk] += 1

    # What must never be.

    def spans(self) -> list[Span]:
        found = []
        for path in (self.folder / "spans").iterdir():
            data = path.read_bytes()
            if len(data) == jobs.SPAN.size:
                job, attempt, process = map(int, path.name.split("."))
                begun, last, fork_server, returned = jobs.SPAN.unpack(data)
                found.append(Span(job, attempt, process, begun, last, fork_server, bool(returned)))
        return sorted(found, key=lambda span: span.begun)

    def look_for_orphans(self) -> None:
        """No attempt goes on that does not own its job. Those that do not are given the time to be ended."""

        def orphans() -> list[Span]:
            alive = [span for span in self.spans() if not span.returned and time.monotonic() - span.last < 0.5]
            rows = {job.pk: job for job in Job.objects.filter(pk__in=[span.job for span in alive])}
            now = database_now("default")
            return [
                span
                for span in alive
                if (job := rows[span.job]).status != "running"
                or job.attempt != span.attempt
                or job.lease_expires_at < now
            ]

        try:
            wait_until(lambda: not orphans(), 30, every=0.2)
        except AssertionError:
            self.violations.append(f"attempts without a lease: {orphans()}")

    def look_at_spans(self) -> None:
        of_job: dict[int, list[Span]] = {}
        for span in self.spans():
            of_job.setdefault(span.job, []).append(span)
        single = set(Job.objects.for_type(jobs.live_once).values_list("pk", flat=True))
        for job, spans in of_job.items():
            if len({span.attempt for span in spans}) < len(spans):
                self.violations.append(f"job {job}: one attempt was started twice: {spans}")
            if job in single and len(spans) > 1 + self.retries[job]:
                self.violations.append(f"job {job}: started {len(spans)} times, retried {self.retries[job]} times")
            for earlier, later in combinations(spans, 2):
                self.compare(earlier, later)

    def compare(self, earlier: Span, later: Span) -> None:
        if earlier.last <= later.begun:
            return
        self.overlap = max(self.overlap, min(earlier.last, later.last) - later.begun)
        frozen = [
            freeze
            for freeze in self.freezes
            if freeze.fork_server == earlier.fork_server
            and min(freeze.ended, later.begun) - max(freeze.begun, earlier.begun) > LEASE / 2
        ]
        if earlier.fork_server == later.fork_server:
            self.violations.append(f"one worker ran a job twice at once: {earlier}, {later}")
        elif not frozen:
            self.violations.append(
                f"a job ran twice although its worker was not frozen for so long: {earlier}, {later}"
            )
        else:
            self.stale = max(self.stale, earlier.last - max(freeze.ended for freeze in frozen))

    def look_at_rows(self) -> None:
        for row in Attempt.objects.values("job", "number").annotate(count=Count("pk")).filter(count__gt=1):
            self.violations.append(f"an attempt was noted twice: {row}")
        spans = {(span.job, span.attempt): span for span in self.spans()}
        for job in Job.objects.done():
            span = spans.get((job.pk, job.attempt))
            if span is None or not span.returned:
                self.violations.append(f"job {job.pk} is done by attempt {job.attempt}, which did not return: {span}")
        for job, ends in self.transitions.ends().items():
            if ends != 1 + self.retries[job]:
                self.violations.append(f"job {job} ended {ends} times, retried {self.retries[job]} times")

    def figures(self) -> dict[str, object]:
        outcomes = Counter(Attempt.objects.values_list("outcome", flat=True))
        return {
            "freezes": len(self.freezes),
            "jobs": Job.objects.count(),
            "attempts": dict(outcomes),
            "attempts taken over": self.taken,
            "retries": sum(self.retries.values()),
            "longest overlap between two workers (s)": f"{self.overlap:.3f}",
            "longest time that a lost attempt went on after its worker woke up (s)": f"{self.stale:.3f}",
            "violations": len(self.violations),
        }
