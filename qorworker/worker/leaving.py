"""The signal that has a child hand back the attempts that wait in it. Fork server, parent and children."""

from __future__ import annotations

import signal

# A real-time signal, which jobs and libraries leave alone. None where the system has none.
LEAVE_SIGNAL: int | None = signal.SIGRTMIN + 5 if hasattr(signal, "SIGRTMIN") else None
