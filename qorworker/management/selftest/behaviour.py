"""Checks of what workers do, with real ones: they wake up, share, abort, and take over from each other. Command."""

from __future__ import annotations

import selectors
import statistics
import time
from collections import Counter

from qorworker.conf import settings
from qorworker.database.call_guard import CallGuard
from qorworker.management.selftest.trial import Trial, own_workers
from qorworker.management.selftest.verdicts import Check, State, Verdict
from qorworker.models import Attempt, Job, Origin
from qorworker.status import JobStatus
from qorworker.system import processes
from qorworker.system.processes import monotonic
from qorworker.text.documentation import see
from qorworker.worker.parent.wakeup import ListenWakeup, wakeup_for

WORKERS, PROCESSES = 2, 2
STARTING = 30.0  # seconds for workers, and for a job, to start
LIMIT = 30.0  # seconds for what should happen at once
MANY = 200  # jobs for which the workers compete
SAMPLES = 5
IDLE = 0.3  # seconds after which a worker without work is idle
SLOW = 1.0  # seconds, beyond the longest pause between two polls, after which a job starts too late
ARRIVAL = 5.0  # seconds for a notification
TREE = 3  # processes of a job that is held
REPORT = "Report this with the versions of database and driver: it must never happen."
ROOM = f"Give workers a free processor. {see('howto/databases.md#what-a-worker-needs-of-its-database')}"


def wake_ups(trial: Trial) -> Verdict:
    trial.start_workers(WORKERS, STARTING)
    _run(trial, WORKERS * PROCESSES, STARTING)  # so that all of them are ready
    if (is_notified := _is_notified(trial)) is False:
        return Verdict("A notification of the database did not arrive.", State.FAILED)
    waits = []
    for _ in range(SAMPLES):
        time.sleep(IDLE)
        waits.append(_wait_of_one(trial))
    usual = statistics.median(waits)
    figures = {"seconds": round(usual, 4), "notified": bool(is_notified)}
    if usual > SLOW + float(settings.POLL_INTERVAL):
        text = f"An idle worker started a job only {usual:.1f} seconds after it was enqueued."
        return Verdict(text, State.FAILED, figures=figures)
    how = "by a notification" if is_notified else "by looking"
    return Verdict(f"An idle worker starts a job {usual * 1000:.0f} ms after it was enqueued, {how}.", figures=figures)


def _wait_of_one(trial: Trial) -> float:
    """Return how many seconds after it was enqueued one job starts."""
    begun = monotonic()
    [job] = trial.enqueue()
    note = trial.wait_for(lambda: trial.note_of(job), STARTING, "A job had not started")
    return note.at - begun


def _is_notified(trial: Trial) -> bool | None:
    """Return whether a notification of a new job arrives here. None where none is sent."""
    with selectors.DefaultSelector() as selector:
        wakeup = wakeup_for(trial.using, selector, CallGuard())
        try:
            if not isinstance(wakeup, ListenWakeup):
                return None
            wakeup.look(monotonic())
            if wakeup.connection is None:
                return None  # a pooler; another check reports it
            wakeup.rung, end = False, monotonic() + ARRIVAL
            _run(trial, 1, STARTING)
            while not wakeup.rung and (left := end - monotonic()) > 0:
                for key, _ in selector.select(left):
                    key.data(monotonic())
            return wakeup.rung
        finally:
            wakeup.close()


def claims(trial: Trial) -> Verdict:
    trial.start_workers(WORKERS, STARTING)
    begun = monotonic()
    ids = {job.pk for job in _run(trial, MANY, 60)}
    seconds = monotonic() - begun
    starts = Counter(note.job_id for note in trial.notes() if note.job_id in ids)
    attempts = Counter(Attempt.objects.using(trial.using).filter(job__in=ids).values_list("job", flat=True))
    twice = sum(max(starts[pk], attempts[pk]) > 1 for pk in ids)
    if twice:
        return Verdict(f"Of {MANY} jobs {twice} were started more than once.", State.FAILED, REPORT)
    shares = Counter(trial.jobs().filter(pk__in=ids).values_list("worker", flat=True))
    text = f"{len(shares)} workers started {MANY} jobs, each of them once."
    if len(shares) < WORKERS:
        return Verdict(f"One worker alone started {MANY} jobs, each of them once.", State.WARNING, "Run it again.")
    return Verdict(text, figures={"jobs": MANY, "seconds": round(seconds, 3)})


def abort(trial: Trial) -> Verdict:
    trial.start_workers(WORKERS, STARTING)
    job, family = _held(trial)
    begun = monotonic()
    job.abort(reason="self-test", origin=Origin.COMMAND)
    limit = float(settings.ABORT_GRACE) + 20
    trial.wait_for(lambda: _status(job) in (JobStatus.KILLED, JobStatus.DONE), limit, "An abort was not carried out")
    seconds = monotonic() - begun
    if left := [pid for pid, since in family.items() if not processes.provably_gone(pid, since)]:
        return Verdict(f"Of {len(family)} processes of an aborted job {len(left)} still run.", State.FAILED)
    text = f"An abort ended all {len(family)} processes of a job in {seconds:.1f} seconds."
    return Verdict(text, figures={"seconds": round(seconds, 3), "processes": len(family)})


def recovery(trial: Trial) -> Verdict:
    trial.start_workers(WORKERS, STARTING)
    job, family = _held(trial)
    row = next(worker for worker in own_workers(trial.using, trial.queue) if worker.pk == job.worker_id)
    own = next(worker for worker in trial.workers if worker.process.pid == row.process_id)
    trial.workers.remove(own)
    own.kill()
    begun, limit = monotonic(), float(settings.LEASE) + float(settings.OBSERVATION) + 30
    trial.wait_for(
        lambda: any(note.job_id == job.pk and note.attempt > 1 for note in trial.notes()),
        limit,
        "The job of a killed worker was not started again",
    )
    seconds = monotonic() - begun
    trial.wait_for(lambda: _status(job) == JobStatus.DONE, LIMIT, "The second attempt did not end")
    trial.wait_for(
        lambda: all(processes.provably_gone(pid, since) for pid, since in family.items()),
        LIMIT,
        "The processes of a killed worker had not all ended",
    )
    text = f"The job of a killed worker was started again after {seconds:.1f} seconds, and its processes were ended."
    return Verdict(text, figures={"seconds": round(seconds, 3), "processes": len(family)})


def _run(trial: Trial, number: int, limit: float) -> list[Job]:
    """Have so many jobs run to their end."""
    jobs = trial.enqueue(number)
    ids = [job.pk for job in jobs]
    rows = trial.jobs().filter(pk__in=ids).finished()
    trial.wait_for(lambda: rows.count() == number, limit, f"{number} jobs had not ended")
    return jobs


def _status(job: Job) -> str:
    job.refresh_from_db()
    return job.status


def _held(trial: Trial) -> tuple[Job, dict[int, int | None]]:
    """Return a job that runs, with its processes and the moments in which these have started."""
    trial.forget_pids()
    [job] = trial.enqueue(task="hold", max_attempts=2)
    trial.wait_for(lambda: len(trial.pids()) >= TREE, STARTING, "A job with processes of its own had not started")
    trial.wait_for(lambda: _status(job) == JobStatus.RUNNING and job.worker_id, 10, "A job had no worker")
    return job, {pid: processes.started(pid) for pid in trial.pids()}


CHECKS = (
    Check("wake-ups", wake_ups, ROOM),
    Check("claims", claims, ROOM),
    Check(
        "abort",
        abort,
        f"Run workers on Linux, as the parent of all that their jobs start. {see('explanation/guarantees.md#abort')}",
    ),
    Check("recovery", recovery, "Have at least two workers, and /proc of the machine visible to them."),
)
