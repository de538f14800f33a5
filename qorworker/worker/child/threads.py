"""Waits for the threads of a job to end, or to become idle. Child process."""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections import Counter
from concurrent.futures import thread as executors
from types import FrameType
from typing import Any

GRACE = 1.0  # seconds that a job's threads may run on after it returned
POLL_INTERVAL = 0.005  # seconds
BEGINNING = 0.05  # seconds within which a thread that has taken work begins it, also on a busy machine

_idle_code = executors._worker.__code__


def still_running(grace: float = GRACE) -> bool:
    """Wait up to *grace* seconds for a job's threads and its executors' work. Return whether some still run.

    It does not wait for daemon threads, as at the end of any Python program. Idle threads of an executor are no
    leftovers: they may be used again.
    """
    begun = time.monotonic()
    end = begun + grace
    while _thread._count():
        busy = _busy()
        if not busy:
            if time.monotonic() < begun + BEGINNING and _is_work_on_its_way():
                time.sleep(POLL_INTERVAL)
                continue
            return False
        threads = {thread.ident: thread for thread in threading.enumerate()}
        awaited = [ident for ident in busy if ident in threads and not threads[ident].daemon]
        if not awaited or time.monotonic() > end:
            return True
        time.sleep(POLL_INTERVAL)
    return False


def _busy() -> list[int]:
    own = threading.get_ident()
    return [ident for ident, frame in sys._current_frames().items() if ident != own and not _is_idle(frame)]


def _is_work_on_its_way() -> bool:
    """Whether an executor has given out work that none of its threads shows.

    Between the queue and its first step a thread looks idle. But its place among the idle ones was taken when the
    work was submitted. That a place is missing proves nothing, as another thread may have been faster.
    """
    idle: Counter[Any] = Counter()
    for frame in sys._current_frames().values():
        if frame.f_code is _idle_code and (executor := frame.f_locals["executor_reference"]()) is not None:
            idle[executor] += 1
    return any(executor._idle_semaphore._value < count for executor, count in idle.items())


def _is_idle(frame: FrameType) -> bool:
    """Whether the thread with this top frame belongs to an executor and has no work."""
    if frame.f_code is not _idle_code:
        return False
    local = frame.f_locals
    return local.get("work_item") is None and local["work_queue"].empty()
