"""Job types whose jobs share a child."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async

from qorworker import JobContext, job
from qorworker.worker.leaving import LEAVE_SIGNAL
from tests.testapp.models import Shop


def tell(ledger: str, *words: object) -> None:
    with Path(ledger).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def shared(**options: Any) -> Any:
    """Declare a job type whose jobs share a child. Its name says so."""

    def declare(function: Any) -> Any:
        name = f"testapp.shared_{function.__name__}"
        chosen = {"concurrency": 50, "max_attempts": 3, "backoff": lambda attempt: 0.1, **options}
        return job(name=name, **chosen)(function)

    return declare


@shared()
async def together(context: JobContext, ledger: str, gate: str = "") -> str:
    """Waits until the gate exists."""
    tell(ledger, "begin", context.job_id, os.getpid(), context.attempt)
    try:
        while gate and not Path(gate).exists():
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        tell(ledger, "cancelled", context.job_id)
        raise
    return f"job {context.job_id}"


@shared()
async def chatter(context: JobContext) -> int:
    """Writes in all the ways there are, with pauses in the middle of lines."""
    number, log = context.job_id, logging.getLogger("project")
    for step in range(5):
        print(f"printed {number}", end=" ")
        await asyncio.sleep(0.001)
        print(step)
        log.warning("logged %s %s", number, step)
        await asyncio.to_thread(print, f"thread {number} {step}", file=sys.stderr)
        context.add_log(f"added {number} {step}")
        context.set_progress(step, 5)
        context.add_results_row(number, step)
        await asyncio.sleep(0)
    print(f"rest {number}", end="")
    return number


@shared()
async def endless(context: JobContext, ledger: str) -> None:
    """Never ends when it is cancelled."""
    tell(ledger, "begin", context.job_id, os.getpid(), context.attempt)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            tell(ledger, "ignored", context.job_id)


@shared()
async def forgiving(context: JobContext, ledger: str) -> str:
    """Swallows the request to end, and returns."""
    tell(ledger, "begin", context.job_id, os.getpid(), context.attempt)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        context.add_log("swallowed")
    return "done all the same"


@shared()
async def deadly(context: JobContext, ledger: str, way: str, gate: str = "") -> None:
    """Ends its process."""
    tell(ledger, "begin", context.job_id, os.getpid(), context.attempt)
    while gate and not Path(gate).exists():
        await asyncio.sleep(0.01)
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "exit":
        os._exit(7)
    else:
        os.kill(os.getpid(), signal.SIGSEGV)


class Weird(BaseException):
    """No Exception."""


@shared(max_attempts=2)
async def raises(context: JobContext, kind: str, in_task: bool = False) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        match kind:
            case "exit":
                sys.exit("that was it")
            case "interrupt":
                raise KeyboardInterrupt
            case "cancel":
                raise asyncio.CancelledError
            case "memory":
                raise MemoryError
        raise Weird("out of the ordinary")

    if in_task:
        asyncio.get_running_loop().create_task(fail())
        await asyncio.sleep(0.05)
    else:
        await fail()


@shared()
async def leaves_tasks(context: JobContext, ledger: str) -> str:
    async def go_on() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("a task was ended")
            tell(ledger, "ended", context.job_id)
            raise

    context.state.task = asyncio.create_task(go_on())
    await asyncio.sleep(0.01)
    return "returned"


@shared(timeout=1)
async def slow(context: JobContext, ledger: str) -> None:
    tell(ledger, "begin", context.job_id, os.getpid(), context.attempt)
    await asyncio.sleep(3600)


@shared()
async def blocks(context: JobContext, ledger: str) -> None:
    tell(ledger, "begin", context.job_id, os.getpid(), context.attempt)
    time.sleep(1.5)


@shared()
async def counts_shops(context: JobContext, shop: Shop) -> str:
    return f"{shop.name} of {await Shop.objects.acount()}"


@shared()
async def walks(context: JobContext, ledger: str, gate: str) -> int:
    """Goes over all shops; waits at the third one."""
    done = await context.acheckpoint() or 0
    async for shop in context.aiterate(Shop.objects.all()):
        tell(ledger, "shop", context.job_id, shop.pk, os.getpid())
        done += 1
        while done == 3 and not Path(gate).exists() and not context._for_loops[1]():
            await asyncio.sleep(0.01)
    return done


@shared()
async def throttles(context: JobContext) -> None:
    async for _ in context.aiterate([1, 2, 3], throttle=lambda: 0):
        pass


@shared()
async def secret_output(context: JobContext, ledger: str, gate: str) -> None:
    """Prints past Python."""
    tell(ledger, "begin", context.job_id, os.getpid(), context.attempt)
    os.write(1, b"past Python\n")
    while not Path(gate).exists():
        await asyncio.sleep(0.01)


@shared()
async def forks(context: JobContext, ledger: str) -> str:
    pid = os.fork()
    tell(ledger, "fork" if not pid else "parent", context.job_id)
    await asyncio.sleep(0.05)
    tell(ledger, "after", context.job_id, os.getpid())
    return "returned"


@shared()
async def changes_process(context: JobContext) -> None:
    os.environ["LEFT_BY_SHARED"] = "1"
    os.chdir("/")


@job
def reads_process(context: JobContext) -> list[str]:
    return [os.environ.get("LEFT_BY_SHARED", ""), os.getcwd(), str(os.getpid())]


@shared()
async def quick(context: JobContext, ledger: str, gate: str = "") -> None:
    tell(ledger, context.job_id)
    while gate and not Path(gate).exists():
        await asyncio.sleep(0.01)


@shared(concurrency=5)
async def terms(context: JobContext, ledger: str, number: int) -> int:
    """Every tenth asks its own process to end, and every other one takes a while to do so."""
    tell(ledger, context.job_id)
    if number % 10 == 9:
        os.kill(os.getpid(), signal.SIGTERM)
    try:
        await asyncio.sleep(0.001)
    except asyncio.CancelledError:
        await asyncio.sleep(0.2 * (number % 2))
        raise
    return context.job_id


@shared()
async def closes(context: JobContext, ledger: str, first: int, last: int) -> None:
    """Closes descriptors, as daemons do."""
    tell(ledger, "begin", context.job_id, os.getpid(), context.attempt)
    os.closerange(first, last)
    await asyncio.sleep(3600)


@shared(concurrency=2, timeout=3)
async def limited(context: JobContext, seconds: float) -> None:
    await asyncio.sleep(seconds)


@shared()
async def holds_thread(context: JobContext, ledger: str) -> None:
    tell(ledger, "begin", context.job_id, os.getpid(), context.attempt)
    await sync_to_async(time.sleep)(60)


@shared(concurrency=2)
async def in_places(context: JobContext, ledger: str, way: str = "") -> None:
    """Quick, unless it waits for a gate or ends its process at once."""
    tell(ledger, "begin", context.job_id, context.attempt)
    if way == "exit":
        os._exit(7)
    while way and not Path(way).exists():
        await asyncio.sleep(0.01)


@shared(concurrency=2)
async def sometimes_stuck(context: JobContext, ledger: str, gate: str = "", signals: str = "") -> None:
    """Quick, unless there is a gate for which it waits in C. It may block the signal to leave, or ignore it."""
    tell(ledger, context.job_id)
    if signals == "blocked":
        signal.pthread_sigmask(signal.SIG_BLOCK, {LEAVE_SIGNAL})
    elif signals == "ignored":
        signal.signal(LEAVE_SIGNAL, signal.SIG_IGN)
    if gate:
        _wait_in_c(Path(gate))


def _wait_in_c(gate: Path) -> None:
    """Wait for a file in one call of C, which no signal interrupts: for a mutex that a thread unlocks."""
    library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)

    def unlock() -> None:
        while not gate.exists():
            time.sleep(0.01)
        library.pthread_mutex_unlock(mutex)

    library.pthread_mutex_lock(mutex)
    threading.Thread(target=unlock).start()
    library.pthread_mutex_lock(mutex)


def approval_of(user: Any, job_type: Any, arguments: dict[str, Any]) -> str | None:
    return "testapp.change_shop" if arguments["text"] else None


@shared(approval=approval_of)
async def approved(context: JobContext, text: str = "") -> str:
    """Its arguments are loaded without the database, but not its approvals."""
    return text
