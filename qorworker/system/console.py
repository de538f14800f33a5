"""Standard error of the worker, which its children keep: what they print themselves goes to the logs of jobs. Pure."""

from __future__ import annotations

import io
import os

ERR = 2  # the descriptor

_kept = ERR


def keep() -> None:
    """Keep what is standard error now, before something else takes its place. Child process."""
    global _kept
    _kept = os.dup(ERR)


class Console(io.TextIOBase):
    """Standard error of the program that was started, in each of its processes."""

    def write(self, text: str) -> int:
        """Write *text* at once, so that lines of several processes are not mixed."""
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        while rest:
            rest = rest[os.write(_kept, rest) :]
        return len(text)
