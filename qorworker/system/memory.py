"""The memory of this machine, or of the container around this process. All processes."""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
LARGE = 4  # the system may kill a process with a quarter of the memory when none is left


@cache
def total() -> int:
    """Return its size in bytes. 0 where the system does not tell."""
    sizes = []
    with contextlib.suppress(OSError, ValueError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            sizes.append(int(Path(path).read_text()))
    return min(sizes, default=0)


def probably_ran_out(peak: int | None) -> bool:
    """Return whether a killed process with this peak of bytes was probably killed for lack of memory."""
    return bool(peak) and (peak or 0) * LARGE >= total()
