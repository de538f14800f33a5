"""Real workers for tests: started as people start them, watched from outside, gone with all they started at the end."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection, connections, transaction

from qorworker.models import Job, Worker
from qorworker.status import FINISHED
from qorworker.system.processes import COOKIE
from qorworker.worker.launch import CONTROL_SOCKET

ROOT = Path(__file__).resolve().parents[1]
# Before a command: the kernel kills it with the process that started it, so killed tests leave no worker behind. Empty
# where no program of util-linux 2.33 or later can arrange that.
WITH_THE_TESTS = ("setpriv", "--pdeathsig", "KILL", "--")
if not shutil.which("setpriv") or subprocess.run([*WITH_THE_TESTS, "true"], stderr=subprocess.DEVNULL).returncode:
    WITH_THE_TESTS = ()
MARK = "QORWORKER_TEST_MARK"  # in the environment of a worker under test, and so of everything it starts
OF_TESTS = ("testapp_shop", "auth_user_user_permissions", "auth_user")


def wait_until(
    condition: Callable[[], Any], timeout: float = 30.0, why: Callable[[], object] | str = "", every: float = 0.03
) -> Any:
    """The first true value of *condition*. Fails after *timeout* seconds, telling *why*."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Not so within {timeout:g} s. {why() if callable(why) else why}")
        time.sleep(every)
    return value


def with_status(job: Job, *statuses: str, timeout: float = 30.0) -> Job:
    """The job, as soon as it is in one of these statuses."""

    def there() -> bool:
        job.refresh_from_db()
        return job.status in statuses

    wait_until(there, timeout, lambda: f"Job {job} is {job.status}: {job.error}")
    return job


def ended(job: Job, timeout: float = 30.0) -> Job:
    """The job, as soon as it has ended in whatever way."""
    return with_status(job, "done", "exception", "killed", "cancelled", timeout=timeout)


def all_ended(timeout: float = 60.0) -> None:
    wait_until(lambda: not Job.objects.exclude(pk__in=Job.objects.finished().values("pk")).exists(), timeout)


def log_of(job: Job) -> list[str]:
    return list(job.log.order_by("number").values_list("text", flat=True))


class Ledger:
    """What jobs report outside the database: a file to which they append lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def __str__(self) -> str:
        return str(self.path)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()]

    def wait(self, count: int = 1, timeout: float = 30.0) -> list[list[str]]:
        """The lines, as soon as there are *count*."""
        wait_until(lambda: len(self.lines()) >= count, timeout, lambda: f"The ledger has {self.lines()}")
        return self.lines()


def alive(pid: int) -> bool:
    """Whether there is such a process; one that ended and was not reaped counts as gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return text[text.rindex(")") + 2] not in "ZX"


def command_of(pid: int) -> list[str]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return []


def census(mark: str) -> list[int]:
    """Every process whose environment contains *mark*, a text like ``NAME=value``."""
    pids = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and mark.encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                pids.append(int(name))
    return [pid for pid in pids if alive(pid)]


@dataclass
class RunningWorker:
    """A ``runworker`` under test."""

    process: subprocess.Popen[bytes]
    mark: str
    output: Path
    begun: float = field(default_factory=time.monotonic)
    pid: int = 0  # of the parent process; as seen from here, also in a namespace of its own

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def census(self) -> list[int]:
        """All its processes: parent, fork server, children, and whatever jobs have started."""
        return census(self.mark)

    def running(self, command: str) -> list[int]:
        """Those of its processes that run this command."""
        return [pid for pid in self.census() if command_of(pid)[:1] == [command]]

    def parent(self) -> int:
        found = [
            pid
            for pid in self.census()
            if "runworker" in command_of(pid) and _is_python(pid) and not _is_fork_server(pid)
        ]
        return next((pid for pid in found if _parent_of(pid) not in found), 0)  # the others are its forks

    def fork_server(self) -> int:
        return wait_until(
            lambda: next((pid for pid in self.census() if _is_fork_server(pid) and _parent_of(pid) == self.pid), 0)
        )

    def children(self) -> list[int]:
        fork_server = self.fork_server()
        return [pid for pid in self.census() if _is_fork_server(pid) and _parent_of(pid) == fork_server]

    def row(self) -> Worker | None:
        """Its row, identified by the PID namespace and the process id in there."""
        with suppress(OSError):
            namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
            status = Path(f"/proc/{self.pid}/status").read_text()
            number = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
            return Worker.objects.filter(pid_namespace=namespace, process_id=number, stopped_at=None).first()
        return None

    def wait_ready(self) -> None:
        self.pid = wait_until(self.parent, why=lambda: self.said)
        wait_until(self.row, why=lambda: self.said)
        self.fork_server()  # only now the worker itself knows of its row

    def kill(self) -> None:
        """SIGKILL to the worker's parent process only."""
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not alive(self.pid))

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def exit_status(self, timeout: float = 60.0) -> int:
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"The worker did not end within {timeout:g} s.\n{self.said}") from None

    def stop(self) -> int:
        """TERM, and its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.exit_status()

    def destroy(self) -> None:
        """End the worker and everything that was ever started by it."""
        while pids := self.census():
            for pid in pids:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        self.process.wait(10)


def _is_python(pid: int) -> bool:
    return "python" in Path(command_of(pid)[0]).name


def _is_fork_server(pid: int) -> bool:
    """Whether it is a fork server at work, or was forked from one: a job's other programs have neither sign."""
    with suppress(OSError):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        is_new_program = any(each.startswith(f"{CONTROL_SOCKET}=".encode()) for each in environment)
        return is_new_program or f"/memfd:{COOKIE}=".encode() in Path(f"/proc/{pid}/maps").read_bytes()
    return False


def _parent_of(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(text[text.rindex(")") + 2 :].split()[1])


def environment(mark: str = "", port: int | None = None, **settings: Any) -> dict[str, str]:
    """For a command that works on the database of this test, with these values in ``QORWORKER``.

    With *port* it reaches the database server through there: the port of a ``FaultProxy``.
    """
    more = {
        "DJANGO_SETTINGS_MODULE": "tests.processes.settings",
        "QORWORKER_TEST_RUNNING_DATABASE": str(connection.settings_dict["NAME"]),
        "QORWORKER_TEST_SETTINGS": json.dumps(settings),
        "PYTHONUNBUFFERED": "1",
    }
    if mark:
        more[MARK] = mark.partition("=")[2]
    if port is not None:
        more |= {"QORWORKER_POSTGRESQL_PORT": str(port), "QORWORKER_MARIADB_PORT": str(port)}
    return {**os.environ, **more}


@contextmanager
def running_worker(
    *options: str,
    folder: Path,
    processes: int = 2,
    machine: bool = False,
    ready: bool = True,
    port: int | None = None,
    program: Sequence[str] = (sys.executable, "-m", "django"),
    cwd: Path = ROOT,
    variables: Mapping[str, str | None] | None = None,
    **settings: Any,
) -> Iterator[RunningWorker]:
    """A worker; with *machine* in a PID namespace of its own, so that others cannot see whether it lives.

    With *port* it reaches the database server through there: the port of a ``FaultProxy``. *program* takes the
    command and its options. *variables* are for its environment; None takes one away.
    """
    mark = f"{MARK}={secrets.token_hex(8)}"
    output = folder / f"worker-{mark[-8:]}.log"
    command = [*program, "runworker", "--processes", str(processes), *options]
    given = {**environment(mark, port, **settings), **(variables or {})}
    if machine:
        # The shell is the machine's init: the worker can die without its machine.
        command = [
            "unshare",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            '"$@" & wait',
            "sh",
            *command,
        ]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*WITH_THE_TESTS, *command],
            cwd=cwd,
            env={name: value for name, value in given.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    worker = RunningWorker(process, mark, output)
    try:
        if ready:
            worker.wait_ready()
        yield worker
    finally:
        worker.destroy()
        print(f"--- {output.name}\n{worker.said}")


def empty_tables(but: Iterable[Worker] = ()) -> None:
    """Delete what tests have stored, *but* not these workers; far quicker than to flush a database."""
    keep = [worker.pk for worker in but] or [0]
    with connection.cursor() as cursor:
        models = [model for model in apps.get_app_config("qorworker").get_models() if model is not Worker]
        for table in (*(model._meta.db_table for model in models), *OF_TESTS):
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute(f"DELETE FROM qorworker_worker WHERE id NOT IN ({', '.join(map(str, keep))})")


@cache
def emptied_tables(_database: str, alias: str) -> list[str]:
    tables = connections[alias].introspection.django_table_names(only_existing=True, include_views=False)
    return sorted(set(tables) - {ContentType._meta.db_table, Permission._meta.db_table})


def delete_rows(alias: str) -> None:
    """Delete all rows but those that migrations make: what a flush would do, by statements for filled tables only."""
    database = connections[alias]
    name = database.ops.quote_name
    tables = emptied_tables(database.settings_dict["NAME"], alias)
    filled = " UNION ALL ".join(f"(SELECT '{each}' FROM {name(each)} LIMIT 1)" for each in tables)
    if database.vendor == "sqlite":
        filled = filled.replace("(", "SELECT * FROM (")
    with database.constraint_checks_disabled(), transaction.atomic(alias), database.cursor() as cursor:
        cursor.execute(filled)
        for (table,) in cursor.fetchall():
            cursor.execute(f"DELETE FROM {name(table)}")


class Transitions:
    """Every change of the status of a job, written by a trigger in the database."""

    TABLE = "qorworker_test_transition"

    def all(self) -> list[tuple[int, str, str]]:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT job_id, before_it, after_it FROM {self.TABLE} ORDER BY id")
            return [(int(job_id), before, after) for job_id, before, after in cursor.fetchall()]

    def of(self, job: Job) -> list[str]:
        """The statuses that a job went through, without the first."""
        return [after for job_id, _, after in self.all() if job_id == job.pk]

    def ends(self) -> Counter[int]:
        """How often each job has ended."""
        return Counter(job_id for job_id, _, after in self.all() if after in FINISHED)


@contextmanager
def recorded_transitions() -> Iterator[Transitions]:
    table = Transitions.TABLE
    insert = f"INSERT INTO {table} (job_id, before_it, after_it) VALUES (OLD.id, OLD.status, NEW.status)"
    create, drop = {
        "sqlite": (
            [
                f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, job_id INTEGER, before_it TEXT, after_it TEXT)",
                (
                    f"CREATE TRIGGER {table} AFTER UPDATE OF status ON qorworker_job"
                    f" WHEN OLD.status <> NEW.status BEGIN {insert}; END"
                ),
            ],
            [f"DROP TRIGGER {table}", f"DROP TABLE {table}"],
        ),
        "postgresql": (
            [
                f"CREATE TABLE {table} (id BIGSERIAL, job_id BIGINT, before_it TEXT, after_it TEXT)",
                f"CREATE FUNCTION {table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {insert}; RETURN NULL; END $$",
                (
                    f"CREATE TRIGGER {table} AFTER UPDATE OF status ON qorworker_job FOR EACH ROW"
                    f" WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION {table}()"
                ),
            ],
            [f"DROP TRIGGER {table} ON qorworker_job", f"DROP FUNCTION {table}()", f"DROP TABLE {table}"],
        ),
        "mysql": (
            [
                (
                    f"CREATE TABLE {table} (id BIGINT AUTO_INCREMENT PRIMARY KEY, job_id BIGINT,"
                    " before_it VARCHAR(10), after_it VARCHAR(10))"
                ),
                (
                    f"CREATE TRIGGER {table} AFTER UPDATE ON qorworker_job FOR EACH ROW"
                    f" IF OLD.status <> NEW.status THEN {insert}; END IF"
                ),
            ],
            [f"DROP TRIGGER {table}", f"DROP TABLE {table}"],
        ),
    }[connection.vendor]
    with connection.cursor() as cursor:
        for statement in create:
            cursor.execute(statement)
    try:
        yield Transitions()
    finally:
        with connection.cursor() as cursor:
            for statement in drop:
                cursor.execute(statement)
