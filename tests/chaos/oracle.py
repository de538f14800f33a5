"""What must be after a trial, and the figures: from what jobs wrote to files, people noted, and a trigger saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from django.db.models import Count

from qorworker import JobType
from qorworker.models import Attempt, Job, JobQuerySet, Message
from qorworker.models.job_messages import SENDER
from qorworker.status import RETRIED
from tests.chaos.mix import requests
from tests.support import Transitions
from tests.testapp import mixture
from tests.testapp.models import Shop

KEEPS_A_LEDGER = {job_type.name for job_type in vars(mixture).values() if isinstance(job_type, JobType)}
ZEROS = (
    "lost", "dup_start", "dup_done", "overlap", "orphans", "limbo", "log_gap", "innocents", "zombies", "early",
    "untold",
)  # fmt: skip
EARLY = 0.05  # seconds: the clocks of processes and of a server are not read at the same moment
FINISHED = ("done", "exception", "killed", "cancelled")


@dataclass
class Figures:
    """Those of one trial. Each that is in ``ZEROS`` has to be 0."""

    lost: int = 0  # accepted jobs that are not in the database any more, or never ended
    dup_start: int = 0  # starts beyond those that a job may have
    dup_done: int = 0  # ends beyond those that a job may have, and effects in the database that came twice
    overlap: int = 0  # attempts that began while an earlier one of the job was alive
    orphans: int = 0  # processes that outlived their worker
    limbo: int = 0  # jobs that neither ran nor said why they waited
    log_gap: int = 0  # lines that are missing from the log of a job whose worker lived
    innocents: int = 0  # processes of others that are gone
    zombies: int = 0  # children of a worker that nobody has reaped
    early: int = 0  # starts before their time
    untold: int = 0  # failures of which the receiver of messages has not heard, and messages beyond one for each
    stale: int = 0  # attempts that came to their end after another had begun, as one may that was frozen
    jobs: int = 0
    starts: int = 0
    faults: int = 0
    messages: int = 0  # that were received
    recovery: list[float] = field(default_factory=list)  # seconds until the jobs of what died were settled

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def wrong(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in ZEROS if getattr(self, name)}

    def as_json(self) -> dict[str, object]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "recovery": quantiles(self.recovery)}


def quantiles(seconds: Iterable[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    if not ordered:
        return {}
    place = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 2) for name, share in place.items()}


def unfinished() -> JobQuerySet:
    """Jobs that have not ended, without those that wait for the good end of a batch that had none."""
    ended = Job.objects.finished().values("pk")
    held = Job.objects.filter(waits_for_jobs=True, callback_of__outcome="failed", status="scheduled").values("pk")
    return Job.objects.exclude(pk__in=ended).exclude(pk__in=held)


def untold(folder: Path, payloads: list[dict[str, Any]]) -> set[tuple[int, int]]:
    """The failures of which no message was received: jobs with the numbers of their attempts.

    A job that was cancelled, aborted or ended otherwise behind its last failure is reported as that, or not at all.
    Those that people retried are left out: they may have been aborted before.
    """
    retried = requests(folder).get("retry", ())
    told = {(payload["job"]["id"], payload["job"]["attempt"]) for payload in payloads}
    rows = Attempt.objects.filter(outcome__in=RETRIED).exclude(job__name=SENDER)
    failures = rows.values_list("job", "number", "job__attempt", "job__status")
    wanted = {(pk, at) for pk, at, last, status in failures if at != last or status == "exception"}
    return {(pk, at) for pk, at in wanted - told if pk not in retried}


def stale(lines: list[str]) -> int:
    """How many of the attempts in a ledger ended after a later one had begun."""
    begins = [line[6:] for line in lines if line.startswith("begin ")]
    found = 0
    for earlier, later in pairwise(begins):
        end = f"end {earlier}"
        found += end in lines and lines.index(end) > lines.index(f"begin {later}")
    return found


class Oracle:
    """Compares all there is. Everything must have ended before."""

    def __init__(
        self, folder: Path, transitions: Transitions, payloads: Iterable[dict[str, Any]] | None = None
    ) -> None:
        """:param payloads: what a receiver of messages has got; None: there is none."""
        self.folder, self.transitions = folder, transitions
        self.payloads = None if payloads is None else list(payloads)
        self.figures = Figures()
        self.violations: list[str] = []

    def count(self, figure: str, violation: str, number: int = 1) -> None:
        setattr(self.figures, figure, getattr(self.figures, figure) + number)
        self.violations.append(f"{figure}: {violation}")

    def look(self) -> None:
        self.requests = requests(self.folder)
        self.jobs = {job.pk: job for job in Job.objects.defer("arguments")}
        self.figures.jobs += len(self.jobs)
        self.look_at_accepted()
        self.look_at_starts()
        self.look_at_times()
        self.look_at_ends()
        self.look_at_effects()
        self.look_at_logs()
        if self.payloads is not None:
            self.look_at_messages(self.payloads)

    def look_at_accepted(self) -> None:
        for pk in self.requests.get("accepted", ()):
            if pk not in self.jobs:
                self.count("lost", f"job {pk} was accepted and is not there")

    def look_at_starts(self) -> None:
        notes = dict(Attempt.objects.values_list("job").annotate(number=Count("pk")))
        allowed = self.requests.get("retry", Counter())
        spans = dict(self.spans())
        for pk, job in self.jobs.items():
            if job.status == "done" and job.name in KEEPS_A_LEDGER and pk not in spans:
                self.count("lost", f"job {pk} {job.name} is done and never began")
        for pk, lines in spans.items():
            job, begins = self.jobs.get(pk), sum(line.startswith("begin ") for line in lines)
            self.figures.starts += begins
            if overlaps := [line for line in lines if line.startswith("overlap ")]:
                self.count("overlap", f"job {pk} ran twice at once: {lines}", len(overlaps))
            self.figures.stale += stale(lines)
            if job is None:
                continue  # it is told by look_at_accepted(), or was enqueued without an answer and rolled back
            if begins > notes.get(pk, 0):
                self.count("dup_start", f"job {pk} {job.name} began {begins} times, noted {notes.get(pk, 0)}")
            if job.max_attempts == 1 and begins > 1 + allowed[pk]:
                self.count("dup_start", f"job {pk} {job.name} began {begins} times, retried {allowed[pk]} times")

    def look_at_times(self) -> None:
        """No job began before its time, unless people told it to."""
        path = self.folder / "due"
        hurried = {*self.requests.get("run now", ()), *self.requests.get("resume", ())}
        due = dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {}
        for pk, lines in self.spans():
            if str(pk) in due and pk not in hurried:
                begun = float(lines[0].split()[4])
                if begun < float(due[str(pk)]) - EARLY:
                    self.count("early", f"job {pk} began {float(due[str(pk)]) - begun:.2f} s before its time")

    def spans(self) -> Iterable[tuple[int, list[str]]]:
        for path in (self.folder / "spans").iterdir():
            yield int(path.name), path.read_text().splitlines()

    def look_at_ends(self) -> None:
        ends: Counter[int] = Counter()
        again: Counter[int] = Counter()
        for pk, before, after in self.transitions.all():
            ends[pk] += after in FINISHED
            again[pk] += before in FINISHED
        allowed = self.requests.get("retry", Counter())
        for job in unfinished():
            why = [str(reason) for reason in job.why_waiting()]
            self.count("limbo", f"job {job.pk} {job.name} is {job.status}, attempt {job.attempt}, {job.error!r}, {why}")
        for pk, job in self.jobs.items():
            if job.status in FINISHED and ends[pk] != 1 + again[pk]:
                self.count("dup_done", f"job {pk} {job.name} ended {ends[pk]} times, retried {again[pk]} times")
            if again[pk] > allowed[pk]:
                self.count("dup_done", f"job {pk} went on {again[pk]} times, retried {allowed[pk]} times")
        noted_twice = Attempt.objects.filter(counted=True).values("job", "number").annotate(count=Count("pk"))
        for row in noted_twice.filter(count__gt=1):
            self.count("dup_done", f"an attempt was noted twice: {row}")

    def look_at_effects(self) -> None:
        found = Counter(Shop.objects.values_list("name", flat=True))
        for name, number in found.items():
            if number > 1:
                self.count("dup_done", f"row {name} was stored {number} times")
        per_job = Counter(int(name.partition("-")[0]) for name in found)
        for pk, job in self.jobs.items():
            if job.name == mixture.walk.name and job.status == "done" and per_job[pk] != mixture.WALK:
                self.count("lost", f"job {pk} is done with {per_job[pk]} rows of {mixture.WALK}")

    def look_at_logs(self) -> None:
        """Lines may be missing only where a worker died: those of its last moment."""
        loops = Job.objects.done().for_type(mixture.loop)
        loops = loops.exclude(pk__in=Attempt.objects.filter(outcome="lost").values("job"))
        wanted = {f"item {number}" for number in range(mixture.LOOP)}
        for job in loops:
            if missing := wanted - set(job.log.values_list("text", flat=True)):
                self.count("log_gap", f"job {job.pk} lacks {sorted(missing)}", len(missing))

    def look_at_messages(self, payloads: list[dict[str, Any]]) -> None:
        """A message may be sent twice, with the same id. Each failure has one id."""
        self.figures.messages += len(payloads)
        for pk, number in untold(self.folder, payloads):
            rows = Attempt.objects.filter(job=pk).values_list("number", "outcome", "counted", "finished_at")
            stored = list(Message.objects.filter(job=pk).values_list("event", "state", "error"))
            self.count("untold", f"attempt {number} of job {pk} failed, no message came: {list(rows)}, {stored}")
        ids: dict[tuple[object, ...], set[str]] = {}
        for payload in payloads:
            job = payload["job"]
            ids.setdefault((job["id"], job["attempt"], payload["at"]), set()).add(payload["id"])
        for failure, found in ids.items():
            if len(found) > 1:
                self.count("untold", f"{failure} was reported by {len(found)} messages", len(found) - 1)
