"""Each event that a rule or a user wants to hear of gets its message once, and no other gets one."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from qorworker.actions import messaging
from qorworker.actions.messaging import message_if_due, settle_open
from qorworker.definitions.registry import registry
from qorworker.models import Attempt, AuditEntry, Job, Message, MessageMark, MessageState, Outcome, database_now
from qorworker.models.clock import aware
from qorworker.models.job_messages import SELF_TEST, SENDER
from qorworker.signals import message_failed
from tests.models.rows import make_job, race, somebody_else

pytestmark = pytest.mark.django_db

SECOND = dt.timedelta(seconds=1)
RULE = {"name": "all", "on": ["failed"], "mail": ["ops@example.com"]}
EVERYTHING = ["worker_lost", "row_errors", "failed", "attempt_failed", "aborted", "cancelled", "done"]


def rules(settings, *given):
    """Have these rules from now on."""
    settings.QORWORKER = {**settings.QORWORKER, "MESSAGES": [{**RULE, **one} for one in given]}
    look()


def look():
    MessageMark.objects.update(at=None)
    message_if_due("default", 10.0)


def attempt(outcome=Outcome.DONE, *, status=None, job=None, number=1, at=None, error="", exception="", **fields):
    """A job, and an attempt at it that has ended."""
    at = at or database_now("default")
    if job is None:
        status = status or {"done": "done", "aborted": "killed"}.get(outcome, "exception")
        job = make_job(status, attempt=number, finished_at=at, **fields)
    return Attempt.objects.create(
        job=job, number=number, started_at=at, finished_at=at, outcome=outcome, error=error, exception_class=exception
    )


def told():
    return list(Message.objects.values_list("rule", "event", "job_id"))


# Which events there are


@pytest.mark.parametrize(
    ("fields", "events"),
    [
        ({"outcome": Outcome.DONE}, ["done"]),
        ({"outcome": Outcome.FAILED}, ["failed"]),
        ({"outcome": Outcome.TIMEOUT}, ["failed"]),
        ({"outcome": Outcome.REFUSED}, ["failed"]),
        ({"outcome": Outcome.FAILED, "status": "scheduled", "max_attempts": 3}, ["attempt_failed"]),
        ({"outcome": Outcome.LOST, "status": "scheduled", "max_attempts": 3}, ["worker_lost", "attempt_failed"]),
        ({"outcome": Outcome.LOST}, ["worker_lost", "failed"]),
        ({"outcome": Outcome.ABORTED}, ["aborted"]),
        ({"outcome": Outcome.ROW_ERRORS}, ["row_errors", "failed"]),
        ({"outcome": Outcome.DONE, "results_errors": 2}, ["row_errors", "done"]),
    ],
)
def test_an_end_is_reported_as_what_it_is_to_rules_that_ask_for_it(settings, fields, events):
    others = [each for each in EVERYTHING if each not in events]
    rules(settings, {"on": EVERYTHING}, {"name": "last", "on": events[-1:]}, {"name": "others", "on": others})
    ended = attempt(**fields)
    look()
    assert told() == [("all", events[0], ended.job_id), ("last", events[-1], ended.job_id)]


def test_a_job_that_is_cancelled_is_one_and_an_attempt_that_was_interrupted_is_none(settings):
    rules(settings, {"on": EVERYTHING})
    cancelled = make_job("new")
    cancelled.cancel()
    attempt(Outcome.INTERRUPTED, status="new", max_attempts=3)
    attempt(Outcome.SUSPENDED, status="new", max_attempts=3)
    look()
    assert told() == [("all", "cancelled", cancelled.pk)]


def test_a_run_that_nobody_approved_was_cancelled_too(settings):
    rules(settings, {"on": ["cancelled"]})
    job = make_job("cancelled")
    AuditEntry.objects.record("decline to approve", job=job, outcome="too late")
    look()
    assert told() == []
    AuditEntry.objects.record("decline to approve", job=job)
    look()
    assert told() == [("all", "cancelled", job.pk)]


def test_a_job_that_was_lost_for_good_has_failed_for_a_rule_that_asks_for_that(settings):
    rules(settings, {"on": ["failed"]})
    attempt(Outcome.LOST)
    attempt(Outcome.LOST, status="scheduled", max_attempts=3)
    look()
    assert [event for _rule, event, _job in told()] == ["failed"]


def test_the_facts_are_those_of_the_attempt(settings):
    rules(settings, {"on": ["failed"]})
    ended = attempt(Outcome.FAILED, error="ValueError: no", exception="builtins.ValueError", number=2)
    Job.objects.filter(pk=ended.job_id).update(error="another one since", status="new")
    Job.objects.filter(pk=ended.job_id).update(status="exception")
    look()
    facts = Message.objects.get().facts
    assert facts == {
        "status": "exception",
        "attempt": 2,
        "error": "ValueError: no",
        "exception": "builtins.ValueError",
        "row_errors": 0,
        "at": aware(ended.finished_at).isoformat(),
        "left_out": 0,
    }


# Which jobs a rule is about


def test_a_rule_is_about_its_jobs_queues_and_groups(settings):
    rules(settings, {"name": "jobs", "jobs": ["app.a"]}, {"name": "queues", "queues": ["mail"]})
    first = attempt(Outcome.FAILED, name="app.a")
    second = attempt(Outcome.FAILED, name="app.b", queue_name="mail")
    attempt(Outcome.FAILED, name="app.b")
    look()
    assert told() == [("jobs", "failed", first.job_id), ("queues", "failed", second.job_id)]


def test_a_group_is_named_as_in_the_code_whatever_the_language(settings):
    named = next(each for each in registry.all() if each.group)
    group = messaging.group_of(named.name)
    rules(settings, {"groups": [group]})
    ended = attempt(Outcome.FAILED, name=named.name)
    attempt(Outcome.FAILED, name="app.without_a_type")
    look()
    assert told() == [("all", "failed", ended.job_id)]


def test_a_rule_with_two_channels_has_a_message_for_each(settings):
    rules(settings, {"webhook": {"url": "https://example.com/", "secret": "x"}})
    attempt(Outcome.FAILED)
    look()
    assert set(Message.objects.values_list("channel", flat=True)) == {"mail", "webhook"}
    assert len(set(Message.objects.values_list("uid", flat=True))) == 2


@pytest.mark.parametrize("name", [SENDER, SELF_TEST])
def test_jobs_that_send_messages_or_test_workers_are_never_reported(settings, name):
    rules(settings, {"on": EVERYTHING})
    attempt(Outcome.FAILED, name=name)
    look()
    assert told() == []


# Once, whatever happens


def test_a_message_has_a_job_that_sends_it(settings):
    rules(settings, {})
    attempt(Outcome.FAILED)
    look()
    message = Message.objects.get()
    job = Job.objects.get(pk=message.sender_id)
    assert (job.name, job.status, job.arguments) == (SENDER, "new", {"uid": message.uid})
    assert message.state == MessageState.QUEUED


def test_what_happened_before_there_were_rules_or_is_old_is_not_reported(settings):
    attempt(Outcome.FAILED)
    rules(settings, {})
    attempt(Outcome.FAILED, at=database_now("default") - messaging.OLDEST - SECOND)
    look()
    assert told() == []


def test_another_look_reports_nothing_again(settings):
    rules(settings, {})
    attempt(Outcome.FAILED)
    for _ in range(3):
        look()
    assert Message.objects.count() == 1


def test_a_process_that_dies_before_the_commit_leaves_nothing_behind_and_the_next_one_reports_it(settings, monkeypatch):
    rules(settings, {})
    attempt(Outcome.FAILED)
    monkeypatch.setattr("qorworker.actions.reports.enqueue", lambda messages, using: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        look()
    assert not Message.objects.exists()
    assert not Job.objects.filter(name=SENDER).exists()
    monkeypatch.undo()
    look()
    assert Message.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgresql", "mysql")
def test_several_at_a_time_report_each_event_once(settings):
    rules(settings, {})
    for _ in range(20):
        attempt(Outcome.FAILED)
    outcomes = race(*[lambda: message_if_due("default", 10.0)] * 4)
    assert outcomes == [None] * 4
    look()
    assert Message.objects.count() == 20
    assert Job.objects.filter(name=SENDER).count() == 20


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgresql", "mysql")
def test_an_attempt_whose_id_is_lower_and_that_is_committed_later_is_reported(settings):
    rules(settings, {})
    early, late = make_job("exception"), make_job("exception")
    with somebody_else() as cursor:
        now = database_now("default")
        row = Attempt(job=early, number=1, started_at=now, finished_at=now, outcome="failed")
        fields = [field for field in Attempt._meta.local_concrete_fields if not field.primary_key]
        quote = connection.ops.quote_name
        columns, places = ", ".join(quote(field.column) for field in fields), ", ".join(["%s"] * len(fields))
        values = [getattr(row, field.attname) for field in fields]
        cursor.execute(f"INSERT INTO qorworker_attempt ({columns}) VALUES ({places})", values)
        attempt(Outcome.FAILED, job=late)
        look()
        assert [job for _rule, _event, job in told()] == [late.pk]
        cursor.connection.commit()
        look()
    assert [job for _rule, _event, job in told()] == [late.pk, early.pk]


def test_more_than_fits_one_round_is_reported(settings, monkeypatch):
    monkeypatch.setattr(messaging, "MOST", 3)
    rules(settings, {})
    for _ in range(10):
        attempt(Outcome.FAILED)
    look()
    assert Message.objects.count() == 10


def test_a_clock_of_the_database_that_went_back_stops_no_messages(settings):
    rules(settings, {})
    attempt(Outcome.FAILED)
    MessageMark.objects.update(at=database_now("default") + 3600 * SECOND)
    message_if_due("default", 10.0)
    assert Message.objects.count() == 1


def test_without_rules_and_messages_two_short_statements_are_all(settings):
    with CaptureQueriesContext(connection) as queries:
        message_if_due("default", 10.0)
    assert len(queries) == 2
    assert not MessageMark.objects.exists()


def test_with_rules_and_without_news_a_look_takes_few_statements(settings):
    rules(settings, {})
    with CaptureQueriesContext(connection) as queries:
        message_if_due("default", 10.0)
    assert len(queries) <= 6


# Quiet periods


def test_an_error_that_repeats_is_reported_once_in_its_period_and_then_with_the_number_left_out(settings):
    rules(settings, {"quiet": 3600})
    for _ in range(3):
        attempt(Outcome.FAILED, exception="builtins.KeyError")
    look()
    attempt(Outcome.FAILED, exception="builtins.KeyError")
    look()
    first = Message.objects.get()
    assert (first.facts["left_out"], first.left_out) == (0, 3)
    Message.objects.update(created_at=database_now("default") - 3601 * SECOND)
    attempt(Outcome.FAILED, exception="builtins.KeyError")
    look()
    assert Message.objects.last().facts["left_out"] == 3
    Message.objects.update(created_at=database_now("default") - 3601 * SECOND)
    attempt(Outcome.FAILED, exception="builtins.KeyError")
    look()
    assert Message.objects.last().facts["left_out"] == 0
    assert Message.objects.count() == Job.objects.filter(name=SENDER).count() == 3


def test_another_error_job_type_or_rule_has_a_period_of_its_own(settings):
    rules(settings, {"quiet": 3600}, {"name": "each", "jobs": ["app.c"]})
    attempt(Outcome.FAILED, name="app.a", exception="builtins.KeyError")
    attempt(Outcome.FAILED, name="app.a", exception="builtins.ValueError")
    attempt(Outcome.FAILED, name="app.b", exception="builtins.KeyError")
    attempt(Outcome.FAILED, name="app.c")
    attempt(Outcome.FAILED, name="app.c")
    look()
    reported = list(Message.objects.values_list("rule", flat=True))
    assert sorted(reported) == ["all"] * 4 + ["each"] * 2


def test_both_channels_are_quiet_together(settings):
    rules(settings, {"quiet": 3600, "webhook": {"url": "https://example.com/", "secret": "x"}})
    attempt(Outcome.FAILED)
    look()
    attempt(Outcome.FAILED)
    look()
    Message.objects.update(created_at=database_now("default") - 3601 * SECOND)
    attempt(Outcome.FAILED)
    look()
    assert [message.facts["left_out"] for message in Message.objects.all()] == [0, 0, 1, 1]


# What single users want to know


@pytest.mark.parametrize(
    ("status", "when", "event"),
    [
        ("done", "done", "done"), ("done", "ended", "done"), ("done", "failed", None),
        ("exception", "failed", "failed"), ("exception", "ended", "failed"), ("exception", "done", None),
        ("killed", "ended", "aborted"), ("killed", "failed", None), ("cancelled", "ended", "cancelled"),
    ],
)  # fmt: skip
def test_the_end_that_somebody_waits_for_has_a_message_and_others_have_none(status, when, event):
    job = make_job("new")
    job.notify("ann@example.com", when=when)
    settle_open("default")
    assert Message.objects.get().state == MessageState.WAITING
    Job.objects.filter(pk=job.pk).update(status=status, error="no")
    settle_open("default")
    found = list(Message.objects.values_list("event", "state"))
    assert found == ([(event, "queued")] if event else [])
    assert Job.objects.filter(name=SENDER).count() == len(found)
    settle_open("default")
    assert Job.objects.filter(name=SENDER).count() == len(found)


def test_a_job_that_failed_and_was_retried_before_anybody_looked_is_still_waited_for():
    job = make_job("exception")
    job.notify("ann@example.com")
    job.retry()
    settle_open("default")
    assert Message.objects.get().state == MessageState.WAITING


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgresql", "mysql")
def test_several_workers_send_one_message_about_the_end_of_a_job():
    for _ in range(5):
        make_job("done").notify("ann@example.com")
    assert race(*[lambda: settle_open("default")] * 4) == [None] * 4
    settle_open("default")
    assert Message.objects.filter(state="queued").count() == 5
    assert Job.objects.filter(name=SENDER).count() == 5


# What becomes of messages that cannot be sent


@pytest.mark.parametrize("status", ["exception", "killed", "cancelled", "gone"])
def test_a_message_whose_job_ended_otherwise_is_given_up_with_a_signal(status):
    heard = []
    message = make_job("done").notify("ann@example.com")
    settle_open("default")
    message.refresh_from_db()
    sending = Job.objects.filter(pk=message.sender_id)
    settle_open("default")
    assert Message.objects.get().state == MessageState.QUEUED
    if status == "gone":
        sending.get().delete()
    else:
        sending.update(status=status, attempt_token=None)
    message_failed.connect(lambda message, **more: heard.append(message), weak=False, dispatch_uid="test")
    try:
        settle_open("default")
        settle_open("default")
    finally:
        message_failed.disconnect(dispatch_uid="test")
    [found] = heard
    assert (found.pk, found.state) == (message.pk, "failed")
    assert found.error == "The job that was to send it ended before it did."


def test_messages_go_with_their_job(settings):
    rules(settings, {})
    ended = attempt(Outcome.FAILED)
    look()
    ended.job.delete()
    assert not Message.objects.exists()
