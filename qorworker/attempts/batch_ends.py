"""Notices that the last job of a batch has ended, once ends of attempts are written. In the process that owns them.

A process that still runs jobs of a batch need not ask whether others do. One that runs none remembers a job that had
not ended when it asked last, and looks at that one first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from django.db import Error, transaction

from qorworker.models import Batch, Job, JobQuerySet
from qorworker.models.batch_ends import still_unfinished, unfinished_in
from qorworker.models.dependents import settle
from qorworker.models.sql import Claimed
from qorworker.status import FINISHED
from qorworker.system.processes import monotonic

if TYPE_CHECKING:
    from qorworker.attempts.writer import End

SECONDS = 2.0  # of one call: a worker must renew its leases in time
AT_ONCE = 100  # batches of one look
REMEMBERED = 10_000  # batches of which an unfinished job is remembered


class BatchEnds:
    """Settles the batches whose last job has ended here."""

    def __init__(self, using: str, *, after_commit: bool = False) -> None:
        self.using, self.after_commit = using, after_commit
        self.has_active: Callable[[int], bool] = lambda batch: False  # whether this process runs jobs of a batch
        self._last = 0  # the batch with which the last look at all open ones ended
        self._unfinished: dict[int, int] = {}  # batch to a job of it that had not ended

    def settle(self, written: Iterable[End], claimed: Collection[Claimed]) -> bool:
        """Settle the batches of attempts whose ends were written, if none of their jobs is left.

        :param claimed: the jobs that came in together with that write.
        :returns: whether one was settled, or may be.
        """
        batches = {
            end.attempt.job.batch_id
            for end in written
            if end.attempt.job.batch_id is not None and end.update.status in FINISHED
        }
        if not batches:
            return False
        batches -= {job.batch_id for job in claimed}
        batches = {batch for batch in batches if batch is not None and not self.has_active(batch)}
        if not batches:
            return False
        if self.after_commit:
            transaction.on_commit(partial(self._settle, batches), using=self.using, robust=True)
            return True
        with suppress(Error):  # a worker does it later; the claimed jobs must not get lost over it
            return self._settle(batches)
        return False

    def settle_missed(self, seconds: float = math.inf) -> None:
        """Settle the batches that were not settled when their last job ended: a process was killed, or a row locked.

        Very many open batches take several calls.
        """
        end = monotonic() + seconds
        opened = Batch.objects.using(self.using).open().order_by("pk").values_list("pk", flat=True)
        while some := list(opened.filter(pk__gt=self._last)[:AT_ONCE]):
            self._last = some[-1]
            self._settle(some)
            if monotonic() >= end:
                return
        self._last = 0

    def _settle(self, batches: Collection[int]) -> bool:
        rows = Job.objects.using(self.using)
        over = self._without_unfinished(rows, batches)
        if over:
            settle(rows, over, SECONDS)
        return bool(over)

    def _without_unfinished(self, rows: JobQuerySet, batches: Collection[int]) -> list[int]:
        known = {self._unfinished[batch]: batch for batch in batches if batch in self._unfinished}
        still = {known[pk] for pk in still_unfinished(rows, known)} if known else set()
        over = []
        for batch in batches:
            if batch in still:
                continue
            self._unfinished.pop(batch, None)
            if (pk := unfinished_in(rows, batch)) is None:
                over.append(batch)
            else:
                self._remember(batch, pk)
        return over

    def _remember(self, batch: int, pk: int) -> None:
        if len(self._unfinished) >= REMEMBERED:
            del self._unfinished[next(iter(self._unfinished))]
        self._unfinished[batch] = pk
