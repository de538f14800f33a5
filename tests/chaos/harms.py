"""What is done to workers, people, and servers in a storm. Each harm is one round, with its recovery."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass

from django.db import Error, connection, connections, transaction

from qorworker.exceptions import QorWorkerError
from qorworker.models import Attempt, Job
from qorworker.models.job_messages import SENDER
from tests.chaos.clocks import Clock
from tests.chaos.mix import LEFT_ALONE
from tests.chaos.stage import OPTIONS, Stage
from tests.proxy import FaultProxy
from tests.servers import Server
from tests.support import RunningWorker, command_of, wait_until
from tests.testapp import jobs, mixture
from tests.trees import Gardener

HOUR = 3600
LEASE = float(str(OPTIONS["LEASE"]))
Harm = Callable[["Scene"], None]
HARMS: dict[str, Harm] = {}


@dataclass
class Scene:
    """Where a harm happens. Workers reach a *server* of their own through *proxies*, one each in turn."""

    stage: Stage
    server: Server | None = None
    proxies: tuple[FaultProxy, ...] = ()
    server_clocks: tuple[Clock, ...] = ()  # that of the *server*, if it can go wrong

    @property
    def chance(self) -> random.Random:
        return self.stage.chance

    def busy(self) -> tuple[RunningWorker, dict[int, str]]:
        """A worker that runs something, with the tokens of its jobs."""

        def look() -> tuple[RunningWorker, dict[int, str]] | None:
            self.stage.replace_dead()
            worker = self.chance.choice(self.stage.running)
            tokens = self.stage.tokens_of(worker)
            return (worker, tokens) if tokens else None

        found: tuple[RunningWorker, dict[int, str]] = wait_until(look, 60, every=0.02)
        return found

    def attempt_in(self, pid: int) -> tuple[int, int] | None:
        """The job, and the number of its attempt, that this process has begun and not ended."""
        for path in (self.stage.folder / "spans").iterdir():
            for line in mixture.running(path.read_text().splitlines()):
                process, number, *_ = map(float, line.split())
                if process == pid:
                    return int(path.name), int(number)
        return None


def harm(function: Harm) -> Harm:
    HARMS[function.__name__.replace("_", " ")] = function
    return function


# Processes.


@harm
def kill_a_child(scene: Scene) -> None:
    def victim() -> tuple[int, tuple[int, int]] | None:
        worker = scene.chance.choice(scene.stage.running)
        pids = [pid for pid in worker.children() if scene.attempt_in(pid)]
        found = scene.attempt_in(pids[0]) if pids else None
        return (pids[0], found) if found else None

    pid, (job, number) = wait_until(victim, 60, every=0.01)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        held = Job.objects.filter(pk=job, attempt=number, status="running")
        wait_until(lambda: not held.exists(), 60, every=0.01)
        scene.stage.figures.recovery.append(time.monotonic() - begun)


@harm
def kill_a_worker_and_start_another(scene: Scene) -> None:
    worker, tokens = scene.busy()
    worker.kill()
    begun = time.monotonic()
    scene.stage.replace_dead()
    scene.stage.settled(tokens, begun)


@harm
def kill_a_worker_for_good(scene: Scene) -> None:
    """Of two machines one loses its worker; the other one cannot see whether it lives."""
    worker, _ = scene.busy()
    tokens = scene.stage.tokens_of(worker)
    worker.kill()
    scene.stage.settled(tokens, time.monotonic())
    scene.stage.replace_dead()


@harm
def kill_a_machine(scene: Scene) -> None:
    worker, _ = scene.busy()
    tokens = scene.stage.tokens_of(worker)
    for pid in worker.census():
        if command_of(pid)[:1] == ["sh"]:  # the init of its namespace: the kernel ends all that is in there
            os.kill(pid, signal.SIGKILL)
    scene.stage.settled(tokens, time.monotonic())
    scene.stage.replace_dead()


@harm
def kill_a_fork_server(scene: Scene) -> None:
    worker, _ = scene.busy()
    tokens = scene.stage.tokens_of(worker)
    os.kill(worker.fork_server(), signal.SIGKILL)
    scene.stage.settled(tokens, time.monotonic())


@contextmanager
def stopped(pids: list[int]):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def standing_still(pids: list[int]):
    """As ``stopped()``, but not while one of them has SQLite's only lock: then nobody could do anything.

    ``processes/test_frozen_locks.py`` is about that.
    """
    for _ in range(100):
        with stopped(pids):
            if connection.vendor != "sqlite" or is_free():
                yield
                return
        time.sleep(random.uniform(0.01, 0.2))
    raise AssertionError("The file is always locked.")


def is_free() -> bool:
    """Whether SQLite's file can be written to: the others hold its lock for a moment only."""
    with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=1.5, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
    return True


@harm
def freeze_a_child(scene: Scene) -> None:
    worker, _ = scene.busy()
    with stopped(worker.children()[:1]):
        time.sleep(scene.chance.uniform(0.5, 2 * LEASE))


@harm
def freeze_a_parent(scene: Scene) -> None:
    worker, tokens = scene.busy()
    begun = time.monotonic()
    with standing_still([worker.pid]):
        scene.stage.settled(tokens, begun)
        time.sleep(scene.chance.uniform(0.0, LEASE))


@harm
def freeze_a_machine(scene: Scene) -> None:
    """All processes of a worker stand still for three times its lease."""
    worker, tokens = scene.busy()
    begun = time.monotonic()
    with standing_still(worker.census()):
        scene.stage.settled(tokens, begun)
        time.sleep(max(0.0, begun + 3 * LEASE - time.monotonic()))


@harm
def freeze_a_fork_server(scene: Scene) -> None:
    worker, _ = scene.busy()
    with stopped([worker.fork_server()]):
        time.sleep(scene.chance.uniform(0.5, 2 * LEASE))


@harm
def stop_a_worker(scene: Scene) -> None:
    worker, tokens = scene.busy()
    begun = time.monotonic()
    worker.signal(scene.chance.choice((signal.SIGTERM, signal.SIGINT)))
    status = worker.exit_status(30)
    if status != 0:
        scene.stage.note("limbo", f"a worker that was stopped ended with {status}: {worker.said[-2000:]}")
    scene.stage.settled(tokens, begun)
    scene.stage.replace_dead()


@harm
def stop_a_worker_and_kill_it_soon(scene: Scene) -> None:
    worker, tokens = scene.busy()
    worker.signal(signal.SIGTERM)
    time.sleep(scene.chance.uniform(0.0, 2.0))
    with suppress(ProcessLookupError):
        worker.kill()
    begun = time.monotonic()
    scene.stage.replace_dead()
    scene.stage.settled(tokens, begun)


@harm
def stop_a_worker_twice(scene: Scene) -> None:
    worker, tokens = scene.busy()
    worker.signal(signal.SIGINT)
    time.sleep(scene.chance.uniform(0.05, 0.5))
    begun = time.monotonic()
    with suppress(ProcessLookupError):
        worker.signal(signal.SIGINT)
    worker.exit_status(30)
    scene.stage.settled(tokens, begun)
    scene.stage.replace_dead()


@harm
def restart_all_one_by_one(scene: Scene) -> None:
    for worker in list(scene.stage.running):
        scene.busy()
        worker.signal(signal.SIGTERM)
        worker.exit_status(30)
        scene.stage.replace_dead()


@harm
def run_poison(scene: Scene) -> None:
    """A job that kills its process each time ends at the limit of crashes, and the others go on."""
    poison = jobs.poison.using(priority=LEFT_ALONE).enqueue()
    wait_until(lambda: Job.objects.filter(pk=poison.pk, status="exception").exists(), 60)
    crashes = poison.attempts.filter(outcome="crashed").count()
    if crashes != 3:
        scene.stage.note("dup_start", f"poison ran {crashes} times")


@harm
def abort_what_runs(scene: Scene) -> None:
    scene.busy()
    begun, asked = time.monotonic(), {}
    for job in Job.objects.running().exclude(name__in=(mixture.once.name, SENDER)):
        with suppress(QorWorkerError):
            job.abort()
            asked[job.pk] = job.attempt_token
    scene.stage.settled(asked, begun)


@harm
def abort_hostile_trees(scene: Scene) -> None:
    folder = scene.stage.folder / f"trees-{scene.chance.getrandbits(32)}"
    folder.mkdir()
    trees = [Gardener(scene.chance).tree(folder) for _ in range(3)]
    found = [
        jobs.plant.using(priority=LEFT_ALONE).enqueue(program=tree.program, ledger=str(folder / "ledger"))
        for tree in trees
    ]
    wait_until(lambda: (folder / "ledger").exists(), 60)
    time.sleep(scene.chance.uniform(0.1, 0.5))
    begun = time.monotonic()
    for job in found:
        with suppress(QorWorkerError):
            job.refresh_from_db()
            job.abort() if job.status == "running" else job.cancel()
    rows = Job.objects.filter(pk__in=[job.pk for job in found], status__in=("new", "scheduled", "running"))
    wait_until(lambda: not rows.exists(), 60)
    scene.stage.figures.recovery.append(time.monotonic() - begun)
    for tree in trees:
        if left := tree.census():
            scene.stage.note("orphans", f"{len(left)} processes are left of {tree.program}", len(left))


# Clocks.


@contextmanager
def nobody_loses_jobs(scene: Scene):
    """Where no process dies and none stands still, no job is taken from its worker."""
    lost = Attempt.objects.filter(outcome="lost")
    before = lost.count()
    yield
    if taken := lost.count() - before:
        scene.stage.violations.append(f"{taken} jobs were taken from workers that lived")


@harm
def let_clocks_jump(scene: Scene) -> None:
    """The clocks of workers and people, each for itself, go wrong by an hour or are right again."""
    with nobody_loses_jobs(scene):
        for clock in scene.stage.clocks:
            clock.go_wrong(scene.chance.choice((-HOUR, 0, HOUR)))
        scene.busy()
        time.sleep(2 * LEASE)
        work_goes_on(scene, time.monotonic())


@harm
def let_the_clock_of_the_database_jump(scene: Scene) -> None:
    """Back by an hour, and then an hour ahead of what it has ever shown: what is due does not wait for an hour."""
    [clock] = scene.stage.clocks or scene.server_clocks
    scene.busy()
    with nobody_loses_jobs(scene):
        (scene.stage.folder / "due").unlink(missing_ok=True)  # times were meant by the clock that now jumps
        for offset in (clock.offset - HOUR, clock.offset + HOUR):
            clock.go_wrong(offset)
            time.sleep(2 * LEASE)
        (scene.stage.folder / "due").unlink(missing_ok=True)
        work_goes_on(scene, time.monotonic())


# The database and the way there.


def work_goes_on(scene: Scene, begun: float) -> None:
    """Until a job starts that was not there when the fault was over."""
    connection.close()
    job = wait_until(enqueued, 60)
    wait_until((scene.stage.folder / "spans" / str(job.pk)).exists, 120, lambda: state_of(job), every=0.02)
    scene.stage.figures.recovery.append(time.monotonic() - begun)
    scene.stage.replace_dead()


def state_of(job: Job) -> str:
    job.refresh_from_db()
    return f"{job.status}, {[str(reason) for reason in job.why_waiting()]}"


def enqueued() -> Job | None:
    with suppress(Error):
        return mixture.plain.using(priority=LEFT_ALONE).enqueue(folder=SPANS[-1], seconds=0.0)
    return None


SPANS: list[str] = []  # the folder of the spans of the trial that runs


@harm
def restart_the_server(scene: Scene) -> None:
    connection.close()
    scene.server.stop()
    time.sleep(scene.chance.uniform(0.0, 3.0))
    scene.server.start()
    work_goes_on(scene, time.monotonic())


@harm
def kill_the_server(scene: Scene) -> None:
    connection.close()
    scene.server.kill()
    time.sleep(scene.chance.uniform(0.0, 3.0))
    scene.server.start()
    work_goes_on(scene, time.monotonic())


@harm
def end_all_sessions(scene: Scene) -> None:
    """As an operator would, one by one; also those in the midst of a statement."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        else:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND id > 0")
            for (session,) in cursor.fetchall():
                with suppress(Error):
                    cursor.execute(f"KILL CONNECTION {session}")
    work_goes_on(scene, time.monotonic())


@harm
def cut_all_connections(scene: Scene) -> None:
    for proxy in scene.proxies:
        proxy.cut()
    work_goes_on(scene, time.monotonic())


@harm
def cut_one_worker_off(scene: Scene) -> None:
    """Its connections fall silent for three leases; new ones as well. The other workers take its jobs over."""
    worker, _ = scene.busy()
    [proxy] = [proxy for proxy in scene.proxies if proxy.port == scene.stage.port_of[worker.pid]]
    victims = [worker for worker in scene.stage.running if scene.stage.port_of[worker.pid] == proxy.port]
    tokens = {pk: token for worker in victims for pk, token in scene.stage.tokens_of(worker).items()}
    begun = time.monotonic()
    proxy.silence()
    try:
        scene.stage.settled(tokens, begun)
        time.sleep(max(0.0, begun + 3 * LEASE - time.monotonic()))
    finally:
        proxy.restore()
        proxy.drop_lost()


@harm
def cut_after_commits(scene: Scene) -> None:
    """The answers to some commits are lost, whoever sent them."""
    begun = time.monotonic()
    for _ in range(5):
        trap = scene.chance.choice(scene.proxies).cut_after_commit()
        with suppress(Exception):
            trap.wait(3)
    work_goes_on(scene, begun)


@harm
def slow_the_database_down(scene: Scene) -> None:
    for proxy in scene.proxies:
        proxy.delay(0.3)
    try:
        time.sleep(2 * LEASE)
    finally:
        for proxy in scene.proxies:
            proxy.restore()
    work_goes_on(scene, time.monotonic())


@harm
def lock_rows(scene: Scene) -> None:
    """Another session holds all running jobs for longer than a lease."""
    scene.busy()
    with transaction.atomic():
        list(Job.objects.running().select_for_update(skip_locked=True).values_list("pk"))
        time.sleep(2 * LEASE)
    work_goes_on(scene, time.monotonic())


@harm
def lock_the_file(scene: Scene) -> None:
    """Another process has SQLite's only lock for longer than a lease."""
    with transaction.atomic():  # BEGIN IMMEDIATE
        time.sleep(2 * LEASE)
    work_goes_on(scene, time.monotonic())


@harm
def use_up_all_connections(scene: Scene) -> None:
    with ExitStack() as stack:
        with suppress(Error):
            for _ in range(200):
                more = connections.create_connection("default")
                stack.callback(more.close)
                more.ensure_connection()
        for proxy in scene.proxies:
            proxy.cut()  # nobody keeps one
        time.sleep(LEASE)
    work_goes_on(scene, time.monotonic())


@harm
def keep_a_transaction_open(scene: Scene) -> None:
    """An old snapshot is kept, as by a backup, while jobs come and go."""
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT COUNT(*) FROM qorworker_job")
        time.sleep(2 * LEASE)
    finally:
        other.close()
    work_goes_on(scene, time.monotonic())
