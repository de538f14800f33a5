"""Waits for the threads of a job to end, or to become idle. Child process."""

from __future__ import annotations

import _thread
import sys
import threading
import time
from concurrent.futures import thread as executors
from types import FrameType

GRACE = 1.0  # seconds that a job's threads may run on after it returned
POLL_INTERVAL = 0.005  # seconds

_idle_code = executors._worker.__code__


def still_running(grace: float = GRACE) -> bool:
    """Wait up to *grace* seconds for a job's threads and its executors' work. Return whether some still run.

    It does not wait for daemon threads, as at the end of any Python program. Idle threads of an executor are no
    leftovers: they may be used again.
    """
    end = time.monotonic() + grace
    while _thread._count():
        busy = _busy()
        if not busy:
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


def _is_idle(frame: FrameType) -> bool:
    """Whether the thread with this top frame belongs to an executor and has no work."""
    if frame.f_code is not _idle_code:
        return False
    local = frame.f_locals
    return local.get("work_item") is None and local["work_queue"].empty()
