"""Crash points: every write to the database and every message of qorworker, at which a process can be killed.

``tests.chaos.settings`` installs this in each process of a trial: in workers, in what these fork, in people. No list
names the points. They are found where they are reached: before and after each statement that commits, each commit, and
each message, with the function of qorworker that it comes from.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import re
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

FOLDER = "QORWORKER_CHAOS_FOLDER"  # in the environment of each process of a trial
SIZE = 65536  # bytes of the file that says what is armed
WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|REPLACE)\b")
DEPTH = 2  # functions that name a place
PLUMBING = ("qorworker.database.", "qorworker.models.sql.inserts", "qorworker.models.sql.parts")
ROLES = {  # the innermost frame of one of these modules says which process it is
    "qorworker.worker.child": "child",
    "qorworker.worker.forkserver": "fork server",
    "qorworker.worker.parent": "parent",
    "qorworker.management": "parent",
    "qorworker.backends.celery.prefork": "celery child",
    "qorworker.backends.celery.tasks": "celery child",
    "qorworker.backends.celery.worker": "celery parent",
}


class Control:
    """What the trial and its processes share: the points that are spared for now, and those that were seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "armed"
        if not path.exists():
            path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), SIZE)

    # In the trial.

    def arm(self, serial: int, spared: Iterable[str]) -> None:
        """From now on the first process that comes to a point that is not *spared* kills itself there."""
        digests = b"".join(map(digest, spared))
        self.memory[8 : 12 + len(digests)] = struct.pack("=I", len(digests)) + digests
        self.memory[:8] = struct.pack("=Q", serial)

    def disarm(self) -> None:
        self.memory[:8] = bytes(8)

    def victim(self, serial: int) -> tuple[int, str] | None:
        """The process that this has killed, and the point."""
        with suppress(FileNotFoundError, ValueError):
            pid, point = (self.folder / f"fired-{serial}").read_text().split("|", 1)
            return int(pid), point
        return None

    def seen(self) -> set[str]:
        path = self.folder / "points"
        return set(path.read_text().splitlines()) if path.exists() else set()


class Hook(Control):
    """In a process of the trial."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.known: dict[str, bytes] = {}
        self.armed = bytes(8)
        self.spared: set[bytes] = set()

    def reach(self, point: str) -> None:
        if point not in self.known:
            self.known[point] = digest(point)
            with (self.folder / "points").open("a") as file:
                file.write(point + "\n")
        if (armed := self.memory[:8]) == bytes(8):
            return
        if armed != self.armed:
            [length] = struct.unpack("=I", self.memory[8:12])
            data = self.memory[12 : 12 + length]
            self.spared = {data[place : place + 8] for place in range(0, length, 8)}
            self.armed = armed
        # Not always at the first visit, which is the one while everything begins.
        if self.known[point] not in self.spared and random.random() < 0.5:
            self.fire(point)

    def fire(self, point: str) -> None:
        [serial] = struct.unpack("=Q", self.armed)
        with suppress(FileExistsError):
            file = REAL_OPEN(self.folder / f"fired-{serial}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            REAL_WRITE(file, f"{os.getpid()}|{point}".encode())
            os.kill(os.getpid(), signal.SIGKILL)


def digest(point: str) -> bytes:
    return hashlib.blake2b(point.encode(), digest_size=8).digest()


REAL_OPEN, REAL_WRITE = os.open, os.write


def install(folder: Path) -> None:
    """Let this process and its forks look for the points."""
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    hook = Hook(folder)
    for name in ("execute", "executemany"):
        setattr(CursorWrapper, name, around_statement(hook, getattr(CursorWrapper, name)))
    BaseDatabaseWrapper._commit = around(hook, "commit", BaseDatabaseWrapper._commit)  # type: ignore[attr-defined]
    os.write = around(hook, "send", os.write)
    for name in ("send", "sendall", "sendmsg"):
        setattr(socket.socket, name, around(hook, "send", getattr(socket.socket, name)))
    if "QORWORKER_TEST_BROKER" in os.environ:
        from celery.app.task import Task

        Task.apply_async = around(hook, "hand-over", Task.apply_async)


def around(hook: Hook, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def hooked(*args: Any, **kwargs: Any) -> Any:
        place = place_of(sys._getframe(1), directly=kind == "send")
        if not place:
            return call(*args, **kwargs)
        hook.reach(f"before {kind} in {place}")
        result = call(*args, **kwargs)
        hook.reach(f"after {kind} in {place}")
        return result

    return hooked


def around_statement(hook: Hook, call: Callable[..., Any]) -> Callable[..., Any]:
    whole = around(hook, "write", call)

    def hooked(self: Any, sql: Any, *args: Any, **kwargs: Any) -> Any:
        commits = self.db.autocommit and not self.db.in_atomic_block and WRITES.search(str(sql)[:4000])
        return (whole if commits else call)(self, sql, *args, **kwargs)

    return hooked


def place_of(frame: FrameType | None, *, directly: bool) -> str:
    """The functions of qorworker from which a call comes, and its process; empty if it comes from elsewhere.

    A message counts only if qorworker itself sends it, *directly*: drivers and brokers have messages of their own.
    """
    names: list[str] = []
    role, nearest = "", True
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("qorworker."):
            if len(names) < DEPTH and not module.startswith(PLUMBING):
                names.append(f"{module[10:]}.{frame.f_code.co_qualname}")
            role = role or next((role for start, role in ROLES.items() if module.startswith(start)), "")
        elif directly and nearest and module != "socket":
            return ""
        nearest = nearest and module == "socket"
        frame = frame.f_back
    return f"{' < '.join(names)} ({role or 'people'})" if names else ""
