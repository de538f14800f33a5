"""Splits a refused batch, so that one attempt delays no other. In the process that writes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from django.db import connections
from django.utils.translation import gettext as _

from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.shortening import Snapshot, shortenings
from qorworker.models.refusals import FAILURES, describe, is_refusal

if TYPE_CHECKING:
    from qorworker.attempts.writer import End

logger = logging.getLogger(__name__)

MAX_REFUSALS = 3  # refused or failed writes of one attempt before something else is tried
Piece: TypeAlias = "tuple[End | None, RunningAttempt]"  # an attempt with its end, or with None for its progress


def has_failed_often(pieces: Sequence[Piece]) -> bool:
    """Whether this is a single attempt whose writes have failed again and again, for whatever reason."""
    return len(pieces) == 1 and pieces[0][1].failures >= MAX_REFUSALS


class Separation:
    """Finds what the database refuses in a batch. *write* writes pieces and returns the ids of locked jobs."""

    def __init__(self, using: str, write: Callable[[Sequence[Piece]], set[int]]) -> None:
        self.using, self.try_write = using, write

    def write(self, pieces: Sequence[Piece], error: Exception) -> set[int]:
        """Halve pieces refused with *error* until the culprit stands alone. Return the ids of locked jobs.

        Raises the error of the database if it may pass.
        """
        if len(pieces) == 1:
            return self._write_shortened(*pieces[0], error)
        locked: set[int] = set()
        for half in (pieces[: len(pieces) // 2], pieces[len(pieces) // 2 :]):
            try:
                locked |= self.try_write(half)
            except FAILURES as refusal:
                if not is_refusal(refusal):
                    raise
                locked |= self.write(half, refusal)
        return locked

    def _write_shortened(self, end: End | None, attempt: RunningAttempt, error: Exception) -> set[int]:
        if not is_refusal(error):
            connections[self.using].close_if_unusable_or_obsolete()
        snapshot = Snapshot.of(attempt, end)
        try:
            return self._shorten(end, attempt, error)
        except FAILURES as last:
            snapshot.restore(attempt, end)
            if not is_refusal(last):
                raise
            return self._refuse(end, attempt, describe(last))

    def _shorten(self, end: End | None, attempt: RunningAttempt, error: Exception) -> set[int]:
        """Write what one attempt reported, shortened as far as necessary. Raises the last error of the database."""
        often = has_failed_often([(end, attempt)])
        for _step in shortenings(self.using, attempt, end, error):
            try:
                return self.try_write([(end, attempt)])
            except FAILURES as again:
                if not is_refusal(again) and not often:
                    raise
                error = again
        raise error

    def _refuse(self, end: End | None, attempt: RunningAttempt, error: str) -> set[int]:
        """Handle a refused status: it is written again a few times, and then the job fails for that reason."""
        attempt.refusals += 1
        if end is None:
            logger.error("The progress of job %s cannot be stored: %s", attempt.job.id, error)
            if attempt.refusals >= MAX_REFUSALS:
                attempt.forget_reports()
            return set()
        if attempt.refusals > MAX_REFUSALS + 1:
            logger.error("The end of job %s cannot be stored; giving up: %s", attempt.job.id, error)
            end.given_up = True
            return set()
        logger.error("The end of job %s (%s) is refused: %s", attempt.job.id, end.update.status, error)
        if attempt.refusals == MAX_REFUSALS:
            end.fail(_("The database refuses to store how this attempt ended (%s).") % error)
        return {attempt.job.id}
