"""The signals by which a child is asked to do less, or to say where it is. Fork server, parent and children."""

from __future__ import annotations

import signal

# Real-time signals, which jobs and libraries leave alone. None where the system has none.
_FIRST: int | None = signal.SIGRTMIN + 5 if hasattr(signal, "SIGRTMIN") else None
LEAVE_SIGNAL = _FIRST  # to hand back the attempts that wait in it
SUSPEND_SIGNAL = None if _FIRST is None else _FIRST + 1  # to end the attempt that it runs between two items of a loop
STACK_SIGNAL = None if _FIRST is None else _FIRST + 2  # to send its stack, once its interpreter handles the signal
DUMP_SIGNAL = None if _FIRST is None else _FIRST + 3  # to write its stack at once, in C
