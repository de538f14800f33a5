"""Loops that another attempt of the same job can go on with, and their checkpoint. Wherever a job runs.

A checkpoint is JSON: the position of each loop, and what the handler has saved itself. It is kept at most twice a
second, and at the end of an attempt however that comes about, as long as the process can still send; or with each
transaction, if the job commits some items at a time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from django.utils.translation import gettext as _

from qorworker.execution.checkpoints import Checkpoints, CommittedCheckpoints, as_text, without_numbers
from qorworker.execution.sources import Rows, Source, length_behind
from qorworker.execution.throttle import Throttle
from qorworker.text.moments import duration_text

if TYPE_CHECKING:
    from qorworker.execution.context import JobContext

INTERVAL = 0.5  # seconds between two checkpoints of a loop
ROLLED_BACK = "The handler left a loop before its end: what it did with the last items (%s) is rolled back."
TICK = 0.1  # seconds between two looks, while a loop waits, whether it is to end
CHUNK_SECONDS = 1.0  # that a transaction for some items takes at most, beside the last of them: others wait for it


class AttemptSuspended(BaseException):
    """The worker stops, or the job is paused: the attempt ends between two items, and another one goes on."""


class Position:
    """How far a loop is."""

    __slots__ = ("cursor", "done", "finished")

    def __init__(self, cursor: Any = None, done: int = 0, finished: bool = False) -> None:
        self.cursor, self.done, self.finished = cursor, done, finished

    def as_json(self) -> list[Any]:
        """Return the values for the checkpoint."""
        return [self.cursor, self.done, self.finished]


class Loops:
    """The loops of one attempt."""

    def __init__(
        self,
        context: JobContext,
        checkpoints: Checkpoints,
        suspend_requested: Callable[[], bool],
        in_transaction: Callable[[], bool],
    ) -> None:
        self.context, self.checkpoints = context, checkpoints
        self.suspend_requested, self.in_transaction = suspend_requested, in_transaction
        stored = json.loads(checkpoints.load() or "{}")
        self.positions = {key: Position(*values) for key, values in stored.get("loops", {}).items()}
        self.own = stored.get("own")
        self.begin_before = stored.get("begin")  # of the progress of an earlier attempt
        rows, errors = stored.get("rows", (0, 0))
        context.results_rows += rows
        context.rows_before = rows
        context.results_errors += errors
        self.begun: set[str] = set()  # the keys of loops of this attempt
        self.current: str | None = None  # the key of the loop that runs
        self.generators: list[ReferenceType[Generator[Any]]] = []  # a loop ends when nothing refers to it
        self.changed = False  # since the last checkpoint
        self.place_before = self._place()
        self.has_moved = False  # a checkpoint of this attempt is behind that of the attempt before
        self.suspended = self.ending = False
        self.is_unknown = False  # whether the last transaction was committed: its answer was lost

    def begin(self, key: str) -> Position:
        """Return the position of a loop that begins. Raises ``RuntimeError`` or ``ValueError`` if it may not."""
        self.refuse_transaction("iterate()")
        if self.current is not None:
            raise RuntimeError(
                f"iterate({key!r}) was called inside another iterate(). Only one loop can keep its place:"
                " use a plain for loop inside of it."
            )
        if key in self.begun:
            raise ValueError(f"iterate() was called twice with the key {key!r}: give each loop a key of its own.")
        self.begun.add(key)
        self._read_anew()
        return self.positions.setdefault(key, Position())

    def _read_anew(self) -> None:
        """Go on with what is stored if that is unknown. A checkpoint of the state before would undo what is done."""
        if self.is_unknown:
            stored = json.loads(self.checkpoints.load() or "{}")
            self.positions |= {key: Position(*values) for key, values in stored.get("loops", {}).items()}
            self.own, self.is_unknown = stored.get("own"), False

    def refuse_transaction(self, verb: str) -> None:
        """Raise ``RuntimeError`` inside a transaction: a checkpoint would outlive what the transaction rolls back."""
        if self.in_transaction():
            raise RuntimeError(
                f"{verb} was called inside a transaction, which may yet be rolled back while the checkpoint stays."
                " Use transaction.atomic() inside the loop, for one item at a time."
            )

    def iterate(
        self,
        key: str,
        source: Source[Any],
        chunk: int,
        total: int | None = None,
        text: str = "",
        throttle: Throttle | None = None,
    ) -> Iterator[Any]:
        """Go over the items of a source behind the position of the loop."""
        loop = self._run(key, source, chunk, total, text, throttle)
        self.generators.append(ref(loop))
        return loop

    def _run(
        self, key: str, source: Source[Any], chunk: int, total: int | None, text: str, throttle: Throttle | None
    ) -> Generator[Any]:
        position = self.begin(key)
        self.checkpoints.announce(self.text())
        if position.finished:
            return
        if total is None:
            total = length_behind(source, position.cursor, position.done)
        self.current = key
        self.context.progress_begin = None  # that of this loop
        try:
            if isinstance(self.checkpoints, CommittedCheckpoints):
                yield from self._run_in_transactions(position, source, chunk, total, text, throttle)
            else:
                report = partial(self._report, position, total, text)
                if throttle is None:
                    items = source.after(position.cursor)
                else:
                    items = self._held(position, source, throttle, report)
                yield from self._run_through(position, items, total, text)
            self._report(position, total, text)
        finally:
            self.current = None

    def _run_through(
        self, position: Position, items: Iterable[tuple[Any, Any]], total: int | None, text: str
    ) -> Iterator[Any]:
        context, suspend_requested = self.context, self.suspend_requested
        due = 0.0
        for cursor, item in items:
            if (now := monotonic()) >= due:
                if self.changed:
                    self.save()
                self._report(position, total, text)
                due = now + INTERVAL
            context.check_abort()
            if suspend_requested():
                self._report(position, total, text)
                self.suspend()
            yield item
            position.cursor = cursor
            position.done += 1
            self.changed = True
        position.finished = True
        self.save()

    def _held(
        self, position: Position, source: Source[Any], throttle: Throttle, report: Callable[[], None]
    ) -> Iterator[tuple[Any, Any]]:
        """Go over what is behind a position, and wait before each item for as long as the throttle says."""
        may_go_on = False
        while True:
            for pair in source.after(position.cursor):
                if not may_go_on and self._wait(throttle, report) and isinstance(source, Rows):
                    may_go_on = True
                    break  # these rows were loaded before the wait: they are old
                may_go_on = False
                yield pair
            else:
                return

    def _wait(self, throttle: Throttle, report: Callable[[], None]) -> bool:
        """Wait for as long as the throttle says, and report before how far the loop is. Return whether it waited."""
        if not (pause := throttle.pause()):
            return False
        report()
        if self.changed:
            self.save()
        shown = self.context.progress_text
        try:
            while pause:
                self.context.set_progress_text(_("Throttled: it waits %s, then asks again.") % duration_text(pause))
                self.context.send_progress()
                end = monotonic() + pause
                while (left := end - monotonic()) > 0:
                    self.context.check_abort()
                    if self.suspend_requested():
                        self.suspend()
                    sleep(min(left, TICK))
                pause = throttle.pause()
        finally:
            self.context.set_progress_text(shown)
        return True

    def _run_in_transactions(
        self,
        position: Position,
        source: Source[Any],
        chunk: int,
        total: int | None,
        text: str,
        throttle: Throttle | None,
    ) -> Iterator[Any]:
        assert isinstance(self.checkpoints, CommittedCheckpoints)
        items = iter(source.after(position.cursor))
        while not position.finished:
            report = partial(self._report, position, total, text)
            if throttle is not None and self._wait(throttle, report) and isinstance(source, Rows):
                items = iter(source.after(position.cursor))
            report()
            before = position.cursor, position.done, self.own
            try:
                with self.checkpoints.transaction() as ends:
                    yield from self._some(position, items, chunk)
                    ends()
                    self.save()
                    self.is_unknown = True
                self.is_unknown = False
            except BaseException as error:
                if isinstance(error, GeneratorExit) and not self.ending:
                    self.context.add_log(ROLLED_BACK % (position.done - before[1] + 1), level=logging.WARNING)
                position.cursor, position.done, self.own = before
                position.finished = self.changed = False
                raise
            self._tell_move()
            if self.suspend_requested() and not position.finished:
                self._report(position, total, text)
                self.suspend()
            self.checkpoints.rest()

    def _some(self, position: Position, items: Iterator[tuple[Any, Any]], chunk: int) -> Iterator[Any]:
        """Go over some items: as many as one transaction is for."""
        end = monotonic() + CHUNK_SECONDS
        for _number in range(chunk):
            self.context.check_abort()
            if self.suspend_requested():
                return
            pair = next(items, None)
            if pair is None:
                position.finished = True
                return
            yield pair[1]
            position.cursor = pair[0]
            position.done += 1
            if monotonic() >= end:
                return

    def suspend(self) -> None:
        """End the attempt, so that another one goes on."""
        self.suspended = True
        raise AttemptSuspended

    def _report(self, position: Position, total: int | None, text: str) -> None:
        number = position.done if position.finished else position.done + 1  # of the item that is next, or was last
        if text and number:
            shown = text.replace("{index}", str(number)).replace("{total}", str(total or "?"))
            self.context.set_progress_text(shown)
        if total:
            self.context.set_progress(position.done, total)

    def text(self) -> str:
        """Return the checkpoint.

        Raises ``TypeError`` if it is not JSON, and ``ValueError`` if it is too large or contains a secret.
        """
        loops = {key: position.as_json() for key, position in self.positions.items()}
        rows = [self.context.results_rows, self.context.results_errors]
        own = self.context.progress_begin
        begin = self.begin_before if own is None else [self.checkpoints.mark, *own]
        text = as_text({"loops": loops, "own": self.own, "rows": rows, "begin": begin})
        if self.context.mask and self._has_secret():
            raise ValueError("A checkpoint is stored as it is, and this one contains a secret argument of the job.")
        return text

    def _has_secret(self) -> bool:
        """Return whether a secret is in what is kept: in what the handler has saved, or in the place of a loop.

        Numbers in a place count items or name rows, so they are no secrets even if they are equal to one.
        """
        places = [[key, without_numbers(position.cursor)] for key, position in self.positions.items()]
        return self.context.mask.is_in_json(as_text([self.own, places]))

    def save(self) -> None:
        """Keep the checkpoint."""
        self.checkpoints.keep(self.text())
        if self.changed and not self.checkpoints.in_transactions:
            self._tell_move()
        self.changed = False

    def _tell_move(self) -> None:
        if not self.has_moved and self._place() != self.place_before:
            self.has_moved = True
            self.checkpoints.tell_move()

    def _place(self) -> str:
        """Return where another attempt would go on. The number of items is not part of it: some may be done twice."""
        places = {key: [each.cursor, each.finished] for key, each in self.positions.items()}
        return as_text([self.own, {key: place for key, place in places.items() if place != [None, False]}])

    def save_own(self, value: Any) -> None:
        """Keep the checkpoint with what the handler saves: in a transaction of the loop, with its items."""
        is_with_items = self.checkpoints.in_transactions and self.current is not None
        if not is_with_items:
            self.refuse_transaction("save_checkpoint()")
            self._read_anew()
        before, self.own = self.own, json.loads(as_text(value))
        self.changed = self.changed or self.own != before
        try:
            self.text() if is_with_items else self.save()
        except ValueError:
            self.own = before
            raise

    def end(self) -> None:
        """End all loops."""
        self.ending = True
        for generator in self.generators:
            if loop := generator():
                with suppress(ValueError):  # a thread of the handler is in it
                    loop.close()

    def flush(self) -> None:
        """End all loops, and keep what was not kept yet. The attempt ends, so an error becomes a line in its log."""
        self.end()
        if not self.changed:
            return
        try:
            self.save()
        except (TypeError, ValueError) as error:
            self.changed = False
            self.context.add_log(f"The last checkpoint was not kept: {error}", level=logging.WARNING)
