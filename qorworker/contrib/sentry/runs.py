"""One run as Sentry sees it: its scope, its transaction, the job in its events. Wherever a job runs, or is enqueued."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import sentry_sdk
from sentry_sdk.serializer import serialize

from qorworker.contrib.sentry.monitors import monitored_schedule
from qorworker.contrib.surrounding import surrounding
from qorworker.execution.context import JobContext
from qorworker.models import Job
from qorworker.text.masking import Mask

if TYPE_CHECKING:
    from sentry_sdk.types import Event

META = "sentry"  # the key in ``Job.meta``
TRACE = "_qorworker_sentry_trace"  # on what a handler raised: it is logged once its transaction has ended
TAGS = {"job_id": "job.id", "job_name": "job.name", "job_attempt": "job.attempt"}  # of log records -> of events


def note_trace(sender: Any, jobs: Sequence[Job], **kwargs: Any) -> None:
    """Note with *jobs*, which are about to be stored, in which trace they are enqueued."""
    headers = {}
    if sentry_sdk.get_current_scope().transaction is not None:  # that this was called is a span of its own
        found = {"sentry-trace": sentry_sdk.get_traceparent(), "baggage": sentry_sdk.get_baggage()}
        headers = {name: value for name, value in found.items() if value}
    for job in jobs:
        job.meta.pop(META, None)  # a rerun has that of the job before
        if headers:
            job.meta[META] = dict(headers)


def name_job(event: Event, hint: dict[str, Any]) -> Event:
    """Add the job to the event that a log record about it has become, as that of a failure does."""
    record = hint.get("log_record")
    if getattr(record, "job_id", None) is None:
        return event
    tags = event.setdefault("tags", {})
    if isinstance(tags, dict):
        for name, tag in TAGS.items():
            tags.setdefault(tag, str(getattr(record, name, "")))
    error = (hint.get("exc_info") or (None, None))[1]
    if trace := getattr(error, TRACE, None):
        event.setdefault("contexts", {})["trace"] = trace
    return event


@contextmanager
def _run(context: JobContext) -> Iterator[None]:
    meta = context.job.meta.get(META)
    with sentry_sdk.isolation_scope() as scope:
        scope.clear_breadcrumbs()
        for tag, value in zip(TAGS.values(), (context.job_id, context.name, context.attempt), strict=True):
            scope.set_tag(tag, str(value))
        scope.set_tag("job.queue", context.job.queue_name)
        headers = meta if isinstance(meta, dict) else {}
        if context.mask:
            scope.add_event_processor(partial(_masked_event, context.mask))
        transaction = sentry_sdk.continue_trace(headers, op="queue.process", name=context.name, source="task")
        suspended = None
        with sentry_sdk.start_transaction(transaction) as span, monitored_schedule(context):
            span.set_data("messaging.message.id", str(context.job_id))
            span.set_data("messaging.destination.name", context.job.queue_name)
            try:
                yield
            except Exception as error:
                span.set_status("internal_error")
                with suppress(AttributeError):
                    setattr(error, TRACE, span.get_trace_context())
                raise
            except BaseException as error:
                if not context.was_suspended:
                    raise
                suspended = error  # another attempt goes on: for Sentry nothing has failed
        if suspended is not None:
            raise suspended


def _masked_event(mask: Mask, event: Event, hint: dict[str, Any]) -> Event:
    """Return what is sent while a job with secrets runs: neither what it logs nor the variables of its frames tell."""
    return cast("Event", _masked(mask, serialize(dict(event))))


def _masked(mask: Mask, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _masked(mask, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(mask, each) for each in value]
    return mask.in_value(value)


#: A middleware: each attempt has a scope and a transaction of its own, and those of schedules check in.
monitored = surrounding(_run, reads_row=True)
