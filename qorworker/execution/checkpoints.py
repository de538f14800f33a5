"""Where the checkpoint of a job is kept: sent with its other records, or committed with its work. Wherever a job runs.

A checkpoint is JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from time import monotonic, sleep
from typing import Any, Protocol

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from qorworker.conf import settings
from qorworker.execution.messages import CHECKPOINT_CHARS, Record, Work
from qorworker.models import Job
from qorworker.models.locks import begin_again, keeps_snapshot, limited_idling

HOLD = 1.0  # seconds for which a lock is held in a row
REST = 0.12  # seconds for which others may then have it: who waits for SQLite's looks each 0.1


class LostAttempt(Exception):
    """The attempt was taken away while its job ran. Its writes are rolled back."""

    def __init__(self) -> None:
        super().__init__(_("The job was taken from this attempt before it ended; what it wrote was rolled back."))


class Checkpoints(Protocol):
    """Where an attempt finds and keeps the checkpoint of its job."""

    in_transactions: bool  # whether each is committed together with the items before it
    mark: str  # tells the attempts of a job apart

    def load(self) -> str | None:
        """Return the checkpoint of the attempts before this one; None if there is none."""

    def announce(self, text: str) -> None:
        """Let the owner of the attempt know that it has a loop, which can end between two items."""

    def keep(self, text: str) -> None:
        """Keep a checkpoint."""

    def tell_move(self) -> None:
        """Let the owner of the attempt know that it got further than the one before."""


class NoCheckpoints:
    """Keeps none: for a context outside of a job."""

    in_transactions = False
    mark = ""

    def load(self) -> str | None:
        """Return None."""
        return None

    def announce(self, text: str) -> None:
        """Do nothing."""

    keep = announce

    def tell_move(self) -> None:
        """Do nothing."""


class SentCheckpoints:
    """Sends checkpoints like the other records of an attempt. The owner of the attempt stores them."""

    in_transactions = False

    def __init__(self, work: Work, send: Callable[[Record], None]) -> None:
        self.work, self.send = work, send
        self.mark = work.token[:8]

    def load(self) -> str | None:
        """Return the checkpoint of the attempts before this one; None if there is none."""
        return Job.objects.using(self.work.database).checkpoint_of(self.work.id)

    def keep(self, text: str) -> None:
        """Send a checkpoint."""
        self.send(["checkpoint", self.work.id, text])

    announce = keep

    def tell_move(self) -> None:
        """Send that the attempt got further than the one before."""
        self.send(["moved", self.work.id])


class CommittedCheckpoints(SentCheckpoints):
    """Writes checkpoints into the row of the job itself, in the transaction of the items that they are about."""

    in_transactions = True

    def __init__(self, work: Work, send: Callable[[Record], None]) -> None:
        super().__init__(work, send)
        self.held_since: float | None = None

    def announce(self, text: str) -> None:
        """Send no checkpoint, only that there is a loop: it could be stored after a later one."""
        self.send(["checkpoint", self.work.id, ""])

    def keep(self, text: str) -> None:
        """Write a checkpoint. Raises ``LostAttempt`` if the job belongs to another attempt by now."""
        if connections[self.work.database].in_atomic_block:
            self._update(checkpoint=text)
            return
        with self.transaction() as ends:
            ends()
            self._update(checkpoint=text)

    @contextmanager
    def transaction(self) -> Iterator[Callable[[], None]]:
        """Open a transaction for some items and their checkpoint. It calls what this yields before the checkpoint."""
        with limited_idling(self.work.database, float(settings.LEASE)) as ends, ExitStack() as stack:
            begin_again(partial(self._begin, stack), self.work.database)
            yield ends

    def _begin(self, stack: ExitStack) -> None:
        """Open the transaction in *stack*, and lock the row of the job if it could not be written later."""
        with ExitStack() as block:
            block.enter_context(transaction.atomic(using=self.work.database))
            if self._locks_first:
                self.held_since = monotonic() if self.held_since is None else self.held_since
                self._update(process_id=F("process_id"))
            stack.push(block.pop_all())

    def rest(self) -> None:
        """Let others write between two transactions. One right behind the other leaves them no time to lock."""
        if self.held_since is not None and monotonic() - self.held_since >= HOLD:
            sleep(REST)
            self.held_since = None

    @cached_property
    def _locks_first(self) -> bool:
        """Whether the open transaction could not write the row after a write of the worker, had it begun by reading."""
        using = self.work.database
        return connections[using].vendor == "sqlite" or keeps_snapshot(using)

    def _update(self, **values: Any) -> None:
        rows = Job.objects.using(self.work.database).held({self.work.id: self.work.token})
        if not rows.update(**values):
            raise LostAttempt


def as_text(value: Any) -> str:
    """Return a checkpoint as JSON. Raises ``TypeError`` if it is not, and ``ValueError`` if it is too large."""
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"A checkpoint must be JSON: {error}") from error
    if len(text) > CHECKPOINT_CHARS:
        raise ValueError(f"The checkpoint takes {len(text)} characters of JSON, and {CHECKPOINT_CHARS} are kept.")
    return text


def without_numbers(value: Any) -> Any:
    """Return JSON with None in place of its numbers."""
    if isinstance(value, dict):
        return {key: without_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_numbers(item) for item in value]
    return None if isinstance(value, (int, float)) else value
