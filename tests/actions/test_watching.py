"""What begins to hold is reported once, for as long as it holds, and again if it begins anew."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from qorworker.actions import watching
from qorworker.actions.messaging import message_if_due
from qorworker.models import (
    Approval,
    Job,
    Message,
    MessageMark,
    Question,
    ScheduleSlot,
    Worker,
    database_now,
)
from qorworker.models.job_messages import SENDER
from qorworker.models.schedule import Schedule
from qorworker.schedules.timetable import Every, Slot
from tests.models.rows import ended as ended_job
from tests.models.rows import make_job, race
from tests.testapp import jobs

pytestmark = pytest.mark.django_db

SECOND = dt.timedelta(seconds=1)
RULE = {"name": "all", "mail": ["ops@example.com"]}


def rules(settings, *given):
    settings.QORWORKER = {**settings.QORWORKER, "MESSAGES": [{**RULE, **one} for one in given]}
    look()


def look():
    MessageMark.objects.update(at=None, looked_at=None)
    message_if_due("default", 10.0)


def told():
    return list(Message.objects.values_list("rule", "event", "job_id"))


def ago(seconds):
    return database_now("default") - seconds * SECOND


# Queues


def test_a_queue_whose_oldest_job_waits_too_long_is_reported_once_until_it_has_caught_up(settings):
    rules(settings, {"on": ["queue_older_than"], "older_than": 60})
    late = make_job("new", run_after=ago(90), queue_name="mail")
    make_job("new", run_after=ago(30))
    look()
    look()
    message = Message.objects.get()
    assert (message.event, message.job_id, message.state) == ("queue_older_than", None, "queued")
    assert message.facts["queue"] == "mail"
    assert 90 <= message.facts["seconds"] < 600
    Job.objects.filter(pk=late.pk).delete()
    look()
    make_job("new", run_after=ago(90), queue_name="mail")
    Message.objects.update(source="a while ago")  # two looks are never within one second
    look()
    assert told() == [("all", "queue_older_than", None)] * 2


def test_each_rule_has_its_own_time_and_queues(settings):
    rules(
        settings,
        {"on": ["queue_older_than"], "older_than": 60, "queues": ["mail"]},
        {"name": "patient", "on": ["queue_older_than"], "older_than": dt.timedelta(hours=1)},
        {"name": "other", "on": ["queue_older_than"], "older_than": 60, "queues": ["default"]},
    )
    make_job("new", run_after=ago(90), queue_name="mail")
    look()
    assert told() == [("all", "queue_older_than", None)]


# Long jobs


def test_a_job_that_takes_several_times_what_is_usual_is_reported_once_an_attempt(settings):
    rules(settings, {"on": ["longer_than_usual"]}, {"name": "far", "on": ["longer_than_usual"], "times": 20})
    for _ in range(3):
        ended_job(ran=10.0)
    make_job("running", last_attempted_at=ago(25))
    long = make_job("running", last_attempted_at=ago(45))
    make_job("running", last_attempted_at=ago(999), name="app.never_done")
    look()
    look()
    assert told() == [("all", "longer_than_usual", long.pk)]
    facts = Message.objects.get().facts
    assert (facts["usual"], facts["status"], facts["attempt"]) == (10.0, "running", 1)
    Job.objects.filter(pk=long.pk).update(attempt=2)
    look()
    assert told() == [("all", "longer_than_usual", long.pk)] * 2


def test_jobs_that_send_messages_are_never_too_long(settings):
    rules(settings, {"on": ["longer_than_usual"]})
    ended_job(ran=1.0, name=SENDER)
    make_job("running", last_attempted_at=ago(45), name=SENDER)
    look()
    assert told() == []


# Workers


def worker(seconds, **fields):
    row = Worker.objects.start(name="host:1", host="host", process_id=1, slots=1, queues=["mail"])
    Worker.objects.filter(pk=row.pk).update(heartbeat_at=ago(seconds), **fields)
    return row


def test_an_idle_worker_that_falls_silent_is_reported_if_it_is_silent_at_two_looks(settings):
    rules(settings, {"on": ["worker_gone"]}, {"name": "elsewhere", "on": ["worker_gone"], "queues": ["default"]})
    worker(45)
    look()
    assert told() == []
    look()
    look()
    assert told() == [("all", "worker_gone", None)]
    assert Message.objects.get().facts["worker"] == "host:1"


def test_one_that_was_silent_because_the_database_was_away_is_not_reported(settings):
    rules(settings, {"on": ["worker_gone"]})
    row = worker(45)
    look()
    Worker.objects.beat(row.pk)
    look()
    look()
    assert told() == []


def test_one_that_was_found_dead_is_reported_at_once_and_one_that_said_goodbye_is_not(settings):
    rules(settings, {"on": ["worker_gone"]})
    dead, stopped = worker(3), worker(45)
    Worker.objects.stop(stopped.pk)
    worker(9_999)  # long ago
    assert Worker.objects.stop_dead(dead.pk) == 1
    assert Worker.objects.stop_dead(stopped.pk) == 0
    look()
    look()
    assert told() == [("all", "worker_gone", None)]


# Schedules


@pytest.fixture
def schedule():
    return Schedule.objects.create_for(jobs.noop, Every(days=1), name="daily")


def slot(schedule, number=0, **fields):
    moment = dt.datetime(2026, 11, 1, tzinfo=dt.UTC) + dt.timedelta(days=number)
    assert ScheduleSlot.objects.note(schedule, Slot(moment, f"slot {number}"), **fields)


def test_a_time_that_made_no_job_is_reported_unless_somebody_wanted_that(settings, schedule):
    slot(schedule, 0, outcome="skipped", reason="missed")
    rules(settings, {"on": ["schedule_missed"]})
    for number, reason in enumerate(["missed", "unfit", "limit", "overlap", "person", "unique"], 1):
        slot(schedule, number, outcome="skipped", reason=reason, missed=4 if reason == "missed" else 0)
    slot(schedule, 9, outcome="fired")
    look()
    look()
    found = [(message.job_id, message.facts["reason"], message.facts["missed"]) for message in Message.objects.all()]
    assert found == [(None, "missed", 4), (None, "unfit", 1), (None, "limit", 1)]
    assert Message.objects.first().facts["schedule"] == "daily"


def test_a_rule_for_other_job_types_hears_nothing_of_it(settings, schedule):
    rules(settings, {"on": ["schedule_missed"], "jobs": ["app.other"]})
    slot(schedule, outcome="skipped", reason="missed")
    look()
    assert told() == []


# What waits for people


def approval(job=None, **fields):
    job = job or make_job("scheduled", waits_for_approval=True)
    return Approval.objects.create(
        job=job, permission="shop.publish", **{"asked_at": database_now("default"), **fields}
    )


def test_a_job_that_waits_for_approval_is_reported_and_then_remembered_once(settings):
    rules(settings, {"on": ["approval_wanted"], "remind": 3600})
    wanted = approval()
    approval(expires_at=ago(1))
    approval(state="approved")
    approval(make_job("cancelled"))
    look()
    look()
    assert told() == [("all", "approval_wanted", wanted.job_id)]
    Approval.objects.filter(pk=wanted.pk).update(asked_at=ago(3700))
    look()
    look()
    assert told() == [("all", "approval_wanted", wanted.job_id)] * 2
    assert [message.source for message in Message.objects.all()] == [
        f"approval {wanted.pk}", f"approval {wanted.pk} again",
    ]  # fmt: skip


def test_a_schedule_that_waits_for_approval_is_reported_as_it_is_now(settings, schedule):
    rules(settings, {"on": ["approval_wanted"]})
    common = {"schedule": schedule, "permission": "shop.publish", "asked_at": database_now("default")}
    Approval.objects.create(revision=schedule.revision + 1, **common)
    Approval.objects.create(revision=schedule.revision, **common)
    look()
    assert told() == [("all", "approval_wanted", None)]
    assert Message.objects.get().facts["schedule_id"] == schedule.pk


def test_a_question_to_people_is_reported_and_one_that_others_answer_is_not(settings):
    rules(settings, {"on": ["question_asked"]})
    common = {"attempt": 1, "asked_at": database_now("default")}
    asking = make_job("scheduled", waits_for_answer=True)
    Question.objects.create(job=asking, key="a", kind="person", **common)
    Question.objects.create(job=asking, key="b", kind="callback", **common)
    Question.objects.create(job=make_job("done", waits_for_answer=False), key="c", kind="person", **common)
    look()
    look()
    assert told() == [("all", "question_asked", asking.pk)]


# Once, and at no cost to others


def test_a_quiet_period_leaves_out_others_of_their_kind(settings):
    rules(settings, {"on": ["approval_wanted"], "quiet": 3600})
    approval()
    look()
    approval()
    look()
    look()
    message = Message.objects.get()
    assert message.left_out == 1


def test_a_process_that_dies_before_the_commit_leaves_it_to_the_next_one(settings, monkeypatch):
    rules(settings, {"on": ["approval_wanted", "schedule_missed"]})
    approval()
    monkeypatch.setattr("qorworker.actions.reports.enqueue", lambda messages, using: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        look()
    assert not Message.objects.exists()
    assert MessageMark.objects.get().holding == {}
    monkeypatch.undo()
    look()
    assert Message.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.only_on("postgresql", "mysql")
def test_several_at_a_time_report_each_once(settings):
    rules(settings, {"on": ["approval_wanted", "queue_older_than"], "older_than": 60})
    for _ in range(20):
        approval()
    make_job("new", run_after=ago(90))
    MessageMark.objects.update(at=None, looked_at=None)
    assert race(*[lambda: message_if_due("default", 10.0)] * 4) == [None] * 4
    look()
    assert Message.objects.count() == 21
    assert Job.objects.filter(name=SENDER).count() == 21


def test_nothing_is_looked_for_that_no_rule_reports_or_more_often_than_needed(settings):
    rules(settings, {"on": ["failed"]})
    look()
    assert MessageMark.objects.get().looked_at is None
    rules(settings, {"on": [*watching.FINDERS, "schedule_missed"], "older_than": 60})
    approval()
    MessageMark.objects.update(at=None)
    with CaptureQueriesContext(connection) as queries:
        message_if_due("default", 10.0)
    assert len(queries) <= 8
    assert told() == []
