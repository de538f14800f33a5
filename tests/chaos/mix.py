"""What people do in a trial: they enqueue jobs of every kind, and use every verb."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model

from qorworker import Every, Schedule
from qorworker.exceptions import QorWorkerError
from qorworker.models import Batch, Job
from qorworker.models.job_messages import SENDER
from tests.testapp import mixture

ON_CELERY = ("once", "plain", "walk", "loop", "asks", "approved", "fails")  # the others share a process
KINDS = ("once", "plain", "plain", "walk", "loop", "together", "together", "short", "asks", "approved", "fails")
LEFT_ALONE = 100  # the priority of jobs that trials wait for themselves
SECONDS = (0.0, 0.05, 0.3, 1.0)
VERBS = ("abort", "pause", "resume", "answer", "approve", "retry", "cancel", "run now", "rerun", "run schedule")


class People:
    """Enqueues and uses verbs, and keeps a list outside the database of what was accepted and asked for."""

    def __init__(
        self, chance: random.Random, folder: Path, kinds: tuple[str, ...] = KINDS, *, celery: bool = False
    ) -> None:
        self.random, self.folder, self.kinds, self.celery = chance, folder, kinds, celery
        self.spans = str(folder / "spans")

    def note(self, word: str, *jobs: Job) -> None:
        with (self.folder / "accepted").open("a") as file:
            file.writelines(f"{word} {job.pk}\n" for job in jobs)

    # Enqueueing.

    def enqueue(self, size: int = 5) -> None:
        """Enqueue in each of the ways there are: one, many, a batch with callbacks, a chain, for later."""
        match self.random.choice(("one", "one", "many", "batch", "chain", "later")):
            case "one":
                call = self.call()
                self.note("accepted", call.job_type.using(**call.options).enqueue(**call.arguments))
            case "many":
                again = [{"folder": self.spans, "seconds": 0.01} for _ in range(size)]
                self.note("accepted", *mixture.plain.enqueue_many(again))
            case "batch":
                self.batch([self.call().bound() for _ in range(size)])
            case "chain":
                [first] = mixture.plain.enqueue_many([{"folder": self.spans, "seconds": 0.05}])
                self.note("accepted", first)
                self.note("accepted", mixture.plain.using(after=first).enqueue(folder=self.spans, seconds=0.05))
            case _:
                self.later(self.random.uniform(0.2, 2.0))

    def later(self, seconds: float) -> None:
        due = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
        job = mixture.plain.using(run_after=timedelta(seconds=seconds)).enqueue(folder=self.spans, seconds=0.0)
        self.note("accepted", job)
        with (self.folder / "due").open("a") as file:
            file.write(f"{job.pk} {due}\n")

    def batch(self, calls: list[Any]) -> Batch:
        at_end = mixture.at_end.bind(folder=self.spans)
        batch: Batch = Batch.objects.enqueue("mixed", calls, then=at_end, otherwise=at_end)
        self.note("accepted", *batch.jobs.all())
        return batch

    def call(self) -> Call:
        kind = self.random.choice(self.kinds)
        if kind == "fails" or (kind == "plain" and self.random.random() < 0.1):
            kind = "fails"
        arguments: dict[str, Any] = {"folder": self.spans}
        if kind in ("once", "plain", "together"):
            arguments["seconds"] = self.random.choice(SECONDS)
        elif kind == "short":
            arguments["seconds"] = 0.001
        options: dict[str, Any] = {"priority": self.random.randrange(-10, 10)}
        if self.celery and kind in ON_CELERY and self.random.random() < 0.7:
            options = {"queue_name": "celery"}  # which knows no priorities
        return Call(getattr(mixture, kind), options, arguments)

    def schedule(self) -> None:
        """Have a schedule that fires each second."""
        Schedule.objects.create_for(mixture.ticks, Every(seconds=1), {"folder": self.spans}, name="ticks")

    # Verbs.

    def use_a_verb(self) -> None:
        verb = self.random.choice(VERBS)
        with suppress(QorWorkerError):  # somebody else came first
            for job in self.chosen(verb):
                # Noted before: it may take effect although this process dies, and then counts as asked for.
                self.note(verb, job)
                DOINGS[verb](job)

    def chosen(self, verb: str) -> Iterator[Job]:
        """Some jobs for which a verb is meant."""
        rows = {
            "abort": lambda: Job.objects.running().exclude(name=mixture.once.name),
            "pause": Job.objects.can_be_paused,
            "resume": Job.objects.paused,
            "answer": Job.objects.asking,
            "approve": Job.objects.awaiting_approval,
            "retry": lambda: Job.objects.ended_badly().exclude(name=mixture.once.name),
            "cancel": lambda: Job.objects.waiting().filter(batch=None),
            "run now": Job.objects.scheduled,
            "rerun": Job.objects.done,
            "run schedule": Job.objects.none,
        }
        if verb == "run schedule":
            for schedule in Schedule.objects.filter(name="ticks"):
                self.note("accepted", schedule.run_now())
        yield from (
            rows[verb]().exclude(priority=LEFT_ALONE).exclude(name=SENDER).order_by("?")[: self.random.randint(1, 4)]
        )


class Call:
    def __init__(self, job_type: Any, options: dict[str, Any], arguments: dict[str, Any]) -> None:
        self.job_type, self.options, self.arguments = job_type, options, arguments

    def bound(self) -> Any:
        return self.job_type.using(**self.options).bind(**self.arguments)


def decider() -> Any:
    user, _ = get_user_model().objects.get_or_create(username="ben", defaults={"is_superuser": True, "is_staff": True})
    return user


DOINGS: dict[str, Callable[[Job], object]] = {
    "abort": Job.abort,
    "pause": Job.pause,
    "resume": Job.resume,
    "answer": lambda job: job.answer(go=True),
    "approve": lambda job: job.approve(by=decider()),
    "retry": Job.retry,
    "cancel": Job.cancel,
    "run now": Job.run_now,
    "rerun": Job.rerun,
}


def requests(folder: Path) -> dict[str, Counter[int]]:
    """What was noted, by word and job."""
    found: dict[str, Counter[int]] = {}
    path = folder / "accepted"
    for line in path.read_text().splitlines() if path.exists() else ():
        word, _, pk = line.rpartition(" ")
        found.setdefault(word, Counter())[int(pk)] += 1
    return found
