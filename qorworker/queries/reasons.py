"""Why a job has not started, by the rules that decide whether it does, and when it probably will. All processes.

``job.why_waiting()`` returns all reasons, the decisive one first. Without an obstacle a job waits for its turn.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.definitions import versions
from qorworker.models import job_verbs
from qorworker.models.approval import open_approval_of
from qorworker.models.audit import AuditEntry
from qorworker.models.batch import Batch, BatchOutcome
from qorworker.models.dependency import unresolved_parents_of
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.limits import held_by
from qorworker.models.pause import Pause, PauseKind
from qorworker.models.question import noted_question_of
from qorworker.models.worker import Worker
from qorworker.queries import counting
from qorworker.queries.catalogue import usual_durations
from qorworker.queues import ageing_of_queues, backend_of
from qorworker.status import FINISHED, WAITING, JobStatus
from qorworker.text.cleaning import visible
from qorworker.text.moments import date_and_clock, local

PARENTS = 20  # that a reason names
AHEAD = 1_000  # jobs before this one that an estimate takes into account
RUNNING = 500  # running jobs of the workers in question, likewise


class Why(StrEnum):
    PAUSED = "paused"  # until it is resumed
    BATCH = "batch"  # it starts once the jobs of a batch have ended
    ANSWER = "answer"  # to its question
    APPROVAL = "approval"  # it starts once somebody has approved it
    JOBS = "jobs"  # it starts after other jobs
    FAILED_JOBS = "failed jobs"  # of these some have failed, and it waits until they have been retried and are done
    TIME = "time"  # its time has not come
    QUEUE_PAUSED = "queue paused"
    TYPE_PAUSED = "job type paused"
    LIMIT = "limit"  # the limit of jobs that run at once is used up
    RATE = "rate"  # the limit of starts in a period is used up
    BACKEND = "backend"  # a backend other than workers has to start it, or is stalled
    NO_WORKER = "no worker"
    UNKNOWN_TYPE = "unknown job type"
    WORKERS_PAUSED = "workers paused"
    LINE = "line"  # it waits for its turn


NO_OBSTACLES = frozenset(  # each passes by itself
    {Why.ANSWER, Why.APPROVAL, Why.BATCH, Why.JOBS, Why.TIME, Why.LINE, Why.LIMIT, Why.RATE}
)


@dataclass(frozen=True)
class Reason:
    """One reason; ``str()`` returns all of it. Times are as the fields of models have them."""

    kind: Why
    text: str  # one sentence
    hint: str = ""  # what helps
    command: str = ""  # what helps, as a command
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    by: str = ""  # the name of the user who paused it
    comment: str = ""  # the reason that this user gave
    pause: Pause | None = None  # the row behind it
    jobs: tuple[int, ...] = ()  # the ids of the jobs that hold it
    batch: int | None = None  # the id of the batch after whose jobs it starts
    parents: tuple[int, ...] = ()  # the ids of the jobs after which it starts
    place: int | None = None  # in line; 1 is next
    starts_in: dt.timedelta | None = None  # an estimate
    is_expected: bool = False  # no action is needed

    @property
    def is_obstacle(self) -> bool:
        """Whether something keeps it from starting, apart from jobs that come first."""
        return self.kind not in NO_OBSTACLES and not self.is_expected

    def __str__(self) -> str:
        parts = [self.text]
        if self.since is not None:
            parts.append(_("Since %s.") % date_and_clock(local(self.since)))
        if self.until is not None:
            parts.append(_("Until %s.") % date_and_clock(local(self.until)))
        if self.by:
            parts.append(_("By %s.") % self.by)
        if self.jobs:
            parts.append(_("Running: %s.") % ", ".join(f"#{number}" for number in self.jobs))
        if self.parents:
            parts.append(", ".join(f"#{number}" for number in self.parents) + ".")
        parts += [part for part in (self.comment, self.hint, self.command) if part]
        return " ".join(parts)


def reasons_for(job: Job, visible: JobQuerySet | None = None) -> list[Reason]:
    """Return why *job* has not started; empty if it has started or was cancelled.

    :param visible: the only jobs on which the reasons may depend: their numbers, and which reasons there are.
    """
    if job.status not in WAITING:
        return []
    if job.is_paused or job.waits_for_jobs or job.is_asking or job.awaits_approval:
        paused = [_job_paused(job)] if job.is_paused else []
        asks = [_answer(job)] if job.is_asking else []
        asks += [_approval(job)] if job.awaits_approval else []
        if job.callback_of_id is not None and job.waits_for_jobs:
            return [*paused, *asks, *_batch(job)]
        return [*paused, *asks, *(_parents(job, visible) if job.waits_for_jobs else ())]
    if job.status == JobStatus.SCHEDULED and job.run_after > timezone.now():
        return [_time(job)]
    line = Line(job.queue_name, job.name, job if visible is None else None, job.version)
    reasons = [*line.obstacles(), *_held(job, visible), *_handed_over(job)]
    return reasons or [line.place_of(job) if visible is None else _in_line(job)]


def obstacles(queue_name: str, name: str) -> list[Reason]:
    """Return what would keep a job of type *name* in that queue from starting."""
    return [reason for reason in Line(queue_name, name).obstacles() if reason.is_obstacle]


def _job_paused(job: Job) -> Reason:
    entry = AuditEntry.objects.last_done(job.pk, "pause")
    by, comment = (entry.user_name, str(entry.details.get("reason", ""))) if entry is not None else ("", "")
    hint = _("It goes on when it is resumed.") if job.has_checkpoint else _("It starts when it is resumed.")
    return Reason(Why.PAUSED, _("It is paused."), hint, since=job.pause_requested_at, by=by, comment=comment)


def _batch(job: Job) -> Iterator[Reason]:
    """Yield for the end of which batch it waits: that of the one who enqueued both."""
    batch = Batch.objects.using(job_verbs.rows_of(job).db).filter(pk=job.callback_of_id or 0).first()
    if batch is None:
        return
    named = {"batch": visible(batch.title)}
    if batch.outcome == BatchOutcome.FAILED:
        text = _("It waits until all jobs of the batch “%(batch)s” are done, and some have failed.") % named
        yield Reason(Why.BATCH, text, _("It starts once they have been retried and are done."), batch=batch.pk)
    else:
        text = _("It waits until all jobs of the batch “%(batch)s” have ended.") % named
        yield Reason(Why.BATCH, text, batch=batch.pk)


def _answer(job: Job) -> Reason:
    """Return for which answer it waits. What it asks is not part of it: not every reader may see that."""
    question = noted_question_of(job)
    since, until = (question.asked_at, question.expires_at) if question is not None else (None, None)
    is_call = question is not None and question.is_callback
    text = _("It waits for a call from outside.") if is_call else _("It waits for an answer.")
    return Reason(Why.ANSWER, text, since=since, until=until)


def _approval(job: Job) -> Reason:
    """Return whose approval it waits for."""
    approval = open_approval_of(job)
    if approval is None:
        return Reason(Why.APPROVAL, _("It waits for approval."))
    text = _("It waits for approval by a user with the permission “%s”.") % approval.permission
    return Reason(Why.APPROVAL, text, since=approval.asked_at, until=approval.expires_at)


def _parents(job: Job, visible: JobQuerySet | None) -> Iterator[Reason]:
    """Yield which jobs it waits for, of those that the reader may see."""
    rows = unresolved_parents_of(job, job_verbs.rows_of(job) if visible is None else visible)
    parents = list(rows.values_list("pk", "status")[:PARENTS])
    unfinished = tuple(pk for pk, status in parents if status not in FINISHED)
    failed = tuple(pk for pk, status in parents if status in FINISHED - {JobStatus.DONE})
    if failed:
        text = _("It waits for jobs that have failed.")
        hint = _("It starts once they have been retried and are done.")
        yield Reason(Why.FAILED_JOBS, text, hint, parents=failed)
    if unfinished or not failed:
        yield Reason(Why.JOBS, _("It waits for other jobs to end."), parents=unfinished)


def _time(job: Job) -> Reason:
    text = _("It failed and waits for its next attempt.") if job.will_retry else _("It waits for its time.")
    return Reason(Why.TIME, text, until=job.run_after)


def _in_line(job: Job) -> Reason:
    """Return that it waits for its turn, for a reader who may not know how many jobs are before it."""
    return Reason(Why.LINE, _("It waits for its turn in the queue “%(queue)s”.") % {"queue": job.queue_name})


def _held(job: Job, visible: JobQuerySet | None) -> Iterator[Reason]:
    """Yield the limit that it waits for; with *visible* only if these jobs alone use it up."""
    hold = held_by(job)
    if hold is None:
        return
    running = tuple(running.pk for running in hold.running)
    if visible is not None:
        seen = set(visible.filter(pk__in=running).values_list("pk", flat=True))
        running = tuple(pk for pk in running if pk in seen)
        if hold.max_concurrency is None or len(running) < hold.max_concurrency:
            return
    if hold.rate is not None:
        text = _("No more than %(rate)s of its kind may start.") % {"rate": hold.rate}
        until = hold.until.replace(microsecond=0) if hold.until is not None else None
        yield Reason(Why.RATE, text, until=until)
        return
    text = ngettext(
        "No more than %(number)d of its kind may run at the same time.",
        "No more than %(number)d of its kind may run at the same time.",
        hold.max_concurrency or 0,
    ) % {"number": hold.max_concurrency or 0}
    yield Reason(Why.LIMIT, text, jobs=running)


def _handed_over(job: Job) -> Iterator[Reason]:
    """Yield what a backend that is not a worker still has to do for a job that is ready."""
    backend = backend_of(job.queue_name)
    if backend.is_served_by_workers:
        return
    if backend.runs_in_caller:
        text = _("It runs in the process that enqueued it, as soon as that has committed its transaction.")
        hint = _("If that process is gone, a worker runs it after a minute.")
        yield Reason(Why.BACKEND, text, hint, is_expected=True)
        return
    name = type(backend).__name__.removesuffix("Backend")
    if job.handed_over_at is None:
        text = _("%(backend)s has not been notified of it yet.") % {"backend": name}
        yield Reason(Why.BACKEND, text, is_expected=True)
    else:
        text = _("It was handed over to %(backend)s and starts when one of its workers takes it.") % {"backend": name}
        yield Reason(Why.BACKEND, text, since=job.handed_over_at, is_expected=True)


class Line:
    """The jobs of one type that wait in one queue: what keeps them from starting, and which workers can take them.

    All counts come from one statement. Pauses are read only if anything is paused.
    """

    def __init__(self, queue_name: str, name: str, job: Job | None = None, version: int = versions.FIRST) -> None:
        self.queue_name, self.name, self.job, self.version = queue_name, name, job, version

    @property
    def jobs(self) -> JobQuerySet:
        return Job.objects.all()

    @cached_property
    def _counts(self) -> dict[str, int]:
        counted: dict[str, Any] = {"paused": Pause.objects.in_force()}
        if self.job is not None:
            better, older = self._before
            counted |= {"better": better, "older": older, "busy": self._running}
        return counting.count_each(counted)

    @cached_property
    def _before(self) -> tuple[JobQuerySet, JobQuerySet]:
        """The jobs of the queue that are claimed before this one: two bounded walks of the claim's index.

        Only jobs with the same limits count: others wait in lines of their own. Jobs whose code no living worker has
        are passed over, provided that a worker has the code of this one.
        """
        job = self.job
        assert job is not None
        types = Pause.objects.in_force().filter(kind=PauseKind.JOB_TYPE).values("name")
        queue = self.jobs.queued().filter(queue_name=self.queue_name, limit_key=job.limit_key).exclude(name__in=types)
        if self.takers:
            queue = queue.filter(name__in={name for worker in self.workers for name in worker.job_types})
        return queue.filter(priority__gt=job.priority), queue.filter(priority=job.priority, pk__lt=job.pk)

    @property
    def _running(self) -> JobQuerySet:
        """The running jobs of the workers that could take it."""
        return self.jobs.running().filter(worker__in=[worker.pk for worker in self.takers])

    @cached_property
    def pauses(self) -> list[Pause]:
        """The pauses of this queue and this type."""
        of_job = ((PauseKind.QUEUE, self.queue_name), (PauseKind.JOB_TYPE, self.name))
        every = Pause.objects.for_people() if self._counts["paused"] else []
        return [pause for pause in every if (pause.kind, pause.name) in of_job]

    @cached_property
    def workers(self) -> list[Worker]:
        """The living workers that serve the queue."""
        alive = Worker.objects.alive().only("queues", "job_types", "versions", "slots", "request", "heeded")
        return [worker for worker in alive if self.queue_name in worker.queues]

    @cached_property
    def takers(self) -> list[Worker]:
        """Those of them that can take a job of the type now."""
        return [worker for worker in self.workers if self._has_code(worker) and worker.takes_jobs]

    def _has_code(self, worker: Worker) -> bool:
        is_known = self.version == versions.FIRST or versions.label(self.name, self.version) in worker.versions
        return self.name in worker.job_types and is_known

    def obstacles(self) -> list[Reason]:
        """Return what keeps a job that is ready from starting; empty if it only has to wait for its turn."""
        return [*map(_paused, self.pauses), *self._backend(), *self._worker()]

    def _backend(self) -> Iterator[Reason]:
        if reason := backend_of(self.queue_name).stalled_reason():
            yield Reason(Why.BACKEND, reason)

    def _worker(self) -> Iterator[Reason]:
        backend, queue = backend_of(self.queue_name), {"queue": self.queue_name}
        if not backend.is_served_by_workers or self.takers:
            return
        if backend.may_be_absent and not self.workers:
            if not backend.stalled_reason():
                yield Reason(Why.BACKEND, _("It starts at the next cron run."), is_expected=True)
        elif not self.workers:
            text = _("No worker is running that serves the queue “%(queue)s”.") % queue
            yield Reason(Why.NO_WORKER, text, _("The job waits until one starts:"), "manage.py runworker")
        elif not any(map(self._has_code, self.workers)):
            text = _("No worker that serves the queue “%(queue)s” has the code of this job.") % queue
            hint = _(
                "It waits until one starts that has its code. Workers that were started before the code was installed"
                " have to be restarted."
            )
            yield Reason(Why.UNKNOWN_TYPE, text, hint)
        else:
            text = _("All workers that serve the queue “%(queue)s” are paused, or about to end.") % queue
            yield Reason(Why.WORKERS_PAUSED, text, _("It waits until one is resumed or started."))

    # Its turn

    @property
    def ahead(self) -> int:
        """How many jobs that can start are claimed before this one, up to the cap for each kind."""
        return self._counts["better"] + self._counts["older"]

    def place_of(self, job: Job) -> Reason:
        """Return the place of *job* among those that can start, and when its turn probably comes."""
        number, rise = self.ahead, _rise(job)
        named = {"number": number, "queue": self.queue_name}
        if number >= counting.CAP:
            named["number"] = formats.number_format(counting.CAP, use_l10n=True, force_grouping=True)
            return Reason(Why.LINE, _("%(number)s or more jobs are before it in the queue “%(queue)s”.") % named, rise)
        text = _("It is the next one in the queue “%(queue)s”.")
        if number:
            text = ngettext(
                "%(number)d job is before it in the queue “%(queue)s”.",
                "%(number)d jobs are before it in the queue “%(queue)s”.",
                number,
            )
        return Reason(Why.LINE, text % named, rise, place=number + 1, starts_in=self._starts_in(number))

    def _starts_in(self, number: int) -> dt.timedelta | None:
        """Estimate by the usual durations of the running jobs and of those before it; None if one of them has none."""
        slots = sum(worker.slots for worker in self.takers)
        if number < slots - self._counts["busy"]:
            return dt.timedelta()
        if number > AHEAD:
            return None
        running = list(self._running.values_list("name", "last_attempted_at")[:RUNNING])
        ahead = [
            name
            for rows, count in zip(self._before, (self._counts["better"], self._counts["older"]), strict=True)
            for name in (rows.values_list("name", flat=True)[:count] if count else ())
        ]
        usual = usual_durations(self.jobs, {name for name, _started in running} | set(ahead))
        if any(name not in usual for name in (*ahead, *(name for name, _started in running))):
            return None
        now, nothing = timezone.now(), dt.timedelta()
        left = (max(usual[name] - (now - started), nothing) for name, started in running if started is not None)
        return (sum(left, nothing) + sum((usual[name] for name in ahead), nothing)) / slots


def _rise(job: Job) -> str:
    """Return what waiting does to the priority of *job*; empty if it does nothing."""
    if not (rate := ageing_of_queues().get(job.queue_name)):
        return ""
    if job.base_priority is None:
        return _("Its priority rises by %(points)s each minute that it waits.") % {"points": formats.localize(rate)}
    return _("Its priority has risen from %(base)s to %(now)s, because it has waited.") % {
        "base": job.base_priority, "now": job.priority
    }  # fmt: skip


def _paused(pause: Pause) -> Reason:
    texts = {PauseKind.QUEUE: _("The queue “%(name)s” is paused."), PauseKind.JOB_TYPE: _("“%(name)s” is paused.")}
    return Reason(
        Why.QUEUE_PAUSED if pause.kind == PauseKind.QUEUE else Why.TYPE_PAUSED,
        texts[PauseKind(pause.kind)] % {"name": pause.title},
        since=pause.paused_at,
        until=pause.until,
        by=pause.paused_by.get_username() if pause.paused_by is not None else "",
        comment=pause.reason,
        pause=pause,
    )
