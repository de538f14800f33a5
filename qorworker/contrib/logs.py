"""Log lines of the project that say from which job they come: a filter, a formatter for JSON, one for structlog.

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

if TYPE_CHECKING:  # ``LOGGING`` is read before models can be loaded
    from qorworker.execution.context import JobContext

__all__ = ["JSONFormatter", "JobFilter", "add_job", "with_job"]

FIELDS = ("job_id", "job_name", "job_attempt")
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


class JSONFormatter(logging.Formatter):
    """Formats each record as one line of JSON, with the job and with what was given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **job_fields(),
        }
        extra = {name: value for name, value in vars(record).items() if name not in USUAL}
        line |= {name: value for name, value in extra.items() if name not in FIELDS or value is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def add_job(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the same to an event of structlog, as one of its processors. What the event has already stays."""
    for name, value in job_fields().items():
        event.setdefault(name, value)
    return event
