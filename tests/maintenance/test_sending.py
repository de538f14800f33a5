"""The job that sends one message: what arrives, what never does, and what is noted if nothing arrives."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import Group, Permission
from django.core import mail

from qorworker.actions.messaging import settle_open
from qorworker.attempts.in_process import run_stored
from qorworker.definitions.registry import registry
from qorworker.maintenance import deciders, sending
from qorworker.messages.rules import EVENTS
from qorworker.models import Approval, Job, Message, Question, database_now
from qorworker.models.job_messages import SENDER
from qorworker.signals import message_failed
from tests.admin.support import superuser, user_with
from tests.messages.receiver import receiving
from tests.models.rows import make_job

pytestmark = pytest.mark.django_db(transaction=True)

FACTS = {"status": "exception", "attempt": 2, "error": "ValueError: no <b>", "exception": "builtins.ValueError",
         "row_errors": 0, "at": "2026-11-30T12:00:00+00:00", "left_out": 0}  # fmt: skip
RULE = {"name": "failures", "on": ["failed"], "mail": ["ops@example.com", "dev@example.com"]}
SENTENCES = {
    "failed": "app.job #{} has failed",
    "attempt_failed": "Attempt 2 of app.job #{} has failed; it will be tried again",
    "worker_lost": "The worker of app.job #{} was lost in attempt 2",
    "row_errors": "app.job #{} has ended with errors in rows",
    "aborted": "app.job #{} was aborted",
    "cancelled": "app.job #{} was cancelled",
    "done": "app.job #{} is done",
    "longer_than_usual": "app.job #{} has been running for 1 min 30 s; it usually takes 2 s",
    "approval_wanted": "app.job #{} waits for approval",
    "question_asked": "app.job #{} asks a question",
}
JOBLESS = {
    "queue_older_than": "A job in the queue “mail” has been waiting for 1 min 30 s",
    "schedule_missed": "The schedule “daily” has missed a run: No worker was running at that time.",
    "worker_gone": "The worker host:1 has given no sign of life since Nov. 30, 2026 12:00",
    "approval_wanted": "The schedule “daily” waits for approval",
}
DETAILS = {"queue": "mail", "seconds": 90, "usual": 2.0, "schedule": "daily", "schedule_id": 7, "reason": "missed",
           "worker": "host:1", "seen_at": "2026-11-30T12:00:00+00:00"}  # fmt: skip


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def heard():
    found = []
    message_failed.connect(lambda message, **more: found.append(message), weak=False, dispatch_uid="test")
    yield found
    message_failed.disconnect(dispatch_uid="test")


def use(settings, rule=None, **more):
    settings.QORWORKER = {**settings.QORWORKER, "MESSAGES": [rule or RULE], **more}


def hook(receiver, **more):
    webhook = {"url": receiver.url, "secret": "hunter2", "private_addresses": True, **more}
    return {"name": "failures", "on": ["failed"], "webhook": webhook}


def queued(channel="mail", event="failed", job=None, jobless=False, source="attempt 1", **facts):
    """A message, and the job that sends it."""
    message = Message(
        job=None if jobless else job or make_job("exception"),
        rule="failures",
        channel=channel,
        source=source,
        event=event,
        facts={**FACTS, **facts},
        created_at=database_now("default"),
    )
    message.sender_id = registry.get(SENDER).enqueue(uid=message.uid).pk
    message.save()
    return message


def send(message):
    status = run_stored(message.sender_id, "default", worker_name="test")
    message.refresh_from_db()
    return status


# Mails


def test_a_mail_says_what_happened_and_where_to_look(settings):
    use(settings, BASE_URL="https://shop.example/")
    message = queued(left_out=4)
    assert send(message) == "done"
    [sent] = mail.outbox
    assert sent.to == ["ops@example.com", "dev@example.com"]
    assert sent.subject == f"app.job #{message.job_id} has failed"
    assert sent.body == (
        f"app.job #{message.job_id} has failed\n\nValueError: no <b>\n\n"
        "4 messages like this were left out in the quiet period before.\n\n"
        f"https://shop.example/admin/qorworker/job/{message.job_id}/change/\n"
    )
    assert sent.extra_headers["X-QorWorker-Id"] == message.uid
    assert (message.state, message.attempts, message.error, message.response_code) == ("sent", 1, "", None)
    assert message.closed_at is not None


@pytest.mark.parametrize("event", SENTENCES)
def test_every_event_has_its_sentence(settings, event):
    use(settings, {**RULE, "on": [event]})
    message = queued(event=event, error="", **DETAILS)
    send(message)
    assert mail.outbox[0].body == SENTENCES[event].format(message.job_id) + "\n"


@pytest.mark.parametrize("event", JOBLESS)
def test_what_is_about_no_job_has_its_sentence_and_leads_to_its_page(settings, event, receiver):
    settings.TIME_ZONE = "UTC"
    rule = {**RULE, **hook(receiver), "on": [event, "queue_older_than"], "older_than": 1}
    use(settings, rule, BASE_URL="https://shop.example")
    facts = {key: value for key, value in DETAILS.items() if key != "schedule_id" or "schedule" in JOBLESS[event]}
    for channel in ("mail", "webhook"):
        assert send(queued(channel, event=event, jobless=True, error="", **facts)) == "done"
    page = {"queue_older_than": "queue/", "worker_gone": "worker/"}.get(event, "schedule/7/change/")
    assert mail.outbox[0].body == f"{JOBLESS[event]}\n\nhttps://shop.example/admin/qorworker/{page}\n"
    [payload] = receiver.payloads
    assert (payload["event"], payload["job"]) == (event, None)
    assert payload["url"] == f"https://shop.example/admin/qorworker/{page}"
    assert payload["details"] == facts


def test_every_event_there_is_has_a_sentence_of_its_own():
    assert {*SENTENCES, *JOBLESS} == EVENTS.keys()
    assert len({*SENTENCES.values(), *JOBLESS.values()}) == len(SENTENCES) + len(JOBLESS)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("approval_wanted", "app.job #{} has been waiting for approval for 1 min 30 s"),
        ("question_asked", "app.job #{} has been waiting for an answer for 1 min 30 s"),
    ],
)
def test_a_reminder_says_how_long_it_has_waited(settings, event, said):
    use(settings, {**RULE, "on": [event]})
    message = queued(event=event, error="", source="approval 7 again", **DETAILS)
    send(message)
    assert mail.outbox[0].subject == said.format(message.job_id)


def test_a_mail_is_in_the_language_of_the_project(settings):
    use(settings)
    settings.LANGUAGE_CODE = "de"
    message = queued(error="")
    send(message)
    assert mail.outbox[0].subject == f"app.job #{message.job_id} ist fehlgeschlagen"


def test_nothing_in_a_text_can_pretend_to_be_something_else(settings):
    use(settings)
    send(
        queued(
            job=make_job("exception", name="app\u202ejob\r\nBcc: x@example.com"), error="a\r\nb\x1b[31m" + "c" * 9_000
        )
    )
    [sent] = mail.outbox
    assert sent.subject.startswith("app\\u202ejob Bcc: x@example.com #")
    assert "a b\\u001b[31mccc" in sent.body
    assert len(sent.body) < 1_500
    assert "Bcc" not in sent.message()


def test_no_argument_of_a_job_is_in_any_message(settings, receiver):
    use(settings, {**RULE, **hook(receiver)})
    job = make_job("exception", arguments={"password": "c4n4ry"}, meta={"note": "c4n4ry"}, return_value='"c4n4ry"')
    assert send(queued(job=job)) == "done"
    assert send(queued("webhook", job=job)) == "done"
    assert "c4n4ry" not in mail.outbox[0].body + mail.outbox[0].subject + receiver.got[0][2].decode()


# Webhooks


def test_a_webhook_gets_the_facts_with_the_id_of_the_message(settings, receiver):
    use(settings, hook(receiver), BASE_URL="https://shop.example")
    message = queued("webhook")
    assert send(message) == "done"
    job = message.job
    assert receiver.payloads == [
        {
            "id": message.uid,
            "event": "failed",
            "rule": "failures",
            "at": "2026-11-30T12:00:00+00:00",
            "left_out": 0,
            "job": {
                "id": job.pk,
                "type": "app.job",
                "title": "app.job",
                "queue": "default",
                "status": "exception",
                "attempt": 2,
                "max_attempts": 1,
                "row_errors": 0,
                "exception": "builtins.ValueError",
                "error": "ValueError: no <b>",
                "url": f"https://shop.example/admin/qorworker/job/{job.pk}/change/",
            },
        }
    ]
    assert (message.state, message.response_code) == ("sent", 200)


def test_slack_gets_a_text_in_which_nothing_is_a_link_or_a_mention(settings, receiver):
    use(settings, hook(receiver, format="slack"), BASE_URL="https://shop.example")
    message = queued("webhook", error="<!channel> & <https://evil.example|here>")
    assert send(message) == "done"
    [payload] = receiver.payloads
    assert payload == {
        "text": f"app.job #{message.job_id} has failed\n"
        "&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;\n"
        f"https://shop.example/admin/qorworker/job/{message.job_id}/change/"
    }


def test_a_receiver_that_fails_is_tried_again_with_the_same_id_and_changes_no_job(settings, receiver):
    receiver.answer = lambda number: (503, {}, "busy") if number == 1 else (200, {}, "ok")
    use(settings, hook(receiver))
    message = queued("webhook")
    before = Job.objects.filter(pk=message.job_id).values().get()
    assert send(message) == "scheduled"
    assert (message.state, message.attempts, message.response_code) == ("queued", 1, 503)
    assert message.error == "127.0.0.1 answered with 503. busy"
    Job.objects.get(pk=message.sender_id).run_now()
    assert send(message) == "done"
    assert (message.state, message.attempts, message.response_code, message.error) == ("sent", 2, 200, "")
    assert [payload["id"] for payload in receiver.payloads] == [message.uid] * 2
    assert Job.objects.filter(pk=message.job_id).values().get() == before


def test_after_the_last_attempt_the_failure_stays_in_its_row_and_a_signal_says_so(settings, receiver, heard):
    receiver.answer = lambda number: (500, {}, "broken")
    use(settings, hook(receiver))
    message = queued("webhook")
    Job.objects.filter(pk=message.sender_id).update(max_attempts=1)
    assert send(message) == "exception"
    assert not heard
    settle_open("default")
    message.refresh_from_db()
    assert (message.state, message.error) == ("failed", "127.0.0.1 answered with 500. broken")
    assert [found.pk for found in heard] == [message.pk]
    receiver.answer = lambda number: (200, {}, "mended")
    Job.objects.get(pk=message.sender_id).retry()
    assert send(message) == "done"
    assert message.state == "sent"


def test_what_was_sent_is_not_sent_again(settings, receiver):
    use(settings, hook(receiver))
    message = queued("webhook")
    send(message)
    again = registry.get(SENDER).enqueue(uid=message.uid)
    assert run_stored(again.pk, "default", worker_name="test") == "done"
    assert len(receiver.got) == 1


def test_a_rule_that_is_gone_needs_no_further_attempt(settings, heard):
    use(settings, {**RULE, "name": "another"})
    message = queued()
    assert send(message) == "done"
    assert (message.state, message.error) == (
        "failed", "There is no rule 'failures' with 'mail' any more."
    )  # fmt: skip
    assert [found.pk for found in heard] == [message.pk]
    assert not mail.outbox


# Single users


def wanted(user, job, **fields):
    message = job.notify(user)
    Job.objects.filter(pk=job.pk).update(status="exception", error="ValueError: no", **fields)
    settle_open("default")
    message.refresh_from_db()
    return message


def mailed(user):
    user.email = f"{user.get_username()}@example.com"
    user.save()
    return user


def test_a_user_gets_a_mail_with_the_error_if_they_may_see_it():
    message = wanted(mailed(superuser()), make_job("new"))
    assert send(message) == "done"
    [sent] = mail.outbox
    assert (sent.to, "ValueError: no" in sent.body) == (["root@example.com"], True)


def test_an_address_gets_one_too():
    assert send(wanted("ann@example.com", make_job("new"))) == "done"
    assert mail.outbox[0].to == ["ann@example.com"]


def test_a_user_who_may_not_see_the_log_does_not_get_the_error():
    message = wanted(mailed(user_with("qorworker.view_job")), make_job("new"))
    assert send(message) == "done"
    assert "ValueError" not in mail.outbox[0].body


def test_nobody_gets_a_mail_who_may_not_see_the_job_then_or_has_no_address(heard):
    blind, gone, silent = mailed(user_with()), mailed(superuser("gone")), superuser("silent")
    asleep = mailed(superuser("asleep"))
    messages = [wanted(user, make_job("new")) for user in (blind, gone, silent, asleep)]
    gone.delete()
    asleep.is_active = False
    asleep.save()
    assert [send(message) for message in messages] == ["done"] * 4
    assert [message.state for message in messages] == ["failed"] * 4
    assert "no address" in messages[2].error
    assert not mail.outbox
    assert len(heard) == 4


# Those who may decide


def deciding(settings, event="approval_wanted", **more):
    use(settings, {"name": "failures", "on": [event], "deciders": True, **more})


@pytest.mark.parametrize("mailed_too", [[], ["boss@example.com", "root@example.com"]])
def test_who_may_approve_gets_a_mail_without_the_addresses_of_others(settings, mailed_too):
    deciding(settings, **({"mail": mailed_too} if mailed_too else {}))
    asker, others = mailed(superuser("asker")), [mailed(superuser()), mailed(user_with("qorworker.view_job"))]
    superuser("silent")
    job = make_job("scheduled", waits_for_approval=True, created_by=asker)
    approval = Approval.objects.create(
        job=job, permission="shop.publish", asked_at=database_now("default"), asked_by=str(asker.pk)
    )
    assert send(queued(event="approval_wanted", job=job, source=f"approval {approval.pk}")) == "done"
    [sent] = mail.outbox
    assert (sent.to, sent.bcc) == (mailed_too, [] if mailed_too else [others[0].email])


class Directory(BaseBackend):
    """Knows what users may do, and cannot search for those who may do something."""

    def has_perm(self, user, permission, obj=None):
        return user.is_active and user.get_username() == "listed"


def test_who_may_approve_is_found_wherever_the_permission_comes_from(settings, monkeypatch):
    monkeypatch.setattr(deciders, "ASKED", 1)  # of whom it is asked one by one
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", f"{__name__}.Directory"]
    deciding(settings)
    for number in range(3):
        get_user_model().objects.create_user(f"customer-{number}", f"customer-{number}@example.com")
    sees = ("qorworker.view_job", "qorworker.view_job_arguments")
    direct = mailed(user_with(*sees, "testapp.change_shop", name="direct"))
    member = mailed(user_with(*sees, name="member"))
    group = Group.objects.create(name="approvers")
    group.permissions.add(Permission.objects.get(codename="change_shop", content_type__app_label="testapp"))
    member.groups.add(group)
    listed = mailed(user_with(*sees, name="listed"))
    gone = mailed(user_with(*sees, "testapp.change_shop", name="gone"))
    gone.is_active = False
    gone.save()
    job = make_job("scheduled", waits_for_approval=True)
    approval = Approval.objects.create(job=job, permission="testapp.change_shop", asked_at=database_now("default"))
    assert send(queued(event="approval_wanted", job=job, source=f"approval {approval.pk}")) == "done"
    assert mail.outbox[0].bcc == [direct.email, member.email, listed.email]


def test_who_may_answer_a_question_gets_a_mail(settings):
    deciding(settings, "question_asked")
    mailed(superuser())
    mailed(user_with("qorworker.view_job"))
    job = make_job("scheduled", waits_for_answer=True)
    question = Question.objects.create(job=job, key="a", kind="person", attempt=1, asked_at=database_now("default"))
    assert send(queued(event="question_asked", job=job, source=f"question {question.pk} again")) == "done"
    assert mail.outbox[0].bcc == ["root@example.com"]


@pytest.mark.parametrize("state", ["approved", "gone", "expired"])
def test_what_was_decided_meanwhile_is_not_sent_to_those_who_may_decide(settings, state):
    deciding(settings)
    mailed(superuser())
    job, past = make_job("scheduled", waits_for_approval=True), database_now("default")
    kept = {"state": "approved"} if state == "approved" else {"expires_at": past}
    approval = Approval.objects.create(job=job, permission="shop.publish", asked_at=past, **kept)
    number = approval.pk + 1 if state == "gone" else approval.pk
    message = queued(event="approval_wanted", job=job, source=f"approval {number}")
    assert send(message) == "done"
    assert (message.state, mail.outbox) == ("failed", [])
    assert "it was decided" in message.error


# The job type


def test_nobody_is_offered_the_job_type(client):
    client.force_login(superuser())
    page = client.get("/admin/qorworker/job/catalogue/").content.decode()
    assert "Send a message" not in page
    assert SENDER not in [job_type.name for job_type in registry.all()]
    client.force_login(user_with("qorworker.view_job", "qorworker.run_job"))
    assert client.get(f"/admin/qorworker/job/run/{SENDER}/").status_code == 403


def test_it_is_there_only_if_a_queue_can_hold_its_jobs(settings):
    before = registry.find(SENDER)
    registry.unregister(SENDER)
    settings.QORWORKER = {"QUEUES": {"default": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"}}}
    try:
        sending.declare()
        assert registry.find(SENDER) is None
    finally:
        registry.register(before)
