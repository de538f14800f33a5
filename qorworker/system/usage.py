"""What a process and its descendants use, as the system tells: memory and processor time. Parent, or a job's process.

Only Linux tells. Reading takes some 50 µs for each process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from qorworker.system import processes

TICKS = os.sysconf("SC_CLK_TCK")  # in a second
MOST = 200  # processes that are looked at


class Usage(NamedTuple):
    """What some processes use together."""

    memory: int = 0  # resident, in bytes; what processes share counts for each of them
    cpu: float = 0.0  # seconds of processor time, also of descendants that have ended


def usage_of(pid: int) -> Usage | None:
    """Return what the process with this number and its descendants use; None if that is not known."""
    own = _usage(pid)
    if own is None:
        return None
    used = [own, *(each for each in map(_usage, _descendants(pid)) if each is not None)]
    return Usage(sum(each.memory for each in used), sum(each.cpu for each in used))


def _usage(pid: int) -> Usage | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = text[text.rindex(")") + 2 :].split()
        return Usage(processes.resident_memory(pid), sum(map(int, fields[11:15])) / TICKS)
    except (OSError, ValueError, IndexError):
        return None


def _descendants(pid: int) -> Iterator[int]:
    found = [pid]
    for number, parent in enumerate(found):
        children = processes.children_of(parent) if processes.LINUX else []
        found += children[: max(0, MOST - len(found))]
        if number:
            yield parent


def state_of(pid: int) -> str:
    """Return the state of a process as the system calls it, such as ``D (disk sleep)``; empty if unknown."""
    return _status(pid).get("State", "")


def catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal and does not block it, so that the signal cannot end it."""
    status = _status(pid)
    try:
        caught, blocked = (int(status[name], 16) for name in ("SigCgt", "SigBlk"))
    except (KeyError, ValueError):
        return False
    return bool(caught & ~blocked & 1 << number - 1)


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
