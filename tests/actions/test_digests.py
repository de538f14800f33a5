"""A rule with sums sends one message a time and receiver, with everything that happened in it."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core import mail

from qorworker.actions import digests
from qorworker.actions.messaging import message_if_due, settle_open
from qorworker.attempts.in_process import run_stored
from qorworker.models import Job, Message, MessageMark
from qorworker.models.job_messages import SENDER
from tests.admin.support import superuser, user_with
from tests.models.rows import ended, race

pytestmark = pytest.mark.django_db(transaction=True)

RULE = {"name": "sums", "on": ["failed", "done"], "mail": ["ops@example.com"], "digest": "hourly"}


def use(settings, **changes):
    settings.QORWORKER = {**settings.QORWORKER, "MESSAGES": [{**RULE, **changes}]}
    look()


def look():
    MessageMark.objects.update(at=None)
    message_if_due("default", 10.0)


def pass_time(monkeypatch):
    monkeypatch.setattr(digests, "GRACE", -dt.timedelta(days=2))
    settle_open("default")


def sent():
    for message in Message.objects.filter(state="queued"):
        run_stored(message.sender_id, "default", worker_name="test")
    return mail.outbox


def test_everything_of_an_hour_is_one_mail_after_it(settings, monkeypatch):
    use(settings)
    for _ in range(2):
        ended("failed", name="app.a")
        look()
    ended("done", name="app.b")
    look()
    settle_open("default")
    message = Message.objects.get()
    assert (message.state, message.event, message.job_id) == ("waiting", "digest", None)
    assert message.facts["sums"] == {"failed\napp.a": 2, "done\napp.b": 1}
    pass_time(monkeypatch)
    pass_time(monkeypatch)
    [arrived] = sent()
    assert arrived.subject.startswith("“sums”: 3 events from ")
    lines = arrived.body.splitlines()
    assert "app.a, A job has failed, and is not tried again: 2" in lines
    assert "app.b, A job is done: 1" in lines
    assert Job.objects.filter(name=SENDER).count() == 1


def test_nothing_is_sent_about_an_hour_in_which_nothing_happened(settings, monkeypatch):
    use(settings)
    pass_time(monkeypatch)
    assert not Message.objects.exists()


def test_what_happens_after_its_time_is_in_the_next_one(settings, monkeypatch):
    use(settings)
    ended("failed")
    look()
    pass_time(monkeypatch)
    monkeypatch.undo()
    Message.objects.update(source="digest before")
    ended("failed")
    look()
    found = Message.objects.order_by("pk").values_list("state", "facts__sums")
    assert list(found) == [("queued", {"failed\napp.job": 1}), ("waiting", {"failed\napp.job": 1})]


def test_each_receiver_has_one_and_who_may_not_see_all_jobs_gets_none(settings, monkeypatch):
    root, limited = superuser(), user_with("testapp.change_shop", name="limited")
    for user in (root, limited):
        user.email = f"{user.get_username()}@example.com"
        user.save()
    use(settings, users=["root", "limited", "unknown"])
    ended("failed")
    look()
    pass_time(monkeypatch)
    assert sorted(each.to[0] for each in sent()) == ["ops@example.com", "root@example.com"]
    assert Message.objects.get(state="failed").user_id == str(limited.pk)


@pytest.mark.only_on("postgresql", "mysql")
def test_several_at_a_time_count_each_event_once(settings):
    use(settings)
    for _ in range(20):
        ended("failed")
    MessageMark.objects.update(at=None)
    assert race(*[lambda: message_if_due("default", 10.0)] * 4) == [None] * 4
    look()
    assert Message.objects.get().facts["sums"] == {"failed\napp.job": 20}


@pytest.mark.parametrize(
    ("digest", "now", "start", "end"),
    [
        ("hourly", "2026-03-29T00:59:59+00:00", "2026-03-29T01:00:00+01:00", "2026-03-29T02:00:00+01:00"),
        ("daily", "2026-03-29T12:00:00+00:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        ("daily", "2026-10-25T22:59:59+00:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"),
    ],
)
def test_a_day_is_one_of_the_time_zone_of_the_project(settings, digest, now, start, end):
    settings.TIME_ZONE = "Europe/Berlin"
    found = digests.period_of(digest, dt.datetime.fromisoformat(now))
    assert [moment.isoformat() for moment in found] == [start, end]
