"""Clocks that show what a trial wants, for processes of others: a library goes before the C library's functions.

Only the time of day is wrong, as on a machine whose clock was set: the clocks that count from the start of the machine,
and all waits, are as they are. (libfaketime 0.9.10 makes ``time.sleep()`` of Python 3.13 fail.)
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offset;

static int64_t seconds(void) {
    const char *path = getenv("QORWORKER_TEST_CLOCK");
    if (!offset && path) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            void *memory = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
            if (memory != MAP_FAILED) offset = memory;
            close(file);
        }
    }
    return offset ? *offset : 0;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, id, now);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += seconds();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


class Clock:
    """Goes wrong by a number of seconds for the processes that have its *variables* in their environment."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"clock-{name}"
        self.path.write_bytes(bytes(8))
        self.path.chmod(0o644)
        with self.path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 8)
        self.variables = {"LD_PRELOAD": str(library(folder)), "QORWORKER_TEST_CLOCK": str(self.path)}
        self.offset = 0

    def go_wrong(self, seconds: int) -> None:
        self.memory[:] = struct.pack("=q", seconds)
        self.offset = seconds


def is_possible() -> bool:
    return shutil.which("cc") is not None


def library(folder: Path) -> Path:
    """Compile it once for each folder."""
    path = folder / "clock.so"
    if not path.exists():
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(path), "-x", "c", "-"]
        subprocess.run(command, input=SOURCE, text=True, check=True)
        path.chmod(0o755)
    return path
