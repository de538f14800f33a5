"""Watches files for writes, with Linux's inotify. On other systems, and where files may change unseen, it refuses."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable

from qorworker.system.processes import LINUX, libc

IN_MODIFY, IN_ONESHOT = 0x2, 0x80000000
FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
# Numbers of file systems whose files only this machine's kernel writes: ext, XFS, Btrfs, tmpfs, overlay, ZFS, F2FS.
LOCAL = {0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630, 0x2FC12FC1, 0xF2F52010}
STATFS_BYTES = 256  # more than any system's


class FileWatch:
    """A descriptor that becomes readable with the first write to one of some files after ``arm``."""

    def __init__(self) -> None:
        """Open the descriptor.

        :raises OSError: if the system offers none.
        """
        if not LINUX:
            raise OSError(errno.ENOSYS, "inotify is a part of Linux")
        self._descriptor = _checked(libc().inotify_init1(FLAGS))

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._descriptor

    def arm(self, paths: Iterable[str]) -> None:
        """Watch these files until the next write to each.

        :raises OSError: if one of them does not exist, lies on a file system that others may write to, or too many are
            watched.
        """
        for path in paths:
            if _file_system(path) not in LOCAL:
                raise OSError(errno.EOPNOTSUPP, "another machine may write to its file system", path)
            _checked(libc().inotify_add_watch(self._descriptor, os.fsencode(path), IN_MODIFY | IN_ONESHOT))

    def clear(self) -> None:
        """Forget the writes so far."""
        try:
            while os.read(self._descriptor, 65536):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self._descriptor)


def _file_system(path: str) -> int:
    """Return the number of the kind of file system, the first field of the C structure ``statfs``."""
    buffer = ctypes.create_string_buffer(STATFS_BYTES)
    _checked(libc().statfs(os.fsencode(path), buffer))
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
