"""The end of a child: exit functions run as at the end of any program, within a time limit. Child process.

Many libraries send at exit what they have collected: error trackers, metrics, logging.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import time
import weakref
from typing import NoReturn

from qorworker.worker.grace import EXIT_GRACE


def forget_finalizers() -> None:
    """Disable finalizers of the fork server: its temporary folders, for example, belong to all children."""
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False


def exit_process(status: int) -> NoReturn:
    """Run the exit functions and end this process with *status*."""
    try:
        _thread.start_new_thread(_exit_later, (status,))  # a Timer of threading costs three times as much
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is exiting already
        atexit._run_exitfuncs()
    finally:
        os._exit(status)


def _exit_later(status: int) -> NoReturn:
    time.sleep(EXIT_GRACE)
    os._exit(status)
