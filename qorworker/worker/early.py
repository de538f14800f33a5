"""Forks the first fork server from the parent, which has loaded the project already. Parent process.

That saves a second start of the project, and both share the memory of its code. It is done at the start of a command,
and only if the project's code has left nothing that two processes must not share: threads, connections, open files
with a position. Otherwise, and whenever a fork server has to be replaced, it is a new program (``launch``).
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import socket
import stat
import subprocess
import sys
import time

from django.db import connections

from qorworker.system import processes
from qorworker.worker.launch import message_socket

POLL_INTERVAL = 0.002  # seconds


class EarlyForkServer:
    """A fork server that was forked from this process, with those methods of ``subprocess.Popen`` that are needed."""

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid, self.control = pid, control
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return its exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # the project's code has reaped it
                self.returncode = 0
            else:
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit status. Raise ``subprocess.TimeoutExpired`` after *timeout* seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("the fork server", timeout or 0.0)
            time.sleep(POLL_INTERVAL)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended: then its number may be that of another process."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork_server_if_safe() -> EarlyForkServer | None:
    """Fork a fork server, which waits for its first message. None if this process must not be forked."""
    if not is_safe():
        return None
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else each process would write what waits there
    gc.freeze()  # the collector writes into all that it looks at, and pages that are written to are no longer shared
    ours, theirs = socket.socketpair(socket.AF_UNIX, message_socket())
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:  # a new program may find more room, later
        ours.close()
        theirs.close()
        return None
    if not pid:
        ours.close()
        from qorworker.worker.forkserver import serve_in_fork  # noqa: PLC0415 - a parent must not load it

        serve_in_fork(theirs, parent)
    theirs.close()
    return EarlyForkServer(pid, ours)


def is_safe() -> bool:
    """Return whether this process has nothing yet that a copy of it must not have."""
    return (
        processes.can_mark()
        and len(os.listdir("/proc/self/task")) == 1
        and not _is_traced()
        and all(connection.connection is None for connection in connections.all(initialized_only=True))
        and all(_can_be_shared(int(name)) for name in os.listdir("/proc/self/fd"))
    )


def _is_traced() -> bool:
    """Whether a debugger or a profiler watches this process: it would watch the copy, too."""
    monitoring = getattr(sys, "monitoring", None)
    tools = [monitoring.get_tool(number) for number in range(6)] if monitoring else []
    return any(tool is not None for tool in (sys.gettrace(), sys.getprofile(), *tools))


def _can_be_shared(descriptor: int) -> bool:
    """Whether it does no harm that two processes have a descriptor, which then also have its position together."""
    try:
        status, flags = os.fstat(descriptor), fcntl.fcntl(descriptor, fcntl.F_GETFL)
        is_inherited = os.get_inheritable(descriptor)
    except OSError:
        return True  # it was that of the listing
    if descriptor <= 2:
        return True
    is_only_read = flags & os.O_ACCMODE == os.O_RDONLY
    is_file = stat.S_ISREG(status.st_mode) or stat.S_ISCHR(status.st_mode)
    return is_file and not is_inherited and bool(is_only_read or flags & os.O_APPEND)
