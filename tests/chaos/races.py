"""Aborts jobs that report progress without pause, and jobs that are about to end: each has one end, none is lost."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from qorworker.exceptions import InvalidTransition
from qorworker.models import Attempt, Job
from tests.chaos.database import new_database
from tests.support import Transitions, recorded_transitions, running_worker, wait_until
from tests.testapp import jobs

SLOTS, TOGETHER = 4, 100  # processes of the worker, jobs that are enqueued at a time
LONGEST = 0.2  # seconds that a job takes which ends by itself


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--races", type=int, default=10_000, help="of each kind (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    with new_database(), recorded_transitions() as transitions, tempfile.TemporaryDirectory() as folder:
        trial = Trial(random.Random(options.seed), transitions)
        with running_worker("--verbosity", "0", folder=Path(folder), processes=SLOTS, ABORT_GRACE=1.0):
            for kind in ("progress", "end"):
                trial.run(kind, options.races)
        trial.look()
    for violation in trial.violations[:50]:
        print(f"VIOLATION {violation}")
    told = ", ".join(f"{number} {what}" for what, number in sorted(trial.counts.items()))
    print(f"{told}: {len(trial.violations)} faults in {time.monotonic() - begun:.0f} s")
    return int(bool(trial.violations))


class Trial:
    def __init__(self, chance: random.Random, transitions: Transitions) -> None:
        self.chance, self.transitions = chance, transitions
        self.kinds: dict[int, str] = {}
        self.accepted: dict[int, bool] = {}  # by job: whether it was running when it was aborted
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []

    def run(self, kind: str, races: int) -> None:
        for first in range(0, races, TOGETHER):
            found = self.enqueue(kind, min(TOGETHER, races - first))
            self.kinds |= dict.fromkeys((job.pk for job in found), kind)
            rows = Job.objects.filter(pk__in=[job.pk for job in found])
            left = rows.filter(status__in=("new", "scheduled", "running"))
            deadline = time.monotonic() + 120
            while left.exists():
                if time.monotonic() > deadline:
                    self.violations.append(f"after 120 s these have not ended: {list(left)}")
                    return
                for job in rows.running().exclude(pk__in=self.accepted):
                    self.abort(job)
            if first % 2000 == 0:
                print(f"{kind}: {first + len(found)}", flush=True)

    def enqueue(self, kind: str, number: int) -> list[Job]:
        if kind == "progress":
            return jobs.progress_until.enqueue_many([{"gate": "/nowhere"} for _ in range(number)])
        return jobs.nap.enqueue_many([{"seconds": self.chance.uniform(0.0, LONGEST)} for _ in range(number)])

    def abort(self, job: Job) -> None:
        time.sleep(self.chance.uniform(0.0, LONGEST / 20))
        try:
            job.abort()
        except InvalidTransition:
            self.accepted[job.pk] = False
        else:
            self.accepted[job.pk] = True

    def look(self) -> None:
        wait_until(lambda: not Job.objects.running().exists(), 60)
        ends, attempts = self.transitions.ends(), Counter(Attempt.objects.values_list("job", flat=True))
        for job in Job.objects.filter(pk__in=self.kinds):
            kind, accepted = self.kinds[job.pk], self.accepted.get(job.pk)
            self.counts[f"{kind}: {'aborted' if job.status == 'killed' else job.status}"] += 1
            allowed = {"killed"} if kind == "progress" else {"killed", "done"} if accepted else {"done"}
            if job.status not in allowed or (accepted and job.abort_requested_at is None):
                self.violations.append(f"job {job.pk} ({kind}) is {job.status}; its abort was accepted: {accepted}")
            if ends[job.pk] != 1 or attempts[job.pk] != job.attempt or job.attempt > 1:  # 0: it had not started
                self.violations.append(f"job {job.pk} ended {ends[job.pk]} times, {attempts[job.pk]} attempts")
