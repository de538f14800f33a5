"""Sentry: failures are events that name their job, runs are transactions, schedules are monitors."""

from __future__ import annotations

import datetime as dt
import logging

import pytest
import sentry_sdk
from sentry_sdk.scope import add_global_event_processor, global_event_processors
from sentry_sdk.transport import Transport

from qorworker import At, Cron, Every, JobContext, Schedule, Secret, job
from qorworker.contrib.sentry import monitors, runs
from qorworker.models import Calendar, Job
from qorworker.signals import jobs_made
from qorworker.testing import run_job
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.once, pytest.mark.usefixtures("own_types")]


class Kept(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.items = []

    def capture_envelope(self, envelope) -> None:
        self.items += ((item.headers["type"], item.payload.json) for item in envelope.items)

    def of(self, kind: str) -> list:
        return [payload for each, payload in self.items if each == kind]


@pytest.fixture
def sentry(received, middleware):
    """What Sentry gets."""
    transport = Kept()
    processors = list(global_event_processors)
    with sentry_sdk.isolation_scope():
        sentry_sdk.init("http://key@127.0.0.1:1/1", transport=transport, traces_sample_rate=1.0)
        add_global_event_processor(runs.name_job)
        received(jobs_made, runs.note_trace)
        middleware("qorworker.contrib.sentry.runs.monitored")
        yield transport
        sentry_sdk.flush()
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)
    global_event_processors[:] = processors


def declare(function, **options):
    return job(**{"name": "app.letter", **options})(function)


def fail() -> None:
    raise ValueError("no stamp")


def nothing() -> None:
    pass


def test_a_failure_is_one_event_that_names_its_job(sentry):
    ran = run_job(declare(fail))
    (event,) = sentry.of("event")
    assert event["exception"]["values"][-1]["value"] == "no stamp"
    assert event["tags"] == {"job.id": str(ran.job.pk), "job.name": "app.letter", "job.attempt": "1"}


def test_a_run_is_a_transaction_and_its_failure_is_in_the_same_trace(sentry):
    ran = run_job(declare(fail))
    (transaction,) = sentry.of("transaction")
    (event,) = sentry.of("event")
    assert transaction["transaction"] == "app.letter"
    trace = transaction["contexts"]["trace"]
    assert (trace["op"], trace["status"]) == ("queue.process", "internal_error")
    assert trace["data"]["messaging.message.id"] == str(ran.job.pk)
    assert event["contexts"]["trace"]["trace_id"] == trace["trace_id"]


def test_what_a_handler_reports_names_its_job_and_the_next_run_starts_afresh(sentry):
    def report() -> None:
        sentry_sdk.set_tag("mood", "good")
        sentry_sdk.capture_message("half way")

    def ask() -> None:
        sentry_sdk.capture_message("and now")

    first = run_job(declare(report))
    second = run_job(declare(ask, name="app.other"))
    half, now = sentry.of("event")
    assert half["tags"].items() >= {"job.id": str(first.job.pk), "job.queue": "default", "mood": "good"}.items()
    assert now["tags"]["job.id"] == str(second.job.pk)
    assert "mood" not in now["tags"]


def test_secrets_are_masked_in_what_a_handler_reports(sentry):
    logger = logging.getLogger("shop.mail")

    def report(password: Secret[str]) -> None:
        text = password.get_secret_value()
        logger.warning("using %s", text)
        try:
            raise ValueError(f"wrong: {text}")
        except ValueError:
            logger.exception("it failed: %s", text, extra={"header": {"key": [text]}})

    run_job(declare(report), password="swordfish-7")
    (event,) = sentry.of("event")
    assert "swordfish-7" not in repr(sentry.items)
    assert event["exception"]["values"][0]["value"] == "wrong: ••••••"
    assert event["tags"]["job.name"] == "app.letter"
    assert event["breadcrumbs"]["values"][-1]["message"] == "using ••••••"


def test_an_attempt_that_is_suspended_is_no_failure(sentry):
    def ask(context: JobContext) -> None:
        context.ask("Send them?", send=bool)

    schedule = Schedule.objects.create_for(declare(ask), Every(minutes=15))
    assert run_job(schedule.run_now()).job.waits_for_answer
    assert [each["status"] for each in sentry.of("check_in")] == ["in_progress", "ok"]
    (transaction,) = sentry.of("transaction")
    assert transaction["contexts"]["trace"].get("status") != "internal_error"


def test_the_run_is_in_the_trace_in_which_the_job_was_enqueued(sentry):
    letter = declare(nothing)
    with sentry_sdk.start_transaction(name="request") as request:
        run_job(letter)
    transactions = {each["transaction"]: each for each in sentry.of("transaction")}
    assert transactions["app.letter"]["contexts"]["trace"]["trace_id"] == request.trace_id


def test_without_a_transaction_nothing_is_kept_with_the_job(sentry):
    declare(nothing).enqueue()
    assert Job.objects.get().meta == {}


@pytest.mark.django_db(transaction=True)  # another thread reads the row
def test_coroutines_are_transactions_too(sentry):
    async def letter() -> None:
        pass

    assert run_job(declare(letter)).status == "done"
    assert [each["transaction"] for each in sentry.of("transaction")] == ["app.letter"]


class TestMonitors:
    def run(self, schedule: Schedule) -> None:
        run_job(schedule.run_now())

    def test_a_run_of_a_schedule_checks_in_at_its_begin_and_its_end(self, sentry):
        letter = declare(nothing, timeout=600)
        self.run(Schedule.objects.create_for(letter, Cron("30 6 * * 1-5", "Europe/Berlin"), name="Nightly letters"))
        begin, end = sentry.of("check_in")
        assert (begin["monitor_slug"], begin["status"]) == ("nightly-letters", "in_progress")
        assert (end["check_in_id"], end["status"]) == (begin["check_in_id"], "ok")
        assert begin["monitor_config"] == {
            "schedule": {"type": "crontab", "value": "30 6 * * 1-5"}, "timezone": "Europe/Berlin", "max_runtime": 10,
        }  # fmt: skip

    def test_a_failure_is_told(self, sentry):
        self.run(Schedule.objects.create_for(declare(fail), Every(minutes=15)))
        assert [each["status"] for each in sentry.of("check_in")] == ["in_progress", "error"]

    def test_jobs_without_a_schedule_do_not_check_in(self, sentry):
        run_job(declare(nothing))
        assert sentry.of("check_in") == []

    @pytest.mark.parametrize(
        ("when", "expected"),
        [
            (Every(minutes=15), {"type": "interval", "value": 15, "unit": "minute"}),
            (Every(hours=2), {"type": "interval", "value": 2, "unit": "hour"}),
            (Every(days=7), {"type": "interval", "value": 7, "unit": "day"}),
            (Every(seconds=90), None),
            (Cron("@daily"), {"type": "crontab", "value": "0 0 * * *"}),
            (Cron("0 6 * * THU"), {"type": "crontab", "value": "0 6 * * THU"}),
            (Cron("H 6 * * *"), None),
            (At(dt.datetime(2099, 1, 1, 6, tzinfo=dt.UTC)), None),
        ],
    )
    def test_what_sentry_knows_of_is_told(self, when, expected):
        schedule = Schedule.objects.create_for(declare(nothing), when)
        assert monitors._when(schedule) == expected

    def test_days_off_are_not_missed(self):
        Calendar.objects.create(name="holidays")
        schedule = Schedule.objects.create_for(declare(nothing), Cron("0 6 * * *", calendar="holidays"))
        assert monitors._when(schedule) is None

    @pytest.mark.parametrize(
        ("name", "slug"), [("Nächtlich!", "nachtlich"), ("日本", "schedule-7"), ("x" * 90, "x" * 50)]
    )
    def test_each_name_makes_a_slug(self, name, slug):
        assert monitors.slug_of(Schedule(pk=7, name=name)) == slug
