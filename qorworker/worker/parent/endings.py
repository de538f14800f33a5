"""How attempts end, as it is written: by what children report, or by what becomes of processes. Parent process."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.attempts.attempt import RunningAttempt, exit_text, given_up_text, number
from qorworker.attempts.writer import End, Writer, is_atomic
from qorworker.models import Outcome
from qorworker.worker.parent.active_attempts import ActiveAttempts
from qorworker.worker.parent.pool import Exit


class Endings:
    """Hands the ends of attempts to the writer."""

    def __init__(self, active: ActiveAttempts, writer: Writer) -> None:
        self.active, self.writer = active, writer

    def finish(self, attempt: RunningAttempt, outcome: str, error: str, exit: Exit | None = None) -> None:
        """End an attempt. Of a lost one nothing is written."""
        self.active.discard(attempt)
        if attempt.lost:
            return
        ending = attempt.reported_end
        peak = number(ending.get("peak_memory"), 2**62) or (exit.peak if exit else None)
        update = attempt.end(outcome, error, number(ending.get("delay")))
        committed = ending.get("committed") is True
        is_done = outcome == Outcome.DONE and update.status == "done"
        has_more = attempt.has_reported or attempt.has_secrets or committed or is_atomic(attempt.job.name)
        end = End(
            attempt,
            update,
            outcome,
            traceback=str(ending.get("traceback", "")),
            exception_class=str(ending.get("exception_class", "")),
            duration=attempt.duration,
            exit_status=exit.status if exit else None,
            peak_memory=int(peak) if peak else None,
            survivors=exit.survivors if exit else 0,
            committed=committed,
            is_plain=is_done and not has_more and exit is None,
        )
        self.writer.end(end)


def unreported(exit: Exit) -> tuple[str, str]:
    """Return outcome and error of an attempt whose process ended on its own without reporting an end."""
    if exit.expired:
        return Outcome.LOST.value, given_up_text()
    return Outcome.CRASHED.value, exit_text(exit.status, exit.peak, exit.error)


def stalemate_text() -> str:
    """Return the error of an attempt of which too much waits to be written."""
    return _(
        "Stopped because the database was locked for so long that what the job reported could not be stored. "
        "Perhaps the job itself held the lock."
    )


def aborted_text() -> str:
    """Return the error of an attempt that was aborted, and not by this worker."""
    return _("Its process was asked to end, but not by this worker; or the job aborted itself.")


def neighbour_text() -> str:
    """Return the error of an attempt whose process was ended for another one."""
    return _("Interrupted because its process was ended for another job.")


def survived(number: int) -> str:
    """Return the sentence about processes that could not be ended."""
    sentence = ngettext(
        "%(counter)s of its processes could not be ended.", "%(counter)s of its processes could not be ended.", number
    )
    return sentence % {"counter": number}
