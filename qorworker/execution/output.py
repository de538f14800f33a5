"""Turns what a handler prints and logs into lines of its job's log. Wherever a job runs.

The streams are those of the standard library, above a buffer of this module: a handler finds a complete text stream.
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import sys
import threading
from contextlib import suppress
from typing import Any, Protocol

from qorworker.exceptions import BudgetExceeded
from qorworker.execution.context import JobContext
from qorworker.text.masking import NOTHING, Mask

LOGGED = "qorworker_logged"  # the mark of a record that is in the log
OWNER = "qorworker_owner"  # what has the log for a record, if it is not that of the job that runs
LINE_BYTES = 100_000  # a longer line without an end is split here


class Log(Protocol):
    """What takes lines: the context of a job, or what finds the one that a line is for."""

    mask: Mask

    def add_log(self, text: object, *, level: int = logging.INFO) -> None:
        """Add a text to the log."""


class Lines(io.BufferedIOBase):
    """The buffer below ``sys.stdout`` of a handler: bytes come in, lines go to the log."""

    def __init__(self, capture: Capture, level: int, descriptor: int) -> None:
        self.capture, self.level, self.descriptor = capture, level, descriptor
        self.name = "<stdout>" if descriptor == 1 else "<stderr>"
        self.rest = b""
        self.lock = threading.RLock()  # a signal handler may print, too

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Return the descriptor of the real stream: what a subprocess writes to it lands in the log, too."""
        return self.descriptor

    def isatty(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        data = bytes(data)
        with self.lock:
            *lines, self.rest = self.mask.in_bytes(self.rest + data).split(b"\n")
            for line in lines:
                self._add(line)
            if len(self.rest) > LINE_BYTES + self.mask.longest:
                cut = len(self.rest) - self.mask.longest  # what follows may be the beginning of a secret
                whole, self.rest = self.rest[:cut], self.rest[cut:]
                self._add(whole)
        return len(data)

    @property
    def mask(self) -> Mask:
        context = self.capture.context
        return NOTHING if context is None else context.mask

    def finish(self) -> None:
        """Add the rest without an end of line as a line."""
        with self.lock:
            if self.rest:
                rest, self.rest = self.rest, b""
                self._add(rest)

    def _add(self, line: bytes) -> None:
        # A progress bar redraws its line with carriage returns: the last text counts.
        text = line.decode("utf-8", "backslashreplace").rstrip("\r").rpartition("\r")[2]
        if self.capture.context is None:
            os.write(self.descriptor, line + b"\n")  # between two jobs
        else:
            self.capture.context.add_log(text, level=self.level)


class LogStream(io.TextIOWrapper):
    """``sys.stdout`` of a handler: each line becomes a line of the job's log."""

    def __init__(self, capture: Capture, level: int, descriptor: int) -> None:
        self.lines = Lines(capture, level, descriptor)
        super().__init__(self.lines, encoding="utf-8", errors="backslashreplace", newline="\n", line_buffering=True)

    def reconfigure(self, *, encoding: object = None, errors: object = None, **options: Any) -> None:
        """Reconfigure the stream, except for the encoding: the log takes all of Unicode."""
        super().reconfigure(**options)

    @property
    def is_usable(self) -> bool:
        """Whether the handler has neither closed nor detached it."""
        try:
            return not self.closed
        except ValueError:
            return False

    def finish(self) -> None:
        """Log the rest without an end of line."""
        if self.is_usable:
            self.flush()
        self.lines.finish()


class LogHandler(logging.Handler):
    """Passes log records on to the log of the running job, each record once."""

    def __init__(self, capture: Capture, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.capture = capture

    def emit(self, record: logging.LogRecord) -> None:
        context = getattr(record, OWNER, None) or self.capture.context
        if context is None or getattr(record, LOGGED, False):
            return
        setattr(record, LOGGED, True)
        try:
            context.add_log(self.format(record), level=record.levelno)
        except BudgetExceeded:
            raise
        except Exception:  # logging must not fail the job
            self.handleError(record)


class Capture:
    """Sends the output of this process to the log of the running job.

    All jobs share the same streams and handlers, because code keeps references to them.
    """

    def __init__(self) -> None:
        self.context: Log | None = None  # of the job that runs
        self.streams: tuple[LogStream, LogStream] | None = None
        self.buffers: list[logging.handlers.MemoryHandler] = []  # of the project: what they keep back is for the log

    def __call__(self, context: JobContext) -> Capturing:
        """Send printed text to a job's log: standard output as information, standard error as a warning."""
        return Capturing(self, context)

    def begin(self, context: JobContext) -> tuple[Any, Any]:
        """Replace the streams by those of *context*, and return what they were."""
        if self.streams is None or not (self.streams[0].is_usable and self.streams[1].is_usable):
            self.streams = LogStream(self, logging.INFO, 1), LogStream(self, logging.WARNING, 2)
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.streams
        self.context = context
        return before

    def end(self, streams: tuple[Any, Any]) -> None:
        """Log what was printed last, and restore the *streams*."""
        captured = self.streams
        sys.stdout, sys.stderr = streams
        for stream in captured or ():
            stream.finish()
        for buffer in self.buffers:  # else its records would land in the log of a later job
            with suppress(Exception):  # logging must not fail the job
                buffer.flush()
        self.context = None
        for real in streams:
            try:
                real.flush()
            except (ValueError, OSError):  # the job has closed it
                continue

    def replace_console(self) -> None:
        """Replace console handlers of logging by the job's log, which contains printed text already."""
        loggers = [logging.root, *logging.root.manager.loggerDict.values()]
        for logger in loggers:
            if isinstance(logger, logging.Logger):
                logger.handlers[:] = map(self._replaced, logger.handlers)
        logging.root.addHandler(LogHandler(self))
        logging.lastResort = LogHandler(self, logging.WARNING)

    def _replaced(self, handler: logging.Handler) -> logging.Handler:
        """Return what takes the place of *handler*: itself, unless it is a console."""
        if _is_console(handler):
            return self._in_place_of(handler)
        target = getattr(handler, "target", None)
        if isinstance(handler, logging.handlers.MemoryHandler) and isinstance(target, logging.Handler):
            handler.setTarget(self._replaced(target))
            if handler not in self.buffers and isinstance(handler.target, (LogHandler, logging.handlers.MemoryHandler)):
                self.buffers.insert(0, handler)
        return handler

    def _in_place_of(self, console: logging.Handler) -> LogHandler:
        handler = LogHandler(self, console.level)
        handler.filters[:] = console.filters
        return handler


class Capturing:
    """A block whose output goes to the log of a job. A class, because it surrounds each job."""

    __slots__ = ("before", "capture", "context")

    def __init__(self, capture: Capture, context: JobContext) -> None:
        self.capture, self.context = capture, context

    def __enter__(self) -> None:
        self.before = self.capture.begin(self.context)

    def __exit__(self, *raised: object) -> None:
        self.capture.end(self.before)


def _is_console(handler: logging.Handler) -> bool:
    consoles = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    return stream is not None and any(stream is console for console in consoles)
