"""Ends attempts that do not end by themselves: it stops, suspends, pauses or abandons them. Parent process."""

from __future__ import annotations

import logging
from itertools import islice

from django.utils.translation import gettext as _

from qorworker.attempts.attempt import RunningAttempt
from qorworker.conf import settings
from qorworker.models import Outcome
from qorworker.system.processes import monotonic
from qorworker.worker.parent.active_attempts import tokens_of
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.endings import Endings, stalemate_text
from qorworker.worker.parent.intake import Intake
from qorworker.worker.parent.pool import Pool
from qorworker.worker.parent.sharing import YOUNG, Sharing

logger = logging.getLogger(__name__)


class Stopping:
    """Stops attempts, wherever they are."""

    def __init__(self, pool: Pool, sharing: Sharing, intake: Intake, endings: Endings) -> None:
        self.pool, self.sharing, self.intake, self.endings = pool, sharing, intake, endings

    def stop(self, attempt: RunningAttempt, reason: str, text: str, grace: float) -> None:
        """Stop an attempt and everything that it started: asked first, killed after *grace* seconds."""
        if attempt in self.intake.ready:
            self.intake.ready.remove(attempt)
            self.endings.finish(attempt, reason, " ".join((text, _("It had not started."))))
        elif (child := self.child_of(attempt)) and (not attempt.stop_reason or not grace):
            attempt.ask_to_end(reason, text, politely=grace > 0)
            if child.shared_by and grace:
                self.sharing.cancel(attempt, monotonic() + grace)
            else:
                self.pool.stop(child, grace)

    def suspend_loops(self) -> None:
        """Ask the attempts that run a loop to end between two items, so that the rest is done by another attempt."""
        for attempt in self.running():
            self._suspend(attempt)

    def pause(self, attempt: RunningAttempt) -> None:
        """Ask an attempt that runs a loop to end between two items; hand it back if no child has it yet.

        Its job is then paused. One whose loop has not begun is left alone: this is called again and again.
        """
        if attempt in self.intake.ready:
            self.intake.ready.remove(attempt)
            self.intake.hand_back([attempt])
        else:
            self._suspend(attempt)

    def _suspend(self, attempt: RunningAttempt) -> None:
        child = self.child_of(attempt) if attempt.iterates and not attempt.asked_to_suspend else None
        if child is not None and not child.stopping:
            attempt.asked_to_suspend = True
            if child.shared_by:
                self.sharing.suspend(attempt)
            else:
                self.pool.suspend(child)

    def stop_loudest(self) -> None:
        """Stop the running attempt of which most waits to be written."""
        attempts = [attempt for attempt in self.running() if not attempt.stop_reason]
        if attempts:
            loudest = max(attempts, key=lambda attempt: attempt.buffered)
            self.stop(loudest, Outcome.FAILED, stalemate_text(), float(settings.ABORT_GRACE))

    def child_of(self, attempt: RunningAttempt) -> Child | None:
        """Return the child that runs this attempt; None while it waits behind another one."""
        if shared := self.sharing.child_of(attempt):
            return shared
        return next(
            (child for child in self.pool.children.values() if child.attempts and child.attempts[0] is attempt), None
        )

    def running(self) -> list[RunningAttempt]:
        """Return the attempts that run right now."""
        return [attempt for child in self.pool.children.values() for attempt in running_in(child)]

    def abandon(self, attempt: RunningAttempt) -> None:
        """Stop an attempt that was taken away, and write nothing more of it."""
        attempt.lost = True
        logger.warning("Job %s was taken from this worker; stopping it.", attempt.job.id)
        # Those that share its child keep theirs, if it ends when it is asked to.
        self.stop(attempt, Outcome.LOST, "", float(settings.ABORT_GRACE) if self.sharing.child_of(attempt) else 0)

    def stoppable(self, now: float) -> dict[int, str]:
        """Return job id to token of the attempts that can be stopped: they run, or no child has them yet.

        Those that share a child are left out for their first ``YOUNG`` seconds.
        """
        alone = [child.attempts[0] for child in self.pool.children.values() if child.attempts and not child.shared_by]
        return tokens_of([*alone, *self.sharing.given_before(now - YOUNG), *self.intake.ready])


def running_in(child: Child) -> list[RunningAttempt]:
    """Return the attempts that a child runs, as far as its parent knows."""
    return list(child.attempts if child.shared_by else islice(child.attempts, 1))
