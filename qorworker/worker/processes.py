"""What Linux can tell and do about processes: who is alive, who descends from whom, who must die with whom.

Used by the parent, the template and the children. Elsewhere than on Linux each function says "not known".
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LINUX = sys.platform == "linux"
COOKIE = "QORWORKER_COOKIE"  # in the environment of every process that a worker starts
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    if LINUX and ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")


def die_with_parent(parent: int) -> None:
    """Have this process killed when *parent* dies; leave at once if it already has."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies, so that none can slip away."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def volunteer_for_the_memory_killer() -> None:
    """If memory runs out the job goes, not the worker."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")


def monotonic() -> float:
    """Seconds on a clock that goes on while the machine sleeps, so that a lease is not outslept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if LINUX else time.monotonic()


@dataclass(frozen=True)
class Identity:
    """Tells one process from every other, also from a later one with the same number."""

    host: str
    process_id: int
    boot_id: str
    pid_namespace: str
    process_started: int


def identity() -> Identity:
    """The identity of this process; empty fields where the system does not tell."""
    boot_id = namespace = ""
    with contextlib.suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return Identity(socket.gethostname(), os.getpid(), boot_id, namespace, started(os.getpid()) or 0)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name: state, parent, group, …"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def started(pid: int) -> int | None:
    """When the process with this number started, in clock ticks after boot; None if there is none."""
    fields = _stat(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def provably_gone(pid: int, since: int) -> bool:
    """Whether the process with this number that started then is no more. Not if it may only be hidden from us."""
    begun = started(pid)
    if begun is not None or _stat(pid) is not None:
        return begun != since
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return started(pid) != since


def is_gone(pid: int) -> bool:
    """Whether no process of this machine has this number, or only one that waits to be noticed."""
    if started(pid) is not None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _stat(pid) is not None  # else it may only be hidden from us


def children_of(pid: int) -> list[int]:
    """Direct children of a process, adopted ones and zombies too."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        found: list[int] = []
        for task in tasks:
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        return found
    except OSError:
        return [other for other in _numbers() if (fields := _stat(other)) and int(fields[1]) == pid]


def _numbers() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def with_cookie(cookie: str) -> list[int]:
    """Processes of this machine that were started, however indirectly, by the worker with this cookie."""
    wanted = f"{COOKIE}={cookie}".encode()
    found = []
    for pid in _numbers():
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def sweep(cookie: str) -> int:
    """Kill what a dead worker left behind on this machine; how many processes were found."""
    killed = 0
    for pid in with_cookie(cookie) if cookie else ():
        if pid != os.getpid() and kill_verified(pid, cookie):
            killed += 1
    return killed


def kill_verified(pid: int, cookie: str) -> bool:
    """Kill a process through a handle that cannot come to mean another one."""
    try:
        handle = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return False
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"{COOKIE}={cookie}".encode() not in environment:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def share(pid: int) -> int:
    """Bytes of memory that a process adds to the machine: pages that several share count in part for each."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return resident(pid)
    return 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
