"""How much memory there is: on this machine, or in the container around this process. All processes."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
LARGE = 4  # a process with a quarter of the memory is among those that the system ends when there is none left


@cache
def total() -> int:
    """Bytes; 0 where the system does not tell."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            found.append(int(Path(path).read_text()))
    return min(found, default=0)


def probably_ran_out(peak: int | None) -> bool:
    """Whether a process that was killed, and had held so many bytes, was probably killed for that."""
    return bool(peak) and (peak or 0) * LARGE >= total()
