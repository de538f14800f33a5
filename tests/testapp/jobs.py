"""Jobs that tests run through real workers. Each tells a ledger outside the database what it did."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import fcntl
import io
import itertools
import json
import logging
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Concat

from qorworker import Cell, JobContext, Secret, job, job_of_command
from qorworker.execution.queries import QueryCounter
from qorworker.models import Job
from tests.testapp import mixture, rehearsing, sharing, watched
from tests.testapp.bending import BENDS, executor, state
from tests.testapp.models import Shop

kept: list[object] = []
SPAN = struct.Struct("=ddqq")  # of an attempt: began, was last alive, template, whether it returned
logging.getLogger("testapp")
__all__ = ["mixture", "rehearsing", "sharing", "watched"]


def tell(ledger: str, *words: object) -> None:
    """Append one line to the ledger; short appends of several processes do not mix."""
    with Path(ledger).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


@job
def noop() -> None:
    """Does nothing."""


@job
def add_files(context: JobContext, name: str, wait_for: str = "") -> None:
    """Adds a file, and a row that links to it."""
    context.set_results_columns("File", "Size")
    added = context.add_file(name, name.encode())
    context.add_results_row(added, added.size, key=name)
    while wait_for and not Path(wait_for).exists():
        time.sleep(0.01)


class Deadly(io.BytesIO):
    """A file that kills its process while a part of it is stored: it has been read once before, to be measured."""

    def read(self, size: int | None = -1) -> bytes:
        if size:
            self.reads = getattr(self, "reads", 0) + 1
        if getattr(self, "reads", 0) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(size)


@job
def die_while_storing(context: JobContext) -> None:
    context.add_file("half.bin", Deadly(b"x" * 100_000))


@job
def surroundings(context: JobContext, shop: Shop, also: list[Shop] | None = None) -> None:
    """Logs the environment that its process has."""
    context.add_log(os.environ.get("QORWORKER_TEST_SHELL", "none"))


@job(max_attempts=3)
def noop_again(number: int = 0) -> None:
    """Does nothing, and may do it again."""


@job
def write(context: JobContext, ledger: str, number: int = 0) -> None:
    tell(ledger, context.job_id, number)


@job(max_attempts=3)
def write_again(context: JobContext, ledger: str, number: int = 0) -> None:
    tell(ledger, context.job_id, number)


@job
def write_slowly(context: JobContext, ledger: str, number: int = 0) -> None:
    tell(ledger, context.job_id, number)
    time.sleep(0.05)


@job(max_attempts=3, backoff=lambda attempt: 0)
def write_slowly_again(context: JobContext, ledger: str, number: int = 0) -> None:
    tell(ledger, context.job_id, number)
    time.sleep(0.02)


@job
def story(context: JobContext) -> None:
    """Uses every way to say something."""
    context.add_log("by the context")
    print("printed")
    print("to stderr", file=sys.stderr)
    logging.getLogger("somebody.else").warning("logged")
    context.logger.info("by its logger")
    subprocess.run(["echo", "from a subprocess"], check=True)
    context.set_progress(3, 4)
    context.set_progress_text("three of four")
    context.add_results_row("A-1", 5, Cell("", error=""))


@job
def row_errors(context: JobContext) -> None:
    context.add_results_row("A-1", "fine")
    context.add_results_row("A-2", Cell("-3", error="negative stock"))


@job
def fail(message: str = "no such luck") -> None:
    raise ValueError(message)


@job
def needs_file(path: str) -> None:
    Path(path).stat()


@job(max_attempts=3, backoff=lambda attempt: 0)
def fail_twice(context: JobContext, ledger: str) -> None:
    tell(ledger, context.job_id, context.attempt)
    if context.attempt < 3:
        raise ValueError(f"attempt {context.attempt}")


@job
def leave(how: str) -> None:
    """Ends its process in one of the many ways there are."""
    match how:
        case "sys.exit":
            sys.exit(0)
        case "os._exit":
            os._exit(0)
        case "abort":
            os.abort()
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "interrupt":
            raise KeyboardInterrupt


@job(max_attempts=10, backoff=lambda attempt: 0)
def poison() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@job(max_attempts=20, backoff=lambda attempt: 0)
def poisoned_at(context: JobContext, ledger: str, poison: int) -> None:
    """Goes over six numbers. Its process dies behind each of them, and always before it is done with *poison*."""
    for number in range(context.checkpoint or 0, 6):
        tell(ledger, number)
        if number != poison:
            context.save_checkpoint(number + 1)
        os.kill(os.getpid(), signal.SIGKILL)


@job
def wait_for(context: JobContext, ledger: str, seconds: float = 600.0) -> None:
    tell(ledger, context.job_id, os.getpid())
    context.add_log("waiting")
    time.sleep(seconds)


@job(max_attempts=3, backoff=lambda attempt: 0)
def wait_again(context: JobContext, ledger: str, seconds: float = 600.0) -> None:
    tell(ledger, context.job_id, os.getpid())
    if context.attempt == 1:
        time.sleep(seconds)


@job
def family(context: JobContext, ledger: str, ignore_term: bool = False) -> None:
    """Starts a child, a grandchild in a session of its own, and a daemon, then waits."""
    if ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    subprocess.run(["sh", "-c", "(setsid sleep 600 >/dev/null 2>&1 &)"], check=True)
    tell(ledger, context.job_id, os.getpid())
    time.sleep(600)


@job
def plant(context: JobContext, program: str, ledger: str, then: str = "wait") -> None:
    """Starts a program of the shell, whose processes may do anything, and then ends in one way or another."""
    subprocess.Popen(["bash", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    tell(ledger, context.job_id, os.getpid())
    match then:
        case "wait":
            time.sleep(600)
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)


@job(timeout=0.5)
def plant_for_a_moment(context: JobContext, program: str, ledger: str) -> None:
    plant(context, program, ledger)


@job(memory_limit=400 * 1024 * 1024)
def plant_in_little_memory(context: JobContext, program: str, ledger: str) -> None:
    """Is ended from outside: a mapping of a file counts towards the memory held, and is not refused by the kernel."""
    plant(context, program, ledger, then="return")
    with tempfile.TemporaryFile() as file:
        file.truncate(600 * 1024 * 1024)
        held = mmap.mmap(file.fileno(), 0)
        for place in range(0, len(held), mmap.PAGESIZE):
            held[place]
        time.sleep(600)


@job(max_attempts=3, backoff=lambda attempt: 0)
def plant_again(context: JobContext, program: str, ledger: str) -> None:
    if context.attempt == 1:
        plant(context, program, ledger)


@job
def leave_daemon(ledger: str) -> None:
    subprocess.run(["sh", "-c", "(setsid sleep 600 >/dev/null 2>&1 &)"], check=True)
    tell(ledger, os.getpid())


@job(timeout=1)
def too_long(ledger: str) -> None:
    tell(ledger, os.getpid())
    time.sleep(600)


@job(memory_limit=300 * 1024 * 1024)
def too_large() -> None:
    data = bytearray()
    while True:
        data += b"x" * (64 * 1024 * 1024)


@job(isolation="process")
def isolated(context: JobContext, ledger: str) -> None:
    tell(ledger, context.job_id, os.getpid())


@job
def secretive(context: JobContext, password: Secret[str]) -> None:
    value = password.get_secret_value()
    print("the password is", value)
    context.set_progress_text(f"using {value}")
    context.add_results_row(value, password)
    raise ValueError(f"wrong password {value}")


@job(atomic=True)
def atomic(name: str, succeed: bool = True) -> None:
    get_user_model().objects.create(username=name)
    if not succeed:
        raise ValueError("rolled back")


@job
def open_transaction() -> None:
    """Leaves the connection in a state that the next job must not find."""
    connection.set_autocommit(False)
    get_user_model().objects.create(username="never committed")


@job
def open_block() -> None:
    """Enters a block of a transaction and never leaves it."""
    transaction.atomic().__enter__()
    get_user_model().objects.create(username="never committed")


@job
def grow(megabytes: int) -> None:
    """Keeps memory beyond its end."""
    kept.append(os.urandom(1024) * 1024 * megabytes)


@job
def flood(context: JobContext, lines: int) -> None:
    for number in range(lines):
        print("line", number)


@job
def gives_back(password: Secret[str], number: int = 0) -> dict[str, object]:
    """Returns what it was given."""
    return {"number": number, "password": password.get_secret_value()}


@job
async def asynchronous(context: JobContext) -> None:
    context.add_log("in a loop")


@job
def until(context: JobContext, gate: str, ledger: str) -> None:
    """Ends when a file appears."""
    tell(ledger, context.job_id, context.attempt, os.getpid())
    while not Path(gate).exists():
        time.sleep(0.01)


@job(max_attempts=3, backoff=lambda attempt: 0)
def until_again(context: JobContext, gate: str, ledger: str) -> None:
    """Ends when a file appears, and may do it again."""
    tell(ledger, context.job_id, context.attempt, os.getpid())
    while not Path(gate).exists():
        time.sleep(0.01)


@job
def opens_anew(context: JobContext, path: str) -> None:
    """Closes low descriptors that it does not know, and keeps files open that get their numbers."""
    os.closerange(3, 256)
    kept.extend(os.open(path, os.O_WRONLY | os.O_APPEND) for _ in range(40))


@job(max_attempts=3)
def sometimes_slow(context: JobContext, ledger: str, gate: str = "", signals: str = "") -> None:
    """Quick, unless there is a gate to wait for. It may block signals, as a driver in C does, or ignore them."""
    tell(ledger, context.job_id)
    if signals == "blocked":
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    elif signals == "ignored":
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
    while gate and not Path(gate).exists():
        time.sleep(0.01)


@job(atomic=True)
def atomic_until(context: JobContext, gate: str, ledger: str, name: str) -> None:
    """Writes, and ends when a file appears."""
    get_user_model().objects.create(username=name)
    tell(ledger, context.job_id, os.getpid())
    while not Path(gate).exists():
        time.sleep(0.01)


@job
def in_order(context: JobContext, ledger: str, name: str) -> None:
    tell(ledger, name)


@job(atomic=True)
def atomic_loses_itself(context: JobContext, name: str) -> None:
    """Writes, and gives its own job away."""
    get_user_model().objects.create(username=name)
    Job.objects.filter(pk=context.job_id).update(attempt_token="f" * 32)


@job
def stubborn(context: JobContext, ledger: str) -> None:
    """Ignores TERM, and goes on when it is told to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(ledger, context.job_id, os.getpid())
    while True:
        time.sleep(600)


def return_when_asked(context: JobContext, ledger: str) -> None:
    """Has its own way to end on TERM, as many management commands do: it stops its loop and returns."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    tell(ledger, context.job_id, context.attempt)
    while not asked and context.attempt == 1:
        time.sleep(0.01)


@job
def returns_when_asked(context: JobContext, ledger: str) -> None:
    return_when_asked(context, ledger)


@job(max_attempts=3)
def returns_when_asked_again(context: JobContext, ledger: str) -> None:
    return_when_asked(context, ledger)


@job(max_attempts=2, timeout=0.5, backoff=lambda attempt: 0)
def returns_when_late(context: JobContext, ledger: str) -> None:
    return_when_asked(context, ledger)


@job
def checks_abort(context: JobContext, ledger: str) -> None:
    """Notices an abort at places of its choice only."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    tell(ledger, context.job_id)
    while not Path(f"{ledger}.gate").exists():
        time.sleep(0.01)
    tell(ledger, "told" if context.abort_requested else "not told")


@job
def daemon(context: JobContext, ledger: str) -> None:
    """Forks twice, with a session in between, and waits."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.execvp("sleep", ["sleep", "600"])
        os._exit(0)
    tell(ledger, context.job_id, os.getpid())
    time.sleep(600)


@job
def many_strays(ledger: str, count: int) -> None:
    for _ in range(count):
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    tell(ledger, os.getpid())


@job
def raw_output(text: str, times: int = 1) -> None:
    """Writes bytes past Python, given as hexadecimal digits."""
    for _ in range(times):
        os.write(1, bytes.fromhex(text))


@job
def odd_text(context: JobContext) -> None:
    """Says what no database stores as it is."""
    context.add_log("nul \0 here")
    context.add_log("surrogate \ud800 here")
    context.set_progress_text("text \0 \udfff")
    context.add_results_row("cell \0", Cell("\ud800", error="error \0"), float("nan"), {"key": "\0"})
    print("printed \ud800")
    raise ValueError("error \0 \udc80")


@job
def odd_records(context: JobContext, message: str) -> None:
    """Sends its parent something that the context would not have said."""
    say, (number,) = context._send.func, context._send.args
    say.__self__.records.sendall(message.replace("NUMBER", str(number)).encode())
    if "end" not in message:
        time.sleep(600)


@job
def long_line(context: JobContext, length: int) -> None:
    context.add_log("x" * length)
    print("y" * length)


@job
def says(context: JobContext, code: int) -> str:
    """Says a character by every means."""
    text = chr(code)
    context.set_progress_text(text)
    context.add_log(text)
    context.add_results_row(text)
    return text


@job
def progress_flood(context: JobContext, count: int) -> None:
    for number in range(count + 1):
        context.set_progress(number, count)
        context.set_progress_text(f"number {number}")


@job
def progress_until(context: JobContext, gate: str) -> None:
    """Moves its progress as fast as it can."""
    for number in itertools.count():
        if Path(gate).exists():
            return
        context.set_progress(number % 100)


@job
def nap(seconds: float) -> None:
    """Ends by itself after a moment."""
    time.sleep(seconds)


@job
def results_flood(context: JobContext, count: int, error_at: int = -1) -> None:
    for number in range(count):
        context.add_results_row(number, Cell("", error="bad" if number == error_at else ""))


@job
def clamped(context: JobContext, done: float) -> None:
    context.set_progress(done)
    raise ValueError("keeps its progress")


@job
def tells_of_attempts(context: JobContext) -> None:
    context.add_log(f"in attempt {context.attempt}")
    context.add_results_row(context.attempt)
    context.set_progress(context.attempt, 4)
    raise ValueError(f"attempt {context.attempt}")


@job(max_attempts=3, backoff=lambda attempt: 0)
def crashes_once(context: JobContext, ledger: str) -> None:
    """Kills its process in its first attempt."""
    tell(ledger, context.job_id, context.attempt)
    context.add_log(f"attempt {context.attempt}")
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@job(max_attempts=2, backoff=lambda attempt: 1)
def fails_slowly(context: JobContext, ledger: str) -> None:
    """Fails, and waits a second before it does so again."""
    tell(ledger, context.attempt, time.time())
    raise ValueError("again")


@job
def row_errors_and_summary(context: JobContext) -> dict[str, int]:
    """A row with an error, and a value that is returned."""
    context.add_results_row("A-1", Cell("-3", error="negative stock"))
    return {"rows": 1}


@job
def row_errors_and_failure(context: JobContext) -> None:
    """A row with an error, and an exception."""
    context.add_results_row("A-1", Cell("-3", error="negative stock"))
    raise ValueError("no such luck")


@job(on_row_errors="done")
def tolerant(context: JobContext) -> None:
    context.add_results_row("A-2", Cell("-3", error="negative stock"))


@job
def keeps_secrets_badly(context: JobContext, password: Secret[str], how: str) -> None:
    """Says its secret in one of many ways, and fails."""
    value = password.get_secret_value()
    match how:
        case "log":
            context.add_log(f"log {value}")
        case "print":
            print("print", value)
        case "stderr":
            print("stderr", value, file=sys.stderr)
        case "logging":
            logging.getLogger("somebody.else").error("logging %s", value)
        case "progress":
            context.set_progress_text(f"progress {value}")
        case "results":
            context.add_results_row(value, Cell(f"value {value}", error=f"error {value}"), {"nested": value})
        case "subprocess":
            subprocess.run(["sh", "-c", "cat"], input=f"subprocess {value}\n".encode(), check=True)
        case "descriptor":
            os.write(1, f"descriptor {value} in the middle\n".encode())
            os.write(2, value.encode())
        case "library":
            ctypes.CDLL(None).puts(f"library {value}".encode())  # which keeps it in a buffer of its own
        case "halves":
            sys.stdout.write(f"halves {value[:3]}")
            sys.stdout.write(f"{value[3:]}\n")
            os.write(1, f"and {value[:3]}".encode())
            os.write(1, f"{value[3:]}\n".encode())
        case "long lines":
            sys.stdout.write("x" * 99_997 + value)
            os.write(1, b"x" * 65_530 + value.encode())
            os.write(1, b"x" * 65_530 + value[:8].encode())
            os.write(1, value[8:].encode())
        case "representation":
            print(repr(password), str(password), f"{password}", context.arguments)
    local = value  # noqa: F841 - a traceback must not show it
    raise ValueError(f"refused: {value}")


pool = ThreadPoolExecutor(1)


@job
def leaves_work_in_a_pool(password: Secret[str], gate: str) -> None:
    """Ends while a thread goes on that prints its secret once the gate is there.

    The gate names its process: that may be ended before the thread gets there.
    """
    Path(f"{gate}.pid").write_text(str(os.getpid()))

    def work() -> None:
        while not Path(gate).exists():
            time.sleep(0.01)
        print("from the pool:", password.get_secret_value())
        os.write(1, f"past Python: {password.get_secret_value()}\n".encode())
        Path(gate).unlink()

    pool.submit(work)


@job
def opens_the_gate(gate: str) -> None:
    """Ends when the thread that waits at the gate has gone through, or its process has ended."""
    Path(gate).touch()
    waiting = Path("/proc", Path(f"{gate}.pid").read_text())
    while Path(gate).exists() and waiting.exists():
        time.sleep(0.01)


@job
def closes_everything(context: JobContext) -> None:
    """Closes every descriptor of its process."""
    os.closerange(0, 1024)
    time.sleep(600)


@job
def thread_left(context: JobContext) -> None:
    """Leaves a thread behind that never ends."""
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()


@job
def swallows(context: JobContext, ledger: str) -> None:
    """Catches every exception there is, and goes on."""
    tell(ledger, os.getpid())
    while True:
        try:
            time.sleep(600)
        except BaseException:
            tell(ledger, "swallowed")


@job
def hops(context: JobContext, ledger: str) -> None:
    """Leaves its session's group, its folder and its signal handlers behind."""
    os.setpgid(0, 0) if os.getpgid(0) != os.getpid() else None
    os.chdir("/")
    os.environ["SOMETHING"] = "else"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    tell(ledger, os.getpid())


@job
def where(context: JobContext, ledger: str) -> None:
    tell(ledger, os.getpid(), os.getcwd())


@job
def counts_users(ledger: str) -> None:
    """Uses the database as any job does."""
    tell(ledger, get_user_model().objects.count(), connection.in_atomic_block, connection.get_autocommit())


@job
def uses_database(context: JobContext, ledger: str, gate: str) -> None:
    """Holds a connection, waits, and uses it again."""
    get_user_model().objects.count()
    tell(ledger, context.job_id)
    while not Path(gate).exists():
        time.sleep(0.01)
    get_user_model().objects.count()


@job
def sleeps_in_the_database(context: JobContext, seconds: int) -> None:
    """Waits for one long statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {'pg_sleep' if connection.vendor == 'postgresql' else 'SLEEP'}(%s)", [seconds])


@job(isolation="process")
def hangs_at_exit() -> None:
    """Leaves an exit function that never returns, and lets no other thread run: as libraries in C do."""
    atexit.register(ctypes.PyDLL(None).pause)


@job(isolation="process", max_attempts=3)
def isolated_again(context: JobContext, ledger: str) -> None:
    tell(ledger, context.job_id, os.getpid())


@job(isolation="process")
def waits_alone(context: JobContext, ledger: str) -> None:
    tell(ledger, context.job_id, os.getpid())
    time.sleep(600)


@job
def takes_shop(shop: Shop) -> None:
    """Needs a row that may be gone by the time it runs."""


@job
def cleanup(ledger: str) -> None:
    """Tidies up when it is aborted."""
    try:
        tell(ledger, "begin")
        time.sleep(600)
    finally:
        tell(ledger, "tidy")


@job
def forks(context: JobContext) -> None:
    """Lets a fork run out of the handler."""
    if not (pid := os.fork()):
        raise RuntimeError("the fork")
    os.waitpid(pid, 0)
    context.add_log("the original")


def hold(ledger: str, place: str, seconds: float) -> None:
    """Tells the ledger if another process is in the same place; a lock of the system goes with its process."""
    with Path(f"{ledger}.{place}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(ledger, "two", os.getpid())
            return
        tell(ledger, "one", os.getpid())
        time.sleep(seconds)


@job(max_concurrency=1, max_attempts=100, backoff=lambda attempt: 0)
def alone(ledger: str, number: int = 0, seconds: float = 0.1) -> None:
    """One at a time, over all workers."""
    hold(ledger, "all", seconds)


@job(max_concurrency=1, concurrency_key="shop")
def alone_for_each(context: JobContext, ledger: str, shop: str, gate: str = "") -> None:
    """One at a time for each shop."""
    tell(ledger, context.job_id, shop)
    while gate and not Path(gate).exists():
        time.sleep(0.01)


@job(rate_limit="3/s")
def three_in_a_second(context: JobContext, ledger: str) -> None:
    tell(ledger, context.job_id, time.time())


def live(context: JobContext, folder: str, seconds: float, by_clock: bool) -> None:
    """Keep a file that says when this attempt began, when it was last alive, in which worker, and if it returned.

    *seconds* of the clock, or of its own life: while its process is stopped only the clock goes on.
    """
    begun = time.monotonic()
    with (Path(folder) / f"{context.job_id}.{context.attempt}.{os.getpid()}").open("xb", buffering=0) as file:
        for lived in itertools.count():
            now = time.monotonic()
            is_over = (now - begun if by_clock else lived * 0.01) >= seconds
            os.pwrite(file.fileno(), SPAN.pack(begun, now, os.getppid(), is_over), 0)
            if is_over:
                return
            time.sleep(0.01)


@job(max_attempts=50, backoff=lambda attempt: 0)
def live_again(context: JobContext, folder: str, seconds: float, by_clock: bool) -> None:
    live(context, folder, seconds, by_clock)


@job
def live_once(context: JobContext, folder: str, seconds: float, by_clock: bool) -> None:
    live(context, folder, seconds, by_clock)


@job
def bend(ledger: str, names: str) -> None:
    """Does things to its process that the next job must not notice."""
    tell(ledger, "bent", os.getpid())
    for name in names.split(","):
        BENDS[name]()


@job
def look(ledger: str) -> None:
    """Says in which process it runs, how that looks, and what it draws by lot."""
    found = state()
    print("seen")
    tell(ledger, "seen", os.getpid(), random.getrandbits(64), found.encode().hex())


@job
def run_sql(statements: list[str], succeed: bool = True) -> None:
    """Runs statements that leave something in the session of the database."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    if not succeed:
        raise ValueError("after the statements")


@job
def ask_sql(ledger: str, query: str) -> None:
    """Says what a query finds."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        tell(ledger, *cursor.fetchone())


@job
def raw_session(ledger: str, name: str, value: str) -> None:
    """Changes the driver's side of the session."""
    connection.ensure_connection()
    setattr(connection.connection, name, json.loads(value))


@job
async def count_asynchronously(ledger: str) -> None:
    tell(ledger, os.getpid(), await get_user_model().objects.acount())


@job
def count_in_a_thread(ledger: str) -> None:
    """Uses the database in the thread of an executor that lives as long as its process."""
    tell(ledger, os.getpid(), executor.submit(get_user_model().objects.count).result())


@job
def wraps_queries(close: bool = False) -> None:
    """Opens its connection with a wrapper around its queries, and leaves another wrapper on it."""

    def wrapper(execute, *given):
        return execute(*given)

    with connection.execute_wrapper(wrapper):
        get_user_model().objects.count()
    connection.execute_wrappers.append(wrapper)
    if close:
        connection.close()


@job
def tell_wrappers(ledger: str) -> None:
    connection.ensure_connection()  # its receivers add theirs then
    counters = sum(isinstance(each, QueryCounter) for each in connection.execute_wrappers)
    tell(ledger, os.getpid(), len(connection.execute_wrappers) - counters, counters)


@job
def leaves_a_block_in_a_thread(ledger: str) -> None:
    """Enters a transaction in the thread of an executor, and does not leave it."""

    def work() -> int:
        kept.append(transaction.atomic())
        kept[-1].__enter__()
        return get_user_model().objects.count()

    tell(ledger, os.getpid(), executor.submit(work).result())


@job
def closes_raw_connection() -> None:
    """Closes the driver's connection past Django."""
    connection.ensure_connection()
    connection.connection.close()


@job
def creates_user(name: str) -> None:
    get_user_model().objects.create(username=name)


@job
def meet(ledger: str) -> None:
    """Says by which session it uses the database, and waits for a second job to do the same."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        tell(ledger, os.getpid(), *cursor.fetchone())
        while len(Path(ledger).read_text().splitlines()) < 2:
            time.sleep(0.01)
        cursor.execute("SELECT pg_backend_pid()")
        tell(ledger, os.getpid(), *cursor.fetchone())


@job
def prints_through_subprocess() -> None:
    sys.stdout.buffer.write(b"bytes\n")
    subprocess.run(["echo", "by a subprocess"], check=True, stdout=sys.stdout)
    subprocess.run(["sh", "-c", "echo its errors >&2"], check=True, stderr=sys.stderr)


@job(max_attempts=3)
def prints_past_python(text: str) -> None:
    """As C libraries and other programs do."""
    os.write(1, f"{text}\n".encode())


@job
def empties_the_buffers_of_libraries() -> None:
    ctypes.CDLL(None).fflush(None)


@job
def goes_on_printing(context: JobContext, password: Secret[str]) -> None:
    """Leaves work in an executor that prints its secret by every way there is."""
    secret = password.get_secret_value()

    def work() -> None:
        while True:
            print("printed", secret)
            context.add_log(f"added {secret}")
            os.write(1, f"written {secret}\n".encode())
            time.sleep(0.001)

    executor.submit(work)


@job
def sends_event(last_act: bool) -> None:
    """Tells an error tracker something, as the last thing that it does; or fails."""
    import sentry_sdk

    if not last_act:
        raise ValueError("no such luck")
    sentry_sdk.capture_message("the last act")


@job
def walk(context: JobContext, ledger: str, count: int, gate: str, dies_at: int = -1) -> None:
    """Goes over numbers. It waits at the item 2 until it is to end or *gate* exists, and dies at another one, once."""
    suspend_requested = context._for_loops[1]
    for number in context.iterate(range(count), text="number {index}"):
        tell(ledger, number, os.getpid())
        context.add_results_row(number, Cell("odd", error="odd") if number == 1 else "even")
        while number == 2 and not (Path(gate).exists() or suspend_requested()):
            time.sleep(0.01)
        died = Path(f"{gate}.died")
        if number == dies_at and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@job
def walk_throttled(context: JobContext, ledger: str, count: int, gate: str) -> None:
    """Goes over numbers. It waits before the item 2 until *gate* exists."""
    throttle = lambda: 0 if context.checkpoint != 1 or Path(gate).exists() else 600  # noqa: E731
    for number in context.iterate(range(count), throttle=throttle):
        context.save_checkpoint(number)
        tell(ledger, number)


@job
async def walk_in_a_coroutine(context: JobContext, ledger: str, gate: str) -> None:
    """Goes over all shops. It waits at the third one until it is to end or *gate* exists."""
    suspend_requested = context._for_loops[1]
    done = await context.acheckpoint() or 0
    async for _ in context.aiterate(Shop.objects):
        tell(ledger, done)
        while done == 2 and not (Path(gate).exists() or suspend_requested()):
            await asyncio.sleep(0.01)
        done += 1
        await context.asave_checkpoint(done)


@job
async def among_callbacks(ledger: str) -> None:
    """Waits while its event loop does nothing but run a callback, which takes long."""
    loop = asyncio.get_running_loop()

    def call() -> None:
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            pass
        loop.call_soon(call)

    loop.call_soon(call)
    tell(ledger, "begun")
    try:
        await asyncio.Event().wait()
    finally:
        tell(ledger, "cleaned")


@job(max_attempts=100, backoff=lambda attempt: 0, atomic="chunk")
def count_once(context: JobContext, ledger: str, dies_every: int) -> None:
    """Appends a letter to the name of each shop. Its process dies again and again."""
    for number, shop in enumerate(context.iterate(Shop.objects, chunk=3)):
        shop.name += "x"
        shop.save()
        tell(ledger, shop.pk)
        if number == dies_every:
            os.kill(os.getpid(), signal.SIGKILL)


def stand_still_after(ledger: str, word: str) -> Any:
    """For ``execute_wrapper()``: stop this process behind the first statement on a job's tables with this word."""

    def execute(execute: Callable[..., Any], sql: str, *more: Any) -> Any:
        result = execute(sql, *more)
        if sql.startswith(word) and "qorworker_" in sql:
            tell(ledger, f"stands {os.getpid()}")
            os.kill(os.getpid(), signal.SIGSTOP)
        return result

    return execute


@job(max_attempts=2, backoff=lambda attempt: 0, atomic="chunk")
def stand_still_at_a_checkpoint(context: JobContext, ledger: str) -> None:
    """Goes over numbers. The process of the first attempt stops between the first checkpoint and its commit."""
    with connection.execute_wrapper(stand_still_after(ledger, "UPDATE")) if context.attempt == 1 else nullcontext():
        for number in context.iterate(range(6), chunk=3):
            Shop.objects.create(name=f"of {number}")


@job(max_attempts=2, backoff=lambda attempt: 0, atomic=True)
def stand_still_at_the_end(context: JobContext, ledger: str) -> None:
    """The process of the first attempt stops between the record of its end and the commit."""
    if context.attempt == 1:
        connection.execute_wrappers.append(stand_still_after(ledger, "INSERT"))
    Shop.objects.create(name="of 0")


@job(max_attempts=2, backoff=lambda attempt: 0)
def stand_still_as_it_asks(context: JobContext, ledger: str) -> None:
    """The process of the first attempt stops between its question and the commit. The second one asks nothing."""
    if context.attempt == 1:
        connection.execute_wrappers.append(stand_still_after(ledger, "INSERT"))
        context.ask("Go on?", go=bool)


@job(atomic="chunk")
def count_without_end(context: JobContext) -> None:
    """Goes over numbers in one transaction after the other, until it is aborted."""
    for _ in context.iterate(range(10**9), chunk=10):
        time.sleep(0.01)


@job(atomic="chunk")
def mark_slowly(context: JobContext, gate: str) -> None:
    """Appends a letter to the name of each shop, some in a transaction. Each attempt marks 45 until *gate* exists."""
    marked = 0
    throttle = lambda: 600 if marked == 45 and not Path(gate).exists() else 0  # noqa: E731
    for shop in context.iterate(Shop.objects, chunk=3, throttle=throttle):
        Shop.objects.filter(pk=shop.pk).update(name=Concat("name", Value("x")))
        marked += 1
        time.sleep(0.03)


@job(max_concurrency=1)
def walk_alone(context: JobContext, ledger: str, gate: str) -> None:
    """Goes over numbers until *gate* exists. Only one such job runs at a time."""
    for number in context.iterate(range(10**6)):
        tell(ledger, number)
        if Path(gate).exists():
            return
        time.sleep(0.02)


@job(on_row_errors="done")
def walk_late(context: JobContext, ledger: str, gate: str) -> None:
    """Begins its loop once *gate* exists, stays in it until *gate*.end does or it is to end, and catches that."""
    suspend_requested = context._for_loops[1]
    tell(ledger, "waits")
    while not Path(gate).exists():
        time.sleep(0.01)
    try:
        for number in context.iterate(range(3)):
            tell(ledger, number)
            while number == 1 and not (Path(f"{gate}.end").exists() or suspend_requested()):
                time.sleep(0.01)
    except BaseException:
        tell(ledger, "caught")


wait_with = job_of_command("waitwith", name="testapp.wait_with", secrets=["--token"])


@job(max_attempts=3)
def adds_up(context: JobContext, number: int = 0, ledger: str = "") -> int:
    """Returns its number and all that the jobs before it returned."""
    if ledger:
        tell(ledger, context.job_id)
    return number + sum(parent.result for parent in context.parents)


@job
def ask_and_die(context: JobContext, ledger: str, gate: str, dies: bool = False) -> int:
    """Asks for a number. Once the question is stored, its process dies, once, or waits until *gate* exists."""
    tell(ledger, "asks")
    try:
        number: int = context.ask("Which number?", number=int).number
    except BaseException:
        tell(ledger, "suspended", os.getpid())
        died = Path(f"{gate}.died")
        if dies and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        while not Path(gate).exists():
            time.sleep(0.01)
        raise
    tell(ledger, "goes on")
    return number


@job(max_attempts=2, backoff=lambda attempt: 0)
def die_after_the_answer(context: JobContext, ledger: str) -> int:
    """Asks for a number, and dies as soon as it has got one, once."""
    number: int = context.ask("Which number?", number=int).number
    tell(ledger, number)
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number
