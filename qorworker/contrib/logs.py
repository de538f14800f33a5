"""Log lines of the project that say from which job they come: filter, formatter and handler, and one for structlog.

Wherever a job runs. It needs no library.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from qorworker.contrib.surrounding import surrounding
from qorworker.system.console import Console

if TYPE_CHECKING:  # ``LOGGING`` is read before models can be loaded
    from qorworker.execution.context import JobContext

__all__ = ["ConsoleHandler", "JSONFormatter", "JobFilter", "add_job", "with_job"]

FIELDS = ("job_id", "job_name", "job_attempt")
OWN = ("time", "level", "logger", "exception", "stack")  # in each line of JSON; ``logging`` keeps ``message`` free
# What every record has; all else was given with ``extra``.
USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}

_current: ContextVar[JobContext | None] = ContextVar("qorworker_logged_job", default=None)


@contextmanager
def _noted(context: JobContext) -> Iterator[None]:
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


#: A middleware that notes the running job for the lines that are logged meanwhile.
with_job = surrounding(_noted)


def job_fields() -> dict[str, Any]:
    """Return the id, the name and the attempt of the job that runs in this context; nothing outside of a job."""
    context = _current.get()
    if context is None:
        return {}
    return dict(zip(FIELDS, (context.job_id, context.name, context.attempt), strict=True))


class JobFilter(logging.Filter):
    """Gives each record ``job_id``, ``job_name`` and ``job_attempt``: None outside of a job."""

    def filter(self, record: logging.LogRecord) -> bool:
        current = job_fields()
        for name in FIELDS:
            if not hasattr(record, name):  # a failure is logged after the run, and says itself of which job
                setattr(record, name, current.get(name))
        return True


class ConsoleHandler(logging.StreamHandler[Console]):
    """Writes records to standard error of the worker, those of jobs as well, which land in their own logs, too.

    In a job, other handlers for the console only write to its log.
    """

    def __init__(self) -> None:
        super().__init__(Console())


class JSONFormatter(logging.Formatter):
    """Formats each record as one line of JSON, with the job and with what was given as ``extra``.

    Secrets of the job that runs are masked. What JSON cannot hold is written as a text: no line is lost for it.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **job_fields(),
        }
        extra = {
            f"{name}_" if name in OWN else name: value for name, value in vars(record).items() if name not in USUAL
        }
        line |= {name: value for name, value in extra.items() if name not in FIELDS or value is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        try:
            text = json.dumps(line, default=str, ensure_ascii=False, allow_nan=False)
        except Exception:  # keys of other types, cycles, numbers that JSON does not have, or ``__str__`` fails
            text = json.dumps({name: _plain(value) for name, value in line.items()}, ensure_ascii=False)
        context = _current.get()
        text = text if context is None or not context.mask else context.mask.in_json(text)
        return text.encode("utf-8", "backslashreplace").decode()  # half of a pair of surrogates has no UTF-8


def _plain(value: Any) -> str | int | None:
    """Return what stands for a value among others that JSON cannot hold."""
    if value is None or isinstance(value, (str, int)):
        return value
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__}>"


def add_job(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the same to an event of structlog, as one of its processors. What the event has already stays."""
    for name, value in job_fields().items():
        event.setdefault(name, value)
    return event
