"""The base class of all backends. All processes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.utils import timezone
from django.utils.translation import gettext as _

from qorworker.exceptions import UnsupportedByBackend

if TYPE_CHECKING:
    from qorworker.models import Job


class BaseBackend:
    """Runs the jobs of one queue.

    The row of a job is always the truth. It is stored, changed and committed before a backend is notified, and the
    attempt that claims it owns it. So a backend may be notified twice, late or not at all, and only time is lost. Its
    flags say what it cannot do: code then gets an error with a reason, and the admin does not offer it.
    """

    is_served_by_workers = False  # ``runworker`` takes the jobs from the table, without notifications
    runs_in_caller = False  # jobs run in the process that enqueues them
    renotify_after = 3600.0  # seconds after which it is notified again of a job that still waits
    may_be_absent = False  # having no living worker is normal for this backend
    supports_schedule = True  # a job may wait for its time
    supports_abort = True  # the abort of a running job can be requested
    supports_pause = True  # so can its pause: a loop then ends between two of its items
    supports_kill = True  # and it is killed, child processes included, if it ignores the request
    supports_priority = True  # jobs with a higher priority start first
    supports_limits = True  # ``timeout`` and ``memory_limit`` are enforced
    supports_output = True  # the log of a job has what its handler prints
    supports_dry_run = False  # jobs can be rehearsed: that takes a process of their own

    known_options: frozenset[str] = frozenset()

    def __init__(self, queue_name: str, options: Mapping[str, Any]) -> None:
        self.queue_name = queue_name
        self.options = options
        if unknown := set(options) - self.known_options:
            raise ValueError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}.")

    @property
    def needs_workers(self) -> bool:
        """Whether its jobs start only if a ``runworker`` is running at all times."""
        return self.is_served_by_workers and not self.may_be_absent

    # Notifications, after the commit of the transaction that caused them. Their errors are logged.

    def jobs_ready(self, jobs: Sequence[Job]) -> None:
        """These jobs can start now: call ``qorworker.attempts.in_process.run_stored`` for each, in whatever process."""

    def jobs_released(self, jobs: Sequence[Job]) -> None:
        """Do what ``jobs_ready`` does for jobs that have waited for others, one of which this process has just ended.

        By default it calls ``jobs_ready``.
        """
        self.jobs_ready(jobs)

    def jobs_waiting(self, jobs: Sequence[Job]) -> None:
        """These jobs wait for their time. Nothing has to be done: ``jobs_ready`` follows when they are due."""

    def abort_requested(self, job: Job) -> None:
        """The abort of a running job was requested. ``JobContext`` reads that from the row of the job by itself."""

    # Answers.

    def check(self) -> list[checks.CheckMessage]:
        """Return the messages of ``manage.py check`` about this backend."""
        return []

    def stalled_reason(self) -> str:
        """Return a sentence for users if jobs of this queue cannot start, because something does not run; else an empty
        text.
        """
        return ""

    def check_supported(self, *, priority: int, run_after: dt.datetime | dt.timedelta | None) -> None:
        """Raise ``UnsupportedByBackend`` for a job with a priority or a time that the backend cannot keep."""
        if priority and not self.supports_priority:
            text = _("The queue “%(queue)s” does not support priorities. Leave the priority at 0.")
            raise UnsupportedByBackend(text % {"queue": self.queue_name})
        if not self.supports_schedule and is_later(run_after):
            text = _("The queue “%(queue)s” cannot keep a job for a later time.")
            raise UnsupportedByBackend(text % {"queue": self.queue_name})

    def check_dry_run(self) -> None:
        """Raise ``UnsupportedByBackend`` if the backend cannot rehearse jobs."""
        if not self.supports_dry_run:
            text = _("The queue “%(queue)s” cannot rehearse jobs: only workers do, each job in a process of its own.")
            raise UnsupportedByBackend(text % {"queue": self.queue_name})

    def check_abort(self) -> None:
        """Raise ``UnsupportedByBackend`` if the backend cannot abort running jobs."""
        if not self.supports_abort:
            text = _("The queue “%(queue)s” cannot end running jobs.")
            raise UnsupportedByBackend(text % {"queue": self.queue_name})

    def check_pause(self) -> None:
        """Raise ``UnsupportedByBackend`` if the backend cannot pause running jobs."""
        if not self.supports_pause:
            text = _("The queue “%(queue)s” cannot pause running jobs.")
            raise UnsupportedByBackend(text % {"queue": self.queue_name})


def is_later(moment: dt.datetime | dt.timedelta | None) -> bool:
    """Return whether a job for this time would have to wait, by the clock of this process."""
    if moment is None:
        return False
    if isinstance(moment, dt.timedelta):
        return moment > dt.timedelta()
    return moment > (timezone.now() if timezone.is_aware(moment) else timezone.make_naive(timezone.now()))
