"""Hold back the jobs of a queue, or of a job type, and let them go again: for code. All processes.

What runs goes on, and jobs are enqueued and scheduled as before: they wait. Workers and other backends notice it within
about a second.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from qorworker.conf import settings
from qorworker.exceptions import UnknownQueue


def pause_queue(
    name: str, *, by: Any = None, reason: str = "", until: dt.datetime | None = None, origin: str = "code"
) -> None:
    """Start no more jobs of the queue *name* until it is resumed, or until a time, at which it goes on by itself.

    *by* is the user who wants it, *reason* a sentence for people; both are shown where jobs wait. A pause of a queue
    that is paused takes the place of the earlier one. Raises ``UnknownQueue``, and ``InvalidPause`` if *until* is past.
    """
    from qorworker.models import Job, Pause, PauseKind

    if name not in settings.QUEUES and not Job.objects.queued().filter(queue_name=name).exists():
        raise UnknownQueue(f"There is no queue {name!r} in QORWORKER['QUEUES'], and no job waits in one called so.")
    Pause.objects.start(PauseKind.QUEUE, name, by=by, reason=reason, until=until, origin=origin)


def resume_queue(name: str, *, by: Any = None, origin: str = "code") -> bool:
    """End the pause of a queue: what waited starts in its turn. False if it was not paused."""
    from qorworker.models import Pause, PauseKind

    return Pause.objects.end(PauseKind.QUEUE, name, by=by, origin=origin)


class Pausable:
    """The same for a job type."""

    name: str

    def pause(
        self, *, by: Any = None, reason: str = "", until: dt.datetime | None = None, origin: str = "code"
    ) -> None:
        """Start no more jobs of this type, in whatever queue, until it is resumed, or until a time.

        Raises ``InvalidPause`` if *until* is past.
        """
        from qorworker.models import Pause, PauseKind

        Pause.objects.start(PauseKind.JOB_TYPE, self.name, by=by, reason=reason, until=until, origin=origin)

    def resume(self, *, by: Any = None, origin: str = "code") -> bool:
        """End the pause of this type. False if it was not paused."""
        from qorworker.models import Pause, PauseKind

        return Pause.objects.end(PauseKind.JOB_TYPE, self.name, by=by, origin=origin)
