"""Processes of this machine: whether they live, their family, signals, memory. Parent, fork server and children.

On other systems than Linux the functions answer "unknown".
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import signal
import socket
import sys
import termios
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LINUX = sys.platform == "linux"
COOKIE = "QORWORKER_COOKIE"  # in the environment of every process that a worker starts, or the name of a mapping
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MFD_CLOEXEC = 1
IONBF = 2  # of setvbuf: no buffer


@cache
def libc() -> ctypes.CDLL:
    """Return the C library."""
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if LINUX and libc().prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")


def die_with_parent(parent: int) -> None:
    """Have this process killed when *parent* dies. Exit at once if it is dead already."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def bytes_in(pipe: int) -> int:
    """Return how many bytes wait in a pipe, given either end: 0 where the system cannot tell."""
    count = array("i", [0])
    try:  # once for each job: a context manager takes longer
        fcntl.ioctl(pipe, termios.FIONREAD, count)
    except OSError:
        return 0
    return count[0]


def unbuffer_output() -> None:
    """Have C libraries print at once. From their buffer it would come out in a later job of this process, or never."""
    with contextlib.suppress(ValueError):  # a C library without this name for it
        stream = ctypes.c_void_p.in_dll(libc(), "stdout" if LINUX else "__stdoutp")
        libc().setvbuf(stream, None, IONBF, ctypes.c_size_t(0))


def outlive_parent() -> None:
    """Take ``die_with_parent`` back."""
    _prctl(PR_SET_PDEATHSIG, 0)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that none can escape."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def prefer_for_oom_kill() -> None:
    """Make this process the preferred victim when memory runs out: the job dies, not the worker."""
    with contextlib.suppress(OSError):
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(file, b"800")
        finally:
            os.close(file)


def close_input() -> None:
    """Let standard input be at its end."""
    empty = os.open(os.devnull, os.O_RDONLY)
    if empty:  # else it was closed
        os.dup2(empty, 0)
        os.close(empty)


def monotonic() -> float:
    """Return seconds of a clock that runs on while the machine sleeps, as leases do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if LINUX else time.monotonic()


def default_processes() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Identity:
    """Distinguishes a process from all others, also from a later one with the same number."""

    host: str
    process_id: int
    boot_id: str
    pid_namespace: str
    process_started: int


def identity() -> Identity:
    """Return the identity of this process, with empty fields where the system does not tell."""
    boot_id = namespace = ""
    with contextlib.suppress(OSError):
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    return Identity(socket.gethostname(), os.getpid(), boot_id, namespace, started(os.getpid()) or 0)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the name: state, parent, group, …"""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def started(pid: int) -> int | None:
    """Return when the process with this number started, in clock ticks after boot. None if there is none."""
    fields = _stat(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def has_ended(pid: int) -> bool:
    """Return whether a process has ended with all its threads, and so has passed on its children.

    It may be a zombie.
    """
    fields = _stat(pid)
    return fields is None or (fields[0] in ("Z", "X") and int(fields[17]) <= 1)


def provably_gone(pid: int, since: int | None = None) -> bool:
    """Return whether a process has certainly ended, and is not merely hidden from this one.

    :param pid: its number; a zombie counts as gone.
    :param since: when it started, in clock ticks after boot: if another process has the number now, it is gone.
        None: any process with this number counts as the one that is meant.
    """
    start = started(pid)
    if start is not None:
        return since is not None and start != since
    if _stat(pid) is not None:
        return True
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False  # hidden, or started this very moment


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process, also adopted ones and zombies."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        return [child for task in tasks for child in _children_of_thread(pid, int(task))]
    except OSError:
        return [other for other in _numbers() if (fields := _stat(other)) and int(fields[1]) == pid]


def own_children() -> list[int]:
    """Return the children of this process, if it has a single thread: ten times as fast as ``children_of``."""
    try:
        return _children_of_thread(os.getpid(), os.getpid())
    except OSError:
        return children_of(os.getpid())


def _children_of_thread(pid: int, thread: int) -> list[int]:
    file = os.open(f"/proc/{pid}/task/{thread}/children", os.O_RDONLY)
    try:
        text = b""
        while part := os.read(file, 1 << 16):
            text += part
    finally:
        os.close(file)
    return [int(number) for number in text.split()]


def group_of(pid: int) -> int:
    """Return the process group of a process or zombie. 0 if there is none."""
    fields = _stat(pid)
    return int(fields[2]) if fields is not None else 0


def session_of(pid: int) -> int:
    """Return the session of a process or zombie. 0 if there is none."""
    fields = _stat(pid)
    return int(fields[3]) if fields is not None else 0


def _numbers() -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def can_mark() -> bool:
    """Return whether this system has what ``mark`` needs."""
    return LINUX and hasattr(libc(), "memfd_create")


def mark(cookie: str) -> None:
    """Give a forked process a cookie, and with it all that it starts.

    The system shows the environment with which a program was started. So a process without a program of its own also
    gets a mapping with the cookie as its name. Programs that it starts lose that, and have the environment.
    """
    entry = f"{COOKIE}={cookie}"
    file = libc().memfd_create(entry.encode(), MFD_CLOEXEC)  # Python lacks it where it was built on an old system
    if file < 0:
        raise OSError(ctypes.get_errno(), "memfd_create failed")
    try:
        length, offset = ctypes.c_size_t(os.sysconf("SC_PAGE_SIZE")), ctypes.c_long(0)
        # The module mmap would keep a descriptor of it open.
        if libc().mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file, offset) == -1:
            raise OSError(ctypes.get_errno(), "mmap failed")
    finally:
        os.close(file)
    os.environ[COOKIE] = cookie


def with_cookie(cookie: str) -> list[int]:
    """Return the processes of this machine that the worker with this cookie started, directly or not."""
    return [pid for pid in _numbers() if _has_cookie(pid, cookie)]


def _has_cookie(pid: int, cookie: str) -> bool:
    entry = f"{COOKIE}={cookie}".encode()
    with contextlib.suppress(OSError):
        if entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return True
        return b"/memfd:%b (deleted)\n" % entry in Path(f"/proc/{pid}/maps").read_bytes()
    return False


def await_end(cookie: str, timeout: float) -> None:
    """Give what a dead worker left behind on this machine *timeout* seconds to end by itself.

    Its fork server ends all that its jobs have started. No other process finds those without the cookie, so it must not
    be killed before it has done that. If it was stopped, it goes on.
    """
    deadline = monotonic() + timeout
    pids = with_cookie(cookie) if cookie else []
    for pid in pids:
        signal_verified(pid, cookie, signal.SIGCONT)
    while pids and monotonic() < deadline:
        time.sleep(0.01)
        pids = with_cookie(cookie)


def kill_with_cookie(cookie: str, timeout: float = 5.0) -> int:
    """Kill what a dead worker left behind on this machine until a look finds none. Return how many were killed.

    It gives up after *timeout* seconds.
    """
    killed: set[int] = set()
    deadline = monotonic() + timeout
    while cookie and monotonic() < deadline:
        pids = [pid for pid in with_cookie(cookie) if pid != os.getpid()]
        if not pids:
            break
        ended = {pid for pid in pids if signal_verified(pid, cookie, signal.SIGKILL)}
        if not ended:
            break
        killed |= ended
        time.sleep(0.001)
    return len(killed)


def signal_verified(pid: int, cookie: str, number: int) -> bool:
    """Send a signal to a process with this cookie, through a handle that can never mean another process."""
    try:
        handle = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return False
    try:
        if not _has_cookie(pid, cookie):
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def signal_child(parent: int, pid: int, number: int) -> None:
    """Send a signal to a process if it is a child of *parent*."""
    try:
        handle = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return
    try:
        fields = _stat(pid)
        if fields is not None and int(fields[1]) == parent:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def proportional_memory(pid: int) -> int:
    """Return the proportional memory of a process in bytes: shared pages count in part."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return resident_memory(pid)
    return 1024 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def resident_memory(pid: int) -> int:
    """Return the resident memory of a process in bytes. 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
