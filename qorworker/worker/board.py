"""A file in memory that a child writes and its parent reads at any time, whatever the child does. Parent and children.

Its first page has the number of the attempt that has made the last query, how many queries it has made, and the seconds
that these took. Behind that is the stack that the child was last asked for, as a handler in C has written it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import tempfile

QUERIES = struct.Struct("<QQd")
STACK_AT = mmap.PAGESIZE
STACK_BYTES = 1 << 17


def create() -> int:
    """Return the descriptor of a new board. Raises ``OSError`` if there is no room for it."""
    if hasattr(os, "memfd_create"):
        board = os.memfd_create("qorworker board")
    else:
        board, name = tempfile.mkstemp()
        os.unlink(name)
    os.set_inheritable(board, False)
    clear_stack(board)
    return board


def clear_stack(board: int) -> None:
    """Forget the last stack. The child, which has the same open file, writes the next one in its place."""
    os.ftruncate(board, STACK_AT)
    os.lseek(board, STACK_AT, os.SEEK_SET)


def read_stack(board: int) -> str:
    """Return the stack that the child has written since ``clear_stack``; empty if it has written none."""
    return os.pread(board, STACK_BYTES, STACK_AT).decode("utf-8", "backslashreplace")


def read_queries(board: int, number: int) -> tuple[int, float]:
    """Return how many queries attempt *number* of a child has made, and the seconds that these took."""
    with contextlib.suppress(struct.error):
        of, count, seconds = QUERIES.unpack(os.pread(board, QUERIES.size, 0))
        if of == number and 0 <= seconds < float("inf"):
            return count, seconds
    return 0, 0.0


class Board:
    """The board of this process, which is a child."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._page = mmap.mmap(descriptor, STACK_AT)

    def write_queries(self, number: int, count: int, seconds: float) -> None:
        """Tell how many queries attempt *number* has made, and the seconds that these took."""
        QUERIES.pack_into(self._page, 0, number, count, seconds)
