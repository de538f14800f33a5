"""The context that a handler gets: its verbs for progress, log and results. Wherever a job runs.

Its verbs never touch the database: each sends a record, and the owner of the attempt writes it. What is read of the row
takes a query on the connection of the handler.
"""

from __future__ import annotations

import copy
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sized
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async

from qorworker.arguments.files import TAG, token_of
from qorworker.arguments.plain import DEPTH, is_too_deep
from qorworker.conf import settings
from qorworker.exceptions import JobAborted
from qorworker.execution import spawning
from qorworker.execution.checkpoints import Checkpoints, NoCheckpoints
from qorworker.execution.coroutines import AsyncLoop, refuse_event_loop
from qorworker.execution.files import AddedFile, Content, keep, shown_name
from qorworker.execution.loops import Loops
from qorworker.execution.messages import RETURN_CHARS, Record, clean_text
from qorworker.execution.questions import NOTHING as NO_DEFAULT
from qorworker.execution.questions import Answer, Callback, Expires, Questions, rehearsed_answer, rehearsed_call
from qorworker.execution.results import checked_key, named, row_of, titles_of
from qorworker.execution.sources import source_of
from qorworker.execution.throttle import Ask, Throttle
from qorworker.text.masking import NOTHING, Mask
from qorworker.text.storable import percent_of, text_of
from qorworker.text.titles import Title

if TYPE_CHECKING:
    from qorworker.definitions.call import Call
    from qorworker.execution.budgets import Budgets
    from qorworker.models import Batch, Job

Item = TypeVar("Item")
PROGRESS_BURST, PROGRESS_RATE = 50, 20.0  # updates in a burst, and updates per second after it
PROGRESS_TEXT_CHARS = 200
RETURN_PART = 16 * 1024  # characters: even in the longest encoding they fit into one message


class JobContext:
    """The running attempt, as its handler sees it."""

    def __init__(
        self,
        *,
        job_id: int,
        name: str,
        attempt: int,
        max_attempts: int,
        arguments: Mapping[str, Any],
        send: Callable[[Record], None],
        abort_requested: Callable[[], bool] = lambda: False,
        suspend_requested: Callable[[], bool] = lambda: False,
        in_transaction: Callable[[], bool] = lambda: False,
        checkpoints: Checkpoints | None = None,
        budgets: Budgets | None = None,
        is_dry_run: bool = False,
        mask: Mask = NOTHING,
        using: str = "default",
    ) -> None:
        self.job_id = job_id
        self.name = name
        self.attempt = attempt
        self.max_attempts = max_attempts
        self.arguments = arguments
        self.state = SimpleNamespace()  # for middleware and handler to share
        self.was_called = False  # whether the handler was called
        self.shares_loop = False  # whether other jobs run in the same event loop
        self.results_rows = 0
        self.results_errors = 0
        self.rows_before = 0  # of these rows: of earlier attempts, behind whose checkpoint this one goes on
        self.log_lines = 0  # that this attempt has added, as are the results rows
        self.progress: int | None = None  # per cent, as it was set last
        self.progress_begin: tuple[float, int] | None = None  # seconds after the attempt began, and per cent, at first
        self.progress_text = ""
        self.is_dry_run = is_dry_run  # whether it is a rehearsal: what it writes is rolled back, its mail is caught
        self.budgets = budgets  # of the attempt; None if its type has none
        self._using = using
        self._added = 0  # files
        self._columns: list[Title] = []  # the titles of the results columns
        self.mask = mask  # applied to every text before it is cut or split
        self._send = send
        self._abort_requested = abort_requested
        may_suspend = (lambda: False) if is_dry_run else suspend_requested
        self._for_loops = checkpoints or NoCheckpoints(), may_suspend, in_transaction
        self._allowance, self._refilled = float(PROGRESS_BURST), time.monotonic()
        self._begun = self._refilled
        self._pending: Record | None = None

    @cached_property
    def logger(self) -> logging.Logger:
        """The logger of this type of jobs, whose records land in the job's log."""
        return logging.getLogger(f"qorworker.job.{self.name}")

    @cached_property
    def job(self) -> Job:
        """The row of the job, as it was when this was first read. It can be read, not changed: its worker writes it.

        Reading it takes a query. In a coroutine it takes ``sync_to_async``.
        """
        from qorworker.models import Job  # noqa: PLC0415 - projects import this module before models can be loaded

        row = Job.objects.using(self._using).select_related("created_by").get(pk=self.job_id)
        vars(row).update(dict.fromkeys(("save", "asave", "delete", "adelete"), _refuse_to_write))
        return row

    @property
    def user(self) -> Any:
        """The user who asked for the job, or to whom its schedule belongs; None if it was code. See ``job``."""
        return self.job.created_by

    @property
    def scheduled_for(self) -> dt.datetime:
        """The time of its schedule for which the job was made; without a schedule the time at which this attempt was
        due. See ``job``.
        """
        from qorworker.models import ScheduleSlot  # noqa: PLC0415 - as above

        slots = ScheduleSlot.objects.using(self._using)
        planned = slots.planned_for(self.job_id) if self.job.schedule_id is not None else None
        return planned or self.job.run_after

    @property
    def parents(self) -> list[Job]:
        """The jobs after which it was to run, the oldest first: ``parent.result`` is what one of them has returned.

        Those that were deleted are left out. Takes queries, see ``job``.
        """
        return list(self.job.parents)

    @property
    def batch(self) -> Batch | None:
        """The batch at whose end it runs, or else the one to which it belongs; None if there is none. See ``job``."""
        return spawning.batch_of(self.job, self._using)

    def spawn(
        self,
        calls: Iterable[Call[Any]],
        title: str = "",
        *,
        then: Call[Any] | None = None,
        otherwise: Call[Any] | None = None,
        key: str = "",
    ) -> Batch:
        """Enqueue a batch, as ``Batch.objects.enqueue`` does, for the user of this job. Both pages name each other.

        Another attempt of this job stores no second one: it gets the batch that the earlier one has stored, with
        ``is_existing`` set. It finds it by *key*, by default the title.

        :param title: by default the title of the job.
        :param key: tells apart the batches that one attempt spawns, if they have the same title.

        Raises ``ValueError`` if this attempt has spawned one with the same key already, and what
        ``Batch.objects.enqueue`` raises.
        """
        refuse_event_loop("spawn()", "aspawn()")
        spawned = {"then": then, "otherwise": otherwise}
        return spawning.spawn(self.job, self._spawned, calls, self.mask(title), self.mask(key), self._using, **spawned)

    async def aspawn(self, calls: Iterable[Call[Any]], title: str = "", **options: Any) -> Batch:
        """Do what ``spawn`` does, for coroutines."""
        return await sync_to_async(self.spawn)(calls, title, **options)

    @cached_property
    def _spawned(self) -> set[str]:
        return set()  # keys of the batches of this attempt

    @cached_property
    def _keys(self) -> set[str]:
        return set()  # of the rows of this attempt

    @cached_property
    def _files(self) -> dict[str, AddedFile]:
        return {}  # by name, of this attempt

    @cached_property
    def _line_chars(self) -> int:
        return int(settings.LOG_LINE_CHARS)

    def __repr__(self) -> str:
        return f"<JobContext of job {self.job_id}, attempt {self.attempt}>"

    def add_log(self, text: object, *, level: int = logging.INFO) -> None:
        """Add *text* to the job's log, one line for each line in it. *level* as in ``logging``."""
        now = time.time()
        for line in self.mask(text_of(text)).splitlines() or [""]:
            if self.budgets is not None:
                self.budgets.use("max_log_lines")
            self._send(["log", self.job_id, now, int(level), clean_text(line, self._line_chars)])
            self.log_lines += 1

    def set_progress(self, done: float, total: float | None = None) -> None:
        """Set how far the job is: per cent from 0 to 100, or *done* of *total*. Values outside are clamped.

        Raises ``ValueError`` for a value that is not a number.
        """
        self.progress = percent_of(done, total)
        if self.progress_begin is None:
            self.progress_begin = round(time.monotonic() - self._begun, 1), self.progress
        self._progress(self.progress, None)

    def set_progress_text(self, text: object) -> None:
        """Set the one line beside the progress bar; plain text of up to 200 characters."""
        line = " ".join(self.mask(text_of(text)).split())
        self.progress_text = clean_text(line, PROGRESS_TEXT_CHARS)
        self._progress(None, self.progress_text)

    def set_results_columns(self, *titles: object) -> None:
        """Give the columns of the results their titles, before the first row. A lazy translation is shown to each
        reader in their language.

        Raises ``ValueError`` after the first row, if they have other titles already, and for too many.
        """
        columns = titles_of(titles, self.mask)
        if columns == self._columns:
            return
        if self._columns:
            raise ValueError(f"The results columns have titles already: {named(self._columns)}.")
        if self.results_rows > self.rows_before:
            raise ValueError(f"Titles of results columns come before the first row, and {self.results_rows} are added.")
        self._columns = columns
        self._send(["columns", self.job_id, columns])

    def add_results_row(self, *cells: Any, key: str | None = None) -> None:
        """Add a row to the results: values, or ``Cell(value, error=…)`` where something is wrong. ``file=…`` links a
        cell to a file that was added before.

        Long texts are cut. *key* names what the row is about, once in each attempt: a row with an error can be repeated
        by it, see ``RowKeys``. Raises ``ValueError`` for a row that is too large even then, or longer than the titles
        of the columns, and for a key that cannot be kept or that another row has.
        """
        row, number = row_of(cells, self.mask, self._file), self.results_rows + 1
        if self._columns and len(row) > len(self._columns):
            titles = f"{len(self._columns)} columns: {named(self._columns)}"
            raise ValueError(f"Row {number} of the results has {len(row)} cells, but there are {titles}.")
        record: Record = ["row", self.job_id, row]
        if key is not None:
            record.append(self._new_key(key))
        if self.budgets is not None:
            self.budgets.use("max_rows")
        self.results_rows = number
        self.results_errors += any(cell[1] for cell in row)
        self._send(record)

    def add_file(self, name: str, content: Content) -> AddedFile:
        """Add a file to the job: bytes, a text, a path, an open file or a ``File``. Its page lists it for download.

        *name* is for display only. The result can be a cell of the results, or its link: ``Cell("…", file=…)``.
        Raises ``ValueError`` for a file that is too large, and for one too many.
        """
        if self._added >= settings.FILES:
            raise ValueError(f"The job has added {self._added} files, and no more may be added (FILES).")
        kept = keep(name, content, self.mask)
        self._added += 1
        self._send(["file", self.job_id, time.time(), kept])
        added = AddedFile(kept["name"], kept["size"], token_of(kept[TAG]))
        self._files[added.name] = added
        return added

    def track(self, items: Iterable[Item], *, total: int | None = None, text: str = "") -> Iterator[Item]:
        """Iterate over *items*, with progress, and with a check for an abort before each.

        *total* is taken from ``len()`` (or ``count()`` of a QuerySet) if it is not given. *text* may use
        ``{index}`` (from 1) and ``{total}``.
        """
        total = _length(items) if total is None else total
        for index, item in enumerate(items, 1):
            self.check_abort()
            if text:
                self.set_progress_text(text.replace("{index}", str(index)).replace("{total}", str(total or "?")))
            yield item
            if total:
                self.set_progress(index, total)

    def iterate(
        self,
        items: Any,
        key: str = "",
        *,
        chunk: int = 500,
        total: int | None = None,
        text: str = "",
        throttle: Ask | None = None,
    ) -> Iterator[Any]:
        """Iterate over *items* so that another attempt of this job goes on where this one ended.

        An attempt that fails, crashes, is aborted or loses its worker leaves a checkpoint behind the last item that it
        has done, at most half a second old, and a retry begins there. When a worker stops, the loop ends between two
        items, and the job goes back into the queue without having used up an attempt. Items since the checkpoint are
        done again after a crash, so doing one twice must be harmless; with ``@job(atomic="chunk")`` a chunk of items is
        committed together with its checkpoint, and nothing that is committed is done again.

        :param items: a QuerySet, by its primary key or the unique order that it has; a sequence, a file or a csv
            reader, by number; or an object with a method ``after(cursor)`` that returns pairs of a cursor and an item.
        :param key: tells apart the loops of a handler that has several, one after the other.
        :param chunk: rows of a QuerySet that are loaded at a time, and with ``atomic="chunk"`` items of one
            transaction, unless these take longer than a second.
        :param total: how many items there are; by default what the QuerySet or the sequence has.
        :param text: the progress text; it may use ``{index}``, from 1, and ``{total}``.
        :param throttle: a function without arguments that is called before each item, with ``atomic="chunk"`` before
            each transaction. It returns how long to wait, in seconds or as a timedelta, until it is called again; True
            stands for 30 seconds; 0, None and False let the loop go on. An abort, a pause or the end of its worker ends
            a wait.

        Raises ``TypeError`` for items that have no order, ``ValueError`` for a QuerySet whose order two rows may share
        or a key that was used before, and ``RuntimeError`` inside another loop of this kind or inside a transaction.
        """
        refuse_event_loop("iterate()", "“async for … in context.aiterate(…)”")
        if chunk < 1:
            raise ValueError("chunk must be at least 1.")
        waits = None if throttle is None else Throttle(throttle)
        return self._loops.iterate(str(key), source_of(items, chunk), chunk, total, text, waits)

    def aiterate(
        self,
        items: Any,
        key: str = "",
        *,
        chunk: int = 500,
        total: int | None = None,
        text: str = "",
        throttle: Ask | None = None,
    ) -> AsyncIterator[Any]:
        """Do what ``iterate`` does, for ``async for`` in a coroutine. The first step raises what ``iterate`` raises.

        Items are loaded, and *throttle* is called, in the thread of Django's asynchronous ORM. Raises ``RuntimeError``
        with ``atomic="chunk"``, and for a *throttle* where jobs share an event loop.
        """

        def begin() -> Iterator[Any]:
            if self._loops.checkpoints.in_transactions:
                raise RuntimeError('A coroutine cannot use atomic="chunk": its transaction belongs to another thread.')
            if throttle is not None and self.shares_loop:
                raise RuntimeError("Jobs with concurrency cannot throttle a loop: all of them would wait for it.")
            return self.iterate(items, key, chunk=chunk, total=total, text=text, throttle=throttle)

        return AsyncLoop(begin)

    @property
    def checkpoint(self) -> Any:
        """What ``save_checkpoint`` saved last, in this attempt or an earlier one; None at first."""
        return copy.deepcopy(self._loops.own)

    async def acheckpoint(self) -> Any:
        """Return what ``checkpoint`` is, for coroutines."""
        return await sync_to_async(lambda: self.checkpoint)()

    def save_checkpoint(self, value: Any) -> None:
        """Keep *value*, which is JSON, for the next attempt of this job, which finds it in ``checkpoint``.

        For loops that ``iterate`` does not cover. Raises ``TypeError`` for what is not JSON, ``ValueError`` for what is
        too large or contains a secret argument of the job, and ``RuntimeError`` inside a transaction.
        """
        self._loops.save_own(value)

    async def asave_checkpoint(self, value: Any) -> None:
        """Do what ``save_checkpoint`` does, for coroutines."""
        await sync_to_async(self.save_checkpoint)(value)

    def ask(
        self,
        text: object,
        *,
        default: Mapping[str, Any] | None = None,
        expires: Expires = None,
        key: str = "",
        permission: str = "",
        **fields: Any,
    ) -> Answer:
        """Ask people a question, and return the answer. The attempt is suspended until somebody answers.

        No process waits meanwhile. The handler then runs again from the top, in a new attempt, and this call returns
        the answer at once: what is before it has to be harmless if it is repeated, or belongs into a checkpoint. That
        uses up no attempt.

        :param text: the question, up to 2,000 characters; a lazy translation is shown to each reader in their language.
        :param default: the answer, by field, if nobody gives one in time.
        :param expires: how long, or until when, it can be answered; None: for ever.
        :param key: tells the questions of a handler apart; empty: they are told apart by their text, without the
            numbers in it, and their fields, and by their order where these are the same.
        :param permission: the permission of Django that alone allows to answer, such as ``"shop.publish"``; empty: who
            may run the job may answer.
        :param fields: annotations, as those of the arguments of a job: ``publish=bool, note=str``.

        Raises ``NotAnswered`` if nobody answers in time and there is no default, or if somebody declines;
        ``JobTypeError`` for a field that cannot be asked for; ``ValueError`` for a default that does not fit, or a
        question that contains a secret; and ``RuntimeError`` inside a transaction.
        """
        refuse_event_loop("ask()", "“await context.aask(…)”")
        given = NO_DEFAULT if default is None else default
        if self.is_dry_run:
            return rehearsed_answer(fields, given)
        return self._questions.ask(text, fields, given, expires, key, permission)

    async def aask(self, text: object, **options: Any) -> Answer:
        """Do what ``ask`` does, for coroutines."""
        return await sync_to_async(self.ask)(text, **options)

    def callback(self, *, default: Any = NO_DEFAULT, expires: Expires = None, key: str = "") -> Callback:
        """Return a call for which the job can wait: ``url`` is the address to hand out, ``wait()`` returns its JSON.

        The address can be called once, by POST, even before the job waits. It is the same in each attempt.

        :param default: what ``wait()`` returns if nobody calls in time.
        :param expires: how long, or until when, it can be called; None: for ever.
        :param key: tells the callbacks of a handler apart; empty: they are told apart by their order.

        Raises what ``ask`` raises, and ``ImproperlyConfigured`` if the project does not include ``qorworker.urls``.
        """
        refuse_event_loop("callback()", "“await context.acallback(…)”")
        if self.is_dry_run:
            return rehearsed_call(default)
        return self._questions.callback(default, expires, key)

    async def acallback(self, **options: Any) -> Callback:
        """Do what ``callback`` does, for coroutines, which wait with ``await callback.await_call()``."""
        return await sync_to_async(self.callback)(**options)

    @cached_property
    def _questions(self) -> Questions:
        return Questions(self._loops, self.mask, self.attempt)

    @cached_property
    def _loops(self) -> Loops:
        refuse_event_loop("The checkpoint", "acheckpoint() or asave_checkpoint()")
        return Loops(self, *self._for_loops)

    def end_loops(self) -> None:
        """End the loops that an exception has left in the middle. For code that calls handlers."""
        if "_loops" in self.__dict__:
            self._loops.end()

    @property
    def was_suspended(self) -> bool:
        """Whether a loop was ended so that another attempt goes on."""
        return "_loops" in self.__dict__ and self._loops.suspended

    @property
    def abort_requested(self) -> bool:
        """Whether an abort of this job was requested."""
        return self._abort_requested()

    def check_abort(self) -> None:
        """Raise ``JobAborted`` if an abort of this job was requested. For places where stopping is safe."""
        if self._abort_requested():
            raise JobAborted

    def send_return_value(self, text: str) -> None:
        """Send *text*, JSON, as the return value of the job. For code that runs jobs: a handler simply returns it.

        Raises ``ValueError`` for a text that is too long or nested too deeply.
        """
        if is_too_deep(text):
            raise ValueError(f"It is nested deeper than {DEPTH} levels.")
        text = self.mask.in_json(text)
        if len(text) > RETURN_CHARS:
            raise ValueError(f"It takes {len(text)} characters of JSON, and {RETURN_CHARS} are kept.")
        for start in range(0, len(text), RETURN_PART):
            self._send(["return", self.job_id, text[start : start + RETURN_PART]])

    def send_rehearsal(self, text: str) -> None:
        """Send *text*, JSON in ASCII, as what a rehearsal has found. For code that runs jobs."""
        for start in range(0, len(text), RETURN_PART):
            self._send(["rehearsal", self.job_id, text[start : start + RETURN_PART]])

    def flush(self) -> None:
        """Send what was held back at the end of an attempt: a last update of the progress, and the last checkpoint."""
        self.send_progress()
        if "_loops" in self.__dict__:
            self._loops.flush()

    def send_progress(self) -> None:
        """Send an update of the progress that was held back. For code that runs jobs."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._send(pending)

    def _file(self, file: AddedFile | str) -> AddedFile:
        if isinstance(file, AddedFile):
            return file
        if (name := shown_name(file, self.mask)) not in self._files:
            raise ValueError(f"No file {name!r} was added before the cell that links to it.")
        return self._files[name]

    def _new_key(self, key: Any) -> str:
        key = checked_key(key, self.mask)
        if key in self._keys:
            raise ValueError(f"Two rows of the results have the same key: {key!r}.")
        self._keys.add(key)
        return str(key)

    def _progress(self, percent: int | None, text: str | None) -> None:
        if self._pending is not None:
            percent = self._pending[2] if percent is None else percent
            text = self._pending[3] if text is None else text
        self._pending = ["progress", self.job_id, percent, text]
        now = time.monotonic()
        self._allowance = min(PROGRESS_BURST, self._allowance + (now - self._refilled) * PROGRESS_RATE)
        self._refilled = now
        if self._allowance >= 1:
            self._allowance -= 1
            self.send_progress()


def _refuse_to_write(*args: Any, **options: Any) -> None:
    raise TypeError("The row of a running job can only be read: its worker writes it.")


def _length(items: Iterable[Any]) -> int | None:
    if isinstance(items, Sized):
        return len(items)
    count = getattr(items, "count", None)
    try:
        return int(count()) if callable(count) else None
    except TypeError:
        return None
