"""What a place where jobs run must be able to do. Wherever a job is enqueued or asked something."""

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

    The row of a job is always the truth: it is stored, changed and committed before a backend hears of it, and the
    attempt that claims it owns it. So a backend may be told twice, late, or not at all, and nothing goes wrong but
    the time. What it cannot do it says by its flags: code is refused with a sentence, the admin does not offer it.
    """

    is_served_by_workers = False  # ``runworker`` takes the jobs from the table, nobody has to be told
    runs_in_caller = False  # jobs run where they are enqueued, and nowhere else
    patience = 3600.0  # seconds after which it is told again of a job that still waits
    comes_and_goes = False  # it is well that none of these workers is there at the moment
    supports_schedule = True  # a job may wait for its time
    supports_abort = True  # a running job can be asked to end
    supports_kill = True  # and is ended, with all it has started, if it does not listen
    supports_priority = True  # higher ones start first
    supports_limits = True  # ``timeout`` and ``memory_limit`` are kept
    supports_output = True  # what a handler prints lands in its log

    known_options: frozenset[str] = frozenset()

    def __init__(self, queue_name: str, options: Mapping[str, Any]) -> None:
        self.queue_name = queue_name
        self.options = options
        if unknown := set(options) - self.known_options:
            raise ValueError(f"{type(self).__name__} has no option {', '.join(sorted(unknown))}.")

    @property
    def needs_workers(self) -> bool:
        """Whether its jobs wait in vain unless a ``runworker`` is there at all times."""
        return self.is_served_by_workers and not self.comes_and_goes

    # What it is told, after the transaction that said so has committed. Errors are logged and harm nobody.

    def jobs_ready(self, jobs: Sequence[Job]) -> None:
        """These jobs can start now: see that ``qorworker.backends.inprocess.run_stored`` is called for each."""

    def jobs_waiting(self, jobs: Sequence[Job]) -> None:
        """These jobs wait for their time, and are told of again when it has come: nothing need be done."""

    def abort_requested(self, job: Job) -> None:
        """Somebody asked to end a running job. Its row says so, and ``JobContext`` reads it there by itself."""

    # What it says.

    def check(self) -> list[checks.CheckMessage]:
        """What ``manage.py check`` should tell about this backend here."""
        return []

    def silence(self) -> str:
        """A sentence for people if the jobs of this queue wait for something that does not come; else empty."""
        return ""

    def refuse(self, *, priority: int, run_after: dt.datetime | dt.timedelta | None) -> None:
        """Raise ``UnsupportedByBackend`` for a job that it cannot run as asked for."""
        if priority and not self.supports_priority:
            told = _("The queue “%(queue)s” knows no priorities. Leave the priority at 0.")
            raise UnsupportedByBackend(told % {"queue": self.queue_name})
        if not self.supports_schedule and is_later(run_after):
            told = _("The queue “%(queue)s” cannot keep a job for a later time.")
            raise UnsupportedByBackend(told % {"queue": self.queue_name})

    def refuse_abort(self) -> None:
        if not self.supports_abort:
            told = _("The queue “%(queue)s” cannot end a job that runs.")
            raise UnsupportedByBackend(told % {"queue": self.queue_name})


def is_later(moment: dt.datetime | dt.timedelta | None) -> bool:
    """Whether a job for this moment would have to wait, by the clock of this process."""
    if moment is None:
        return False
    if isinstance(moment, dt.timedelta):
        return moment > dt.timedelta()
    return moment > (timezone.now() if timezone.is_aware(moment) else timezone.make_naive(timezone.now()))
