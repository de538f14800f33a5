"""The same faults done to other queues, each in an environment of its own, to show that the trials can fail."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.chaos import results
from tests.support import WITH_THE_TESTS, census, wait_until

APPS = Path(__file__).parent / "peer_apps"
JOBS, WORKERS = 12, 2
FREEZE, PATIENCE = 30.0, 60.0  # seconds


@dataclass(frozen=True)
class Peer:
    name: str
    packages: tuple[str, ...]
    script: str
    worker: tuple[str, ...]  # behind the Python of its environment
    variables: tuple[tuple[str, str], ...] = ()


def of_django(name: str, package: str, worker: tuple[str, ...], **more: str) -> Peer:
    app = "qorworker" if package.startswith("-e") else "django_tasks_db"
    variables = (("PEER_APP", app), ("DJANGO_SETTINGS_MODULE", "django_settings"), *more.items())
    return Peer(name, (*package.split(), "Django>=6.0"), "django_peer.py", ("-m", "django", *worker), variables)


RUNWORKER = ("runworker", "--processes", "2", "--verbosity", "0")
PEERS = (
    of_django("qorworker, 1 attempt", f"-e {results.ROOT}[secrets]", RUNWORKER),
    of_django("qorworker, 3 attempts", f"-e {results.ROOT}[secrets]", RUNWORKER, PEER_ATTEMPTS="3"),
    of_django("django-tasks-db", "django-tasks-db", ("db_worker", "--no-startup-delay", "--interval", "0.2")),
    Peer(
        "Huey",
        ("huey",),
        "huey_peer.py",
        ("-m", "huey.bin.huey_consumer", "huey_peer.huey", "-k", "process", "-w", "2"),
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default="", help="only peers whose name contains this text")
    parser.add_argument("--environments", type=Path, help="folder of the environments; by default a temporary one")
    parser.add_argument("--file", type=Path, default=results.FILE, help="results are added to this file")


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        folder = options.environments or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for peer in PEERS:
            if options.only in peer.name:
                python = environment(peer, folder)
                for fault in FAULTS:
                    try_out(peer, fault, python, options)
    return 0  # that others fail is a result, and no failure


def environment(peer: Peer, folder: Path) -> str:
    place = folder / dict(peer.variables).get("PEER_APP", "huey")
    if not place.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([place / "bin" / "pip", "install", "-q", *peer.packages], check=True)
    return str(place / "bin" / "python")


def try_out(peer: Peer, fault: Callable[[Trial], None], python: str, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, Trial(peer, python, Path(folder)) as trial:
        trial.call("set_up")
        for _ in range(WORKERS):
            trial.start()
        trial.call("enqueue", str(JOBS), str(trial.ledger))
        wait_until(lambda: len(trial.begun()) >= 2, 60, trial.said)
        time.sleep(0.5)
        fault(trial)
        with suppress(AssertionError):
            wait_until(trial.is_over, PATIENCE, every=0.5)
        told = trial.told()
    title = (fault.__doc__ or "").rstrip(".")
    print(f"{peer.name}: {title}: {told}", flush=True)
    names = {"name": f"{peer.name}: {title}", "database": "sqlite", "peer": peer.name, "fault": title}
    results.add(options.file, **names, told=told, seed=options.seed, status=0)


class Trial:
    def __init__(self, peer: Peer, python: str, folder: Path) -> None:
        self.peer, self.python, self.folder, self.ledger = peer, python, folder, folder / "ledger"
        self.ledger.mkdir()
        self.mark = f"PEER_FOLDER={folder}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.env = {**os.environ, **dict(peer.variables), "PEER_FOLDER": str(folder), "PYTHONPATH": str(APPS)}

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *error: object) -> None:
        while pids := census(self.mark):
            for pid in pids:
                self.send(pid, signal.SIGKILL)
            time.sleep(0.05)
        for worker in self.workers:
            worker.wait()

    def call(self, *command: str) -> str:
        command = (self.python, str(APPS / self.peer.script), *command)
        return subprocess.run(command, env=self.env, cwd=APPS, check=True, capture_output=True, text=True).stdout

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            command = [*WITH_THE_TESTS, self.python, *self.peer.worker]
            started = subprocess.Popen(command, env=self.env, cwd=APPS, stdout=log, stderr=log, start_new_session=True)
        self.workers.append(started)

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def send(self, pid: int, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def lines(self) -> dict[str, list[str]]:
        return {path.name: path.read_text().splitlines() for path in self.ledger.iterdir()}

    def begun(self) -> list[int]:
        """The processes in which a job has begun and not ended."""
        return [
            int(line.split()[1])
            for lines in self.lines().values()
            for line in lines
            if line.startswith("begin") and f"end {line.split()[1]}" not in lines
        ]

    def settled(self) -> int:
        ended = sum(any(line.startswith("end") for line in lines) for lines in self.lines().values())
        return ended + int(self.call("failed"))

    def is_over(self) -> bool:
        return self.settled() >= JOBS

    def told(self) -> str:
        lines = self.lines().values()
        failed = int(self.call("failed"))
        starts = [sum(line.startswith("begin") for line in each) for each in lines]
        figures = {
            "stuck": max(0, JOBS - self.settled()),
            "again": sum(number - 1 for number in starts),
            "overlap": sum(overlaps(each) for each in lines),
        }
        wrong = [f"{number} {name}" for name, number in figures.items() if number]
        wrong += [f"{failed} failed, which they say"] * bool(failed)
        return ", ".join(wrong) or "all done, once"


def overlaps(lines: list[str]) -> bool:
    """Whether an attempt came to its end after another one had begun."""
    begins = [line.split()[1] for line in lines if line.startswith("begin")]
    return any(
        f"end {earlier}" in lines and lines.index(f"end {earlier}") > lines.index(f"begin {later}")
        for earlier, later in pairwise(begins)
        if earlier != later
    )


# The faults.


def kill_the_process_of_a_job(trial: Trial) -> None:
    """The process that runs a job is killed."""
    trial.send(trial.begun()[0], signal.SIGKILL)


def kill_a_worker(trial: Trial) -> None:
    """A worker is killed; another one lives."""
    trial.send(trial.workers[0].pid, signal.SIGKILL)


def kill_all_workers(trial: Trial) -> None:
    """All processes are killed, and workers are started again."""
    for pid in census(trial.mark):
        trial.send(pid, signal.SIGKILL)
    for _ in range(WORKERS):
        trial.start()


def freeze_a_worker(trial: Trial) -> None:
    """All processes of one worker stand still for 30 seconds."""
    session = trial.workers[0].pid
    pids = [pid for pid in census(trial.mark) if belongs_to(pid, session)]
    for pid in pids:
        trial.send(pid, signal.SIGSTOP)
    time.sleep(FREEZE)
    for pid in pids:
        trial.send(pid, signal.SIGCONT)


def belongs_to(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        pid = int(text[text.rindex(")") + 2 :].split()[1])
    return False


def stop_a_worker(trial: Trial) -> None:
    """A worker gets TERM, and KILL two seconds later; another one lives."""
    trial.send(trial.workers[0].pid, signal.SIGTERM)
    time.sleep(2)
    trial.send(trial.workers[0].pid, signal.SIGKILL)


FAULTS = (kill_the_process_of_a_job, kill_a_worker, kill_all_workers, freeze_a_worker, stop_a_worker)
