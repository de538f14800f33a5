"""The spans: one where jobs are enqueued, one for each attempt, in the same trace. All processes.

The names of attributes are those of OpenTelemetry for messaging, as far as a queue in a database has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import qorworker
from qorworker.contrib.surrounding import surrounding
from qorworker.execution.context import JobContext
from qorworker.models import Job

META = "opentelemetry"  # the key in ``Job.meta``
# Only the ids of the trace: what else a project propagates may not be meant for a column.
_propagator = TraceContextTextMapPropagator()


def _tracer() -> trace.Tracer:
    return trace.get_tracer("qorworker", qorworker.__version__)


def note_trace(sender: Any, jobs: Sequence[Job], **kwargs: Any) -> None:
    """Begin and end the span of an enqueueing, and note it with the *jobs*, which are about to be stored."""
    name, queue = jobs[0].name, jobs[0].queue_name
    attributes = {**_attributes(name, queue), "messaging.operation.type": "send"}
    if len(jobs) > 1:
        attributes["messaging.batch.message_count"] = len(jobs)
    with _tracer().start_as_current_span(f"enqueue {name}", kind=SpanKind.PRODUCER, attributes=attributes):
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
    for job in jobs:
        if carrier:
            job.meta[META] = dict(carrier)
        else:  # a rerun has that of the job before
            job.meta.pop(META, None)


@contextmanager
def _span(context: JobContext) -> Iterator[None]:
    carrier = context.job.meta.get(META)
    parent = _propagator.extract(carrier) if isinstance(carrier, dict) else None
    attributes = {
        **_attributes(context.name, context.job.queue_name),
        "messaging.operation.type": "process",
        "messaging.message.id": str(context.job_id),
        "qorworker.job.attempt": context.attempt,
    }
    with _tracer().start_as_current_span(
        f"process {context.name}",
        context=parent,
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            if not context.mask:  # what a job with secrets raises may quote them
                span.record_exception(error)
            raise


#: A middleware: each attempt is a span in the trace in which its job was enqueued.
traced = surrounding(_span, reads_row=True)


def _attributes(name: str, queue: str) -> dict[str, Any]:
    return {"messaging.system": "qorworker", "messaging.destination.name": queue, "qorworker.job.name": name}
