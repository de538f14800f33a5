"""Kills, stops and freezes parts of workers under batches, loops, questions and shared processes."""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

from django.db import close_old_connections
from django.db.models import Count

from qorworker.exceptions import QorWorkerError
from qorworker.models import Attempt, Batch, Job
from tests.chaos import results
from tests.chaos.database import new_database
from tests.support import RunningWorker, Transitions, recorded_transitions, running_worker, wait_until
from tests.testapp import mixture
from tests.testapp.models import Shop

WORKERS, PROCESSES, BACKLOG, OF_BATCH = 3, 2, 120, 30
OPTIONS = {
    "LEASE": 3.0, "OBSERVATION": 1.0, "POLL_INTERVAL": 0.2, "ABORT_GRACE": 1.0, "CHILD_JOBS": 200,
    "QUEUES": {"default": {"BACKEND": "qorworker.backends.local.LocalBackend", "OPTIONS": {}, "AGEING": 60}},
}  # fmt: skip
HARMS = ("kill parent", "kill fork server", "kill child", "stop", "stop twice", "freeze")
FAULTS = (
    "kill parent", "kill fork server", "kill child", "kill child", "kill child", "stop", "stop twice", "freeze",
    "drain", "abort", "pause", "answer", "answer", "retry", "retry",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=600.0, help="(default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    with new_database(), recorded_transitions() as transitions, tempfile.TemporaryDirectory() as folder:
        return carry_out(Trial(random.Random(options.seed), Path(folder), transitions), options)


def carry_out(trial: Trial, options: argparse.Namespace) -> int:
    """Run the trial and tell what came of it. The exit status."""
    trial.run(options.seconds)
    for name, figure in trial.figures().items():
        print(f"{name}: {figure}")
    for violation in trial.violations:
        print(f"VIOLATION {violation}")
    found = {"faults": sum(trial.done[kind] for kind in HARMS), "jobs": Job.objects.count()}
    results.store(options.json, figures=found, violations=trial.violations)
    print(f"{found['faults']} deaths and freezes, {found['jobs']} jobs: {len(trial.violations)} violations")
    return int(bool(trial.violations))


class Trial:
    def __init__(self, chance: random.Random, folder: Path, transitions: Transitions) -> None:
        self.random, self.folder, self.transitions = chance, folder, transitions
        self.spans = folder / "spans"
        self.spans.mkdir()
        self.workers: list[RunningWorker] = []
        self.done: Counter[str] = Counter()  # faults
        self.retried: Counter[int] = Counter()
        self.frozen: set[int] = set()  # jobs of workers that were frozen
        self.violations: list[str] = []

    def run(self, seconds: float) -> None:
        with ExitStack() as self.stack:
            for _ in range(WORKERS):
                self.start()
            begun = said = time.monotonic()
            while time.monotonic() - begun < seconds:
                self.enqueue()
                self.fault()
                time.sleep(self.random.uniform(0.0, 1.0))
                if time.monotonic() - said > 60:
                    said = time.monotonic()
                    print(
                        f"{said - begun:.0f} s, {Job.objects.count()} jobs, {sum(self.done.values())} faults",
                        flush=True,
                    )
            Job.objects.paused().resume()
            self.settle()
            for worker in self.workers:
                if "Traceback" in worker.said and worker.process.poll() is not None:
                    self.violations.append(f"a worker ended: {worker.said[-3000:]}")
        self.look()

    def start(self) -> None:
        worker = running_worker("--grace", "2", folder=self.folder, processes=PROCESSES, **OPTIONS)
        self.workers.append(self.stack.enter_context(worker))

    def settle(self) -> None:
        """Let everything end: what is held until a batch is done, which it never will be, stays."""
        unfinished = lambda: Job.objects.exclude(pk__in=Job.objects.finished().values("pk"))  # noqa: E731

        def over() -> bool:
            with suppress(QorWorkerError):
                for job in Job.objects.asking():
                    job.answer(go=True)
            held = Job.objects.filter(waits_for_jobs=True, callback_of__isnull=False, status="scheduled")
            # In this order: a callback is no longer held once its batch is not open.
            return not Batch.objects.open().exists() and not unfinished().exclude(pk__in=held.values("pk")).exists()

        try:
            wait_until(over, 180, every=0.5)
        except AssertionError:
            rows = list(
                unfinished().values("pk", "name", "status", "attempt", "run_after", "waits_for_jobs", "error")[:10]
            )
            self.violations.append(f"not over: {rows}, open batches {list(Batch.objects.open().values())[:5]}")

    # What happens.

    def enqueue(self) -> None:
        unfinished = Job.objects.waiting().filter(waits_for_jobs=False).count() + Job.objects.running().count()
        if unfinished > BACKLOG:
            return
        calls = [self.call() for _ in range(OF_BATCH)]
        at_end = mixture.at_end.bind(folder=str(self.spans))
        Batch.objects.enqueue("mixed", calls, then=at_end, otherwise=at_end)
        [first] = mixture.plain.enqueue_many([{"folder": str(self.spans), "seconds": 0.1}])
        mixture.plain.using(after=first).enqueue(folder=str(self.spans), seconds=0.1)
        mixture.short.enqueue_many(
            [{"folder": str(self.spans), "seconds": 0.001 if self.random.random() < 0.99 else 1.5} for _ in range(50)]
        )

    def call(self) -> object:
        kinds = ["once", "plain", "plain", "walk", "loop", "together", "together", "together", "short", "asks"]
        kinds += ["fails"] * (self.random.random() < 0.2)
        kind = self.random.choice(kinds)
        arguments: dict[str, object] = {"folder": str(self.spans)}
        if kind in ("once", "plain", "together"):
            arguments["seconds"] = self.random.choice((0.0, 0.05, 0.5, 1.5))
        elif kind == "short":
            arguments["seconds"] = 0.001
        return getattr(mixture, kind).using(priority=self.random.randrange(-10, 10)).bind(**arguments)

    def fault(self) -> None:
        kind = self.random.choice(FAULTS)
        self.done[kind] += 1
        close_old_connections()
        with suppress(ProcessLookupError, QorWorkerError, AssertionError):
            match kind:
                case "abort" | "pause" | "answer" | "retry":
                    self.verb(kind)
                case _:
                    self.harm(kind)
        for worker in list(self.workers):
            if worker.process.poll() is not None:
                if "Traceback" in worker.said:
                    self.violations.append(f"a worker ended: {worker.said[-3000:]}")
                worker.destroy()
                self.workers.remove(worker)
                self.start()

    def verb(self, kind: str) -> None:
        match kind:
            case "abort":
                for job in Job.objects.running().exclude(name=mixture.once.name).order_by("?")[:2]:
                    job.abort()
            case "pause":
                Job.objects.filter(
                    pk__in=list(Job.objects.can_be_paused().order_by("?").values_list("pk", flat=True)[:3])
                ).pause()
                if self.random.random() < 0.7:
                    Job.objects.paused().resume()
            case "answer":
                for job in Job.objects.asking().order_by("?")[:5]:
                    job.answer(go=self.random.random() < 0.5)
            case _:
                batch = Batch.objects.filter(outcome="failed").order_by("?").first()
                for job in batch.jobs.ended_badly().exclude(name=mixture.once.name) if batch else ():
                    job.retry()
                    self.retried[job.pk] += 1

    def harm(self, kind: str) -> None:
        worker = self.random.choice(self.workers)
        match kind:
            case "kill parent":
                worker.kill()
            case "kill fork server":
                os.kill(worker.fork_server(), signal.SIGKILL)
            case "kill child":
                if children := worker.children():
                    os.kill(self.random.choice(children), signal.SIGKILL)
            case "stop" | "stop twice":
                worker.signal(signal.SIGTERM)
                if kind == "stop twice":
                    time.sleep(0.3)
                    worker.signal(signal.SIGTERM)
                worker.exit_status(30)
            case "freeze":
                worker.signal(signal.SIGSTOP)
                time.sleep(self.random.uniform(0.5, 6.0))
                worker.signal(signal.SIGCONT)
            case "drain":
                row = worker.row()
                if row is not None:
                    row.drain()

    # What must be.

    def look(self) -> None:
        notes = Counter(Attempt.objects.values_list("job_id"))
        begins: Counter[int] = Counter()
        for path in self.spans.iterdir():
            lines = path.read_text().splitlines()
            pk = int(path.name)
            begins[pk] = sum(line.startswith("begin ") for line in lines)
            if overlaps := [line for line in lines if line.startswith("overlap ")]:
                self.violations.append(f"job {pk} ran twice at once: {overlaps} {lines}")
        notes = {row["job"]: row["number"] for row in Attempt.objects.values("job").annotate(number=Count("pk"))}
        for job in Job.objects.defer("arguments"):
            if begins[job.pk] > notes.get(job.pk, 0):
                self.violations.append(
                    f"job {job.pk} {job.name} has begun {begins[job.pk]} times, noted {notes.get(job.pk, 0)}"
                )
            if job.name == mixture.once.name and begins[job.pk] > 1:
                self.violations.append(f"job {job.pk} has begun {begins[job.pk]} times")
            if job.status == "done" and not begins[job.pk]:
                self.violations.append(f"job {job.pk} is done and never began")
        for row in (
            Attempt.objects.filter(counted=True).values("job", "number").annotate(count=Count("pk")).filter(count__gt=1)
        ):
            self.violations.append(f"an attempt was noted twice: {row}")
        self.look_at_ends()
        self.look_at_rows()
        self.look_at_batches()

    def look_at_ends(self) -> None:
        finished = ("done", "exception", "killed", "cancelled")
        ends: Counter[int] = Counter()
        retries: Counter[int] = Counter()
        for pk, before, after in self.transitions.all():
            ends[pk] += after in finished
            retries[pk] += before in finished
        for pk in Job.objects.finished().values_list("pk", flat=True):
            if ends[pk] != 1 + retries[pk]:
                self.violations.append(f"job {pk} ended {ends[pk]} times, retried {retries[pk]} times")
        for pk, number in retries.items():
            if number > self.retried[pk]:
                self.violations.append(
                    f"job {pk} was retried {number} times, and that was requested {self.retried[pk]} times"
                )

    def look_at_rows(self) -> None:
        found = Counter(Shop.objects.values_list("name", flat=True))
        self.violations += [f"row {name} was stored {number} times" for name, number in found.items() if number > 1]
        per_job = Counter(int(name.partition("-")[0]) for name in found)
        for pk in Job.objects.done().for_type(mixture.walk).values_list("pk", flat=True):
            if per_job[pk] != 30:
                self.violations.append(f"job {pk} is done with {per_job[pk]} rows of 30")

    def look_at_batches(self) -> None:
        for batch in Batch.objects.all():
            statuses = set(batch.jobs.values_list("status", flat=True))
            then, otherwise = (Job.objects.get(pk=pk) for pk in (batch.then_id, batch.otherwise_id))
            ends = then.status, otherwise.status
            retried = any(self.retried[pk] for pk in batch.jobs.values_list("pk", flat=True))
            is_done = statuses == {"done"}
            right = batch.outcome == ("done" if is_done else "failed") and (
                ends == ("done", "cancelled") or (retried and ends == ("done", "done"))
                if is_done
                else ends in (("scheduled", "done"), ("cancelled", "done"))
            )
            if "killed" in ends or "exception" in ends:
                continue  # an abort has hit it
            if not right:
                self.violations.append(f"batch {batch.pk} {batch.outcome} {statuses}: {ends}, retried {retried}")

    def figures(self) -> dict[str, object]:
        return {
            "faults": dict(self.done),
            "jobs": Job.objects.count(),
            "batches": dict(Counter(Batch.objects.values_list("outcome", flat=True))),
            "attempts": dict(Counter(Attempt.objects.values_list("outcome", flat=True))),
            "statuses": dict(Counter(Job.objects.values_list("status", flat=True))),
            "retries": sum(self.retried.values()),
            "violations": len(self.violations),
        }
