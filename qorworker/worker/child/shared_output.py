"""Keeps the output of jobs apart that run in one event loop: each line goes to the log of its own job. Child process.

A context variable says which job runs. What has no context of a job, such as a callback or a thread that was started
without it, goes to the real output of the process, and so to the log of the worker.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from qorworker.execution.context import JobContext
from qorworker.execution.output import OWNER, Capture, LogStream
from qorworker.text.masking import NOTHING

OUT, ERR = 1, 2  # descriptors


class JobOutput:
    """A block whose output goes to the log of one job, in the context of its task."""

    mask = NOTHING

    def __init__(self, shared: SharedOutput, context: JobContext) -> None:
        self.shared = shared
        self.context: JobContext | None = context
        self.streams: dict[int, LogStream] = {}

    def __enter__(self) -> None:
        _output.set(self)

    def __exit__(self, *raised: object) -> None:
        self.shared.flush_buffers()
        for stream in self.streams.values():
            stream.finish()
            stream.lines.capture.context = None
        self.context = None

    def stream(self, descriptor: int) -> LogStream:
        """Return standard output or error of the job."""
        stream = self.streams.get(descriptor)
        if stream is None or not stream.is_usable:
            capture = Capture()  # of its own: the streams of the process stay as they are
            capture.context = self.context
            level = logging.INFO if descriptor == OUT else logging.WARNING
            stream = self.streams[descriptor] = LogStream(capture, level, descriptor)
        return stream

    def add_log(self, text: object, *, level: int = logging.INFO) -> None:
        """Add a record of logging to the log while the job runs. The one about its failure is no part of it."""
        if self.context is not None:
            self.context.add_log(text, level=level)


_output: ContextVar[JobOutput | None] = ContextVar("qorworker_output", default=None)


class NoJob:
    """Takes the lines that belong to no job."""

    mask = NOTHING

    def add_log(self, text: object, *, level: int = logging.INFO) -> None:
        """Write a text to the real output."""
        os.write(ERR, f"{text}\n".encode("utf-8", "backslashreplace"))


class SharedStream(io.TextIOBase):
    """``sys.stdout`` of all jobs: it is the stream of the job that writes to it."""

    def __init__(self, descriptor: int, real: Any) -> None:
        self.descriptor, self.real = descriptor, real

    @property
    def own(self) -> Any:
        """The stream of the job that runs."""
        output = _output.get()
        return self.real if output is None else output.stream(self.descriptor)

    @property
    def buffer(self) -> Any:
        return self.own.buffer

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.descriptor

    def write(self, text: str) -> int:
        return int(self.own.write(text))

    def flush(self) -> None:
        self.own.flush()

    def close(self) -> None:
        """Close nothing: other jobs print, too."""

    def reconfigure(self, **options: Any) -> None:
        """Reconfigure the stream of the job that runs."""
        self.own.reconfigure(**options)


class SharedOutput:
    """Sends the output of this process to the logs of the jobs that run in it."""

    def __init__(self, captured: Capture) -> None:
        self.captured = captured

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Keep the output of jobs apart in this block."""
        streams, factory = (sys.stdout, sys.stderr), logging.getLogRecordFactory()

        def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
            # A handler of the project's may pass it on later, in the context of another job or in a thread.
            record = factory(*args, **kwargs)
            setattr(record, OWNER, _output.get())
            return record

        sys.stdout, sys.stderr = SharedStream(OUT, streams[0]), SharedStream(ERR, streams[1])
        logging.setLogRecordFactory(make_record)
        self.captured.context = NoJob()
        try:
            yield
        finally:
            self.flush_buffers()
            self.captured.context = None
            logging.setLogRecordFactory(factory)
            sys.stdout, sys.stderr = streams

    def flush_buffers(self) -> None:
        """Have the project's handlers pass on what they keep back, as at the end of a job."""
        for buffer in self.captured.buffers:
            with contextlib.suppress(Exception):  # logging must not fail the job
                buffer.flush()

    def of_job(self, context: JobContext) -> JobOutput:
        """Return the block whose output goes to the log of one job."""
        return JobOutput(self, context)
