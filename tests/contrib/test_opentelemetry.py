"""Traces: where a job is enqueued and each of its attempts are spans of one trace, on each backend."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from qorworker import Every, JobContext, Schedule, Secret, job
from qorworker.contrib.opentelemetry import tracing
from qorworker.models import Job
from qorworker.signals import jobs_made
from qorworker.testing import run_job
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.once, pytest.mark.usefixtures("own_types")]
IMMEDIATE = {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"}


@pytest.fixture
def provider(monkeypatch):
    provider = TracerProvider()
    monkeypatch.setattr(tracing, "_tracer", lambda: provider.get_tracer("qorworker"))
    yield provider
    provider.shutdown()


@pytest.fixture
def spans(provider, received, middleware):
    """The spans that have ended, by name."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    received(jobs_made, tracing.note_trace)
    middleware("qorworker.contrib.opentelemetry.tracing.traced")
    return lambda: {span.name: span for span in exporter.get_finished_spans()}


def declare(**options):
    def decorate(function):
        return job(**{"name": "app.letter", **options})(function)

    return decorate


def test_the_run_is_in_the_trace_in_which_the_job_was_enqueued(spans, provider):
    @declare()
    def letter(to: str) -> None:
        pass

    with provider.get_tracer("site").start_as_current_span("request") as request:
        ran = run_job(letter, to="a")
    enqueued, processed = spans()["enqueue app.letter"], spans()["process app.letter"]
    assert enqueued.parent.span_id == request.get_span_context().span_id
    assert processed.parent.span_id == enqueued.context.span_id
    assert processed.context.trace_id == request.get_span_context().trace_id
    assert (enqueued.kind, processed.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert dict(processed.attributes) == {
        "messaging.system": "qorworker",
        "messaging.destination.name": "default",
        "messaging.operation.type": "process",
        "messaging.message.id": str(ran.job.pk),
        "qorworker.job.name": "app.letter",
        "qorworker.job.attempt": 1,
    }


@pytest.mark.django_db(transaction=True)
def test_jobs_of_the_immediate_backend_are_traced(spans, settings):
    settings.QORWORKER = {**settings.QORWORKER, "QUEUES": {"default": IMMEDIATE}}

    @declare()
    def letter() -> None:
        pass

    letter.enqueue()
    assert spans()["process app.letter"].parent.span_id == spans()["enqueue app.letter"].context.span_id


@pytest.mark.django_db(transaction=True)  # another thread reads the row
def test_coroutines_are_traced(spans):
    @declare()
    async def letter() -> None:
        pass

    assert run_job(letter).status == "done"
    assert spans()["process app.letter"].parent.span_id == spans()["enqueue app.letter"].context.span_id


def test_spans_of_the_handler_are_inside(spans, provider):
    @declare()
    def letter() -> None:
        with provider.get_tracer("shop").start_as_current_span("stamp"):
            pass

    run_job(letter)
    assert spans()["stamp"].parent.span_id == spans()["process app.letter"].context.span_id


def test_many_jobs_are_enqueued_in_one_span_that_counts_them(spans):
    @declare()
    def letter(to: str) -> None:
        pass

    letter.enqueue_many([{"to": "a"}, {"to": "b"}])
    assert spans()["enqueue app.letter"].attributes["messaging.batch.message_count"] == 2
    assert len({str(row.meta) for row in Job.objects.all()}) == 1


def test_what_the_project_keeps_with_the_job_stays(spans):
    @declare()
    def letter() -> None:
        pass

    letter.using(meta={"ticket": "SHOP-7"}).enqueue()
    assert Job.objects.get().meta.keys() == {"ticket", "opentelemetry"}


def test_a_rerun_is_in_the_trace_of_the_one_who_asks_for_it(spans):
    @declare()
    def letter() -> None:
        pass

    first = run_job(letter).job
    again = first.rerun()
    assert again.meta["opentelemetry"] != first.meta["opentelemetry"]


def test_without_a_recorded_trace_nothing_is_kept(received):
    received(jobs_made, tracing.note_trace)

    @declare()
    def letter() -> None:
        pass

    letter.enqueue()
    assert Job.objects.get().meta == {}


def test_a_failure_is_an_error_with_its_exception(spans):
    @declare()
    def letter() -> None:
        raise ValueError("no stamp")

    run_job(letter)
    span = spans()["process app.letter"]
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
    assert span.events[0].attributes["exception.message"] == "no stamp"


def test_the_exception_of_a_job_with_secrets_is_not_passed_on(spans):
    @declare()
    def letter(password: Secret[str]) -> None:
        raise ValueError(password.get_secret_value())

    run_job(letter, password="hunter2")
    span = spans()["process app.letter"]
    assert span.status.status_code == StatusCode.ERROR
    assert "hunter2" not in span.to_json()


def test_each_attempt_is_a_span(spans, provider):
    attempts = []

    @declare(max_attempts=2, backoff=lambda attempt: 0)
    def letter(context: JobContext) -> None:
        attempts.append(context.attempt)
        if context.attempt == 1:
            raise ValueError

    first = run_job(letter).job
    assert first.status == "scheduled"
    assert spans()["process app.letter"].attributes["qorworker.job.attempt"] == 1


def test_jobs_of_schedules_have_a_trace_of_their_own(spans):
    @declare()
    def letter() -> None:
        pass

    Schedule.objects.create_for(letter, Every(hours=1)).run_now()
    assert spans()["enqueue app.letter"].parent is None
