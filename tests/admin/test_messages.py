"""The pages of messages: rules that users make, their test, and what became of each message."""

from __future__ import annotations

import json

import pytest
from django.core import mail

from qorworker.actions import messaging
from qorworker.arguments import secrets
from qorworker.attempts.in_process import run_stored
from qorworker.definitions.registry import registry
from qorworker.models import AuditEntry, Job, Message, MessageMark, MessageRule, database_now
from qorworker.models.job_messages import SENDER
from qorworker.models.message_rule import current_rules, rule_called
from qorworker.signals import message_failed
from tests.admin.support import superuser, text_of, user_with
from tests.messages.receiver import receiving
from tests.models.rows import ended, make_job

pytestmark = pytest.mark.django_db(transaction=True)

RULES, LIST = "/admin/qorworker/messagerule/", "/admin/qorworker/message/"
GIVEN = {"name": "failures", "enabled": "on", "on": ["failed"], "mail": "ops@example.com", "webhook_format": "json"}
HOOK = {"webhook_url": "https://hooks.example.com/T0/c4n4ry-path", "webhook_secret": "c4n4ry-secret"}


@pytest.fixture
def root(client):
    client.force_login(superuser())
    return client


@pytest.fixture
def receiver(settings):
    settings.QORWORKER = {**settings.QORWORKER, "PRIVATE_WEBHOOKS": True}
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def heard():
    found = []
    message_failed.connect(lambda message, **more: found.append(message), weak=False, dispatch_uid="test")
    yield found
    message_failed.disconnect(dispatch_uid="test")


def add(client, **changes):
    return client.post(f"{RULES}add/", {**GIVEN, **changes})


def change(client, row, **changes):
    row.refresh_from_db()
    return client.post(f"{RULES}{row.pk}/change/", {**GIVEN, "qw-changed": row.changed_at.isoformat(), **changes})


def look():
    MessageMark.objects.update(at=None)
    messaging.message_if_due("default", 10.0)


def errors(answer):
    assert answer.status_code == 422
    return answer.context["forms"][0].errors


def a_rule(**given):
    row = MessageRule(
        name="failures",
        given={"on": ["failed"], "mail": ["ops@example.com"], **given},
        changed_at=database_now("default"),
        since=database_now("default"),
    )
    row.save()
    return row


# Rules


def test_a_rule_that_somebody_makes_reports_like_one_of_the_setting(root):
    assert add(root, quiet="60", users="root").status_code == 302
    messaging.message_if_due("default", 10.0)
    job = ended("failed")
    look()
    found = Message.objects.filter(job=job).values_list("rule", "recipient", "event")
    assert set(found) == {("failures", "", "failed"), ("failures", f"user:{root.session['_auth_user_id']}", "failed")}
    entry = AuditEntry.objects.get(action="create message rule")
    assert (entry.user_name, entry.details["rule"]) == ("root", "failures")


def test_what_happened_before_it_was_made_or_enabled_again_is_not_reported(root):
    add(root)
    messaging.message_if_due("default", 10.0)
    MessageRule.objects.all().delete()
    ended("failed")
    add(root)
    look()
    assert not Message.objects.exists()
    row = MessageRule.objects.get()
    change(root, row, enabled="")
    ended("failed")
    change(root, row)
    look()
    assert not Message.objects.exists()
    job = ended("failed")
    change(root, row)
    look()
    assert Message.objects.get().job_id == job.pk


def test_one_that_is_disabled_or_has_the_name_of_one_of_the_setting_does_not_count(root, settings):
    row = a_rule()
    assert [rule.name for rule in current_rules("default")] == ["failures"]
    MessageRule.objects.update(enabled=False)
    assert current_rules("default") == []
    assert rule_called("failures", "default") is None
    MessageRule.objects.update(enabled=True)
    settings.QORWORKER = {**settings.QORWORKER, "MESSAGES": [{"name": row.name, "on": ["done"], "mail": ["a@b.de"]}]}
    assert [rule.mail for rule in current_rules("default")] == [("a@b.de",)]
    assert rule_called("failures", "default").mail == ("a@b.de",)
    page = text_of(root.get(RULES))
    assert "It does not count" in page
    assert "From the settings" in page


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "taken"}, "name"),
        ({"name": "of the setting"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"on": []}, "on"),
        ({"on": ["fails"]}, "on"),
        ({"mail": "ops"}, "mail"),
        ({"mail": ""}, "mail"),
        ({"mail": "", "deciders": "on"}, "deciders"),
        ({"mail": "", "deciders": "on", "on": ["approval_wanted", "failed"]}, "mail"),
        ({"users": "nobody"}, "users"),
        ({"jobs": ["app.unknown"]}, "jobs"),
        ({"queues": ["unknown"]}, "queues"),
        ({"quiet": "-1"}, "quiet"),
        ({"older_than": "5"}, "older_than"),
        ({"on": ["queue_older_than"]}, "older_than"),
        ({"on": ["longer_than_usual"], "times": "1"}, "times"),
        ({"on": ["worker_gone"], "groups": ["Maintenance"]}, "groups"),
        ({"webhook_url": "ftp://example.com/"}, "webhook_url"),
        ({"webhook_url": "https://ann:c4n4ry@example.com/", "webhook_secret": "x"}, "webhook_url"),
        ({"webhook_url": "http://127.0.0.1:80/", "webhook_secret": "x"}, "webhook_url"),
        ({"webhook_url": "http://localhost/", "webhook_secret": "x"}, "webhook_url"),
        ({"webhook_url": "http://169.254.169.254/", "webhook_secret": "x"}, "webhook_url"),
        ({"webhook_url": "https://example.com/"}, "webhook_secret"),
        ({"webhook_secret": "x"}, "webhook_url"),
        ({"webhook_format": "teams"}, "webhook_format"),
        ({"digest": "weekly"}, "digest"),
        ({"digest": "daily", "quiet": "5"}, "quiet"),
    ],
)
def test_a_mistake_is_said_at_its_field_and_nothing_is_stored(root, settings, changes, field):
    settings.QORWORKER = {
        **settings.QORWORKER,
        "MESSAGES": [{"name": "of the setting", "on": ["done"], "mail": ["a@example.com"]}],
    }
    now = database_now("default")
    MessageRule.objects.create(name="taken", changed_at=now, since=now)
    answer = add(root, **changes)
    assert field in errors(answer)
    assert "c4n4ry" not in text_of(answer)
    assert MessageRule.objects.count() == 1


def test_a_webhook_is_stored_encrypted_and_never_shown_again(root):
    assert add(root, **HOOK).status_code == 302
    row = MessageRule.objects.get()
    assert "c4n4ry" not in json.dumps(MessageRule.objects.values().get(), default=str)
    assert row.opened.webhook.url == HOOK["webhook_url"]
    assert row.opened.webhook.secret == HOOK["webhook_secret"]
    pages = [root.get(RULES), root.get(f"{RULES}{row.pk}/change/"), change(root, row, name=""), root.get(LIST)]
    assert not any("c4n4ry" in text_of(page) for page in pages)
    assert "hooks.example.com" in text_of(pages[0])
    assert not AuditEntry.objects.filter(details__icontains="c4n4ry").exists()


def test_empty_fields_keep_the_webhook_and_a_tick_removes_it(root):
    add(root, **HOOK)
    row = MessageRule.objects.get()
    assert change(root, row, webhook_format="slack").status_code == 302
    kept = MessageRule.objects.get().opened.webhook
    assert (kept.url, kept.secret, kept.format) == (HOOK["webhook_url"], "c4n4ry-secret", "slack")
    assert change(root, row, webhook_url="https://hooks.example.com/other").status_code == 302
    assert MessageRule.objects.get().opened.webhook.secret == "c4n4ry-secret"
    assert change(root, row, webhook_removed="on").status_code == 302
    assert MessageRule.objects.get().opened.webhook is None


def test_a_secret_never_goes_to_another_host_than_the_one_it_was_entered_for(root):
    add(root, **HOOK)
    answer = change(root, MessageRule.objects.get(), webhook_url="https://evil.example/")
    assert "webhook_secret" in errors(answer)
    assert MessageRule.objects.get().opened.webhook.url == HOOK["webhook_url"]


def test_without_the_keys_it_has_to_be_entered_again(root, settings):
    add(root, **HOOK)
    settings.QORWORKER = {**settings.QORWORKER, "SECRET_KEYS": ["another key " * 4]}
    row = MessageRule.objects.get()
    assert "cannot be decrypted" in str(errors(change(root, row)))
    assert change(root, row, **HOOK).status_code == 302


def test_where_nothing_can_be_encrypted_a_webhook_is_refused(root, monkeypatch):
    monkeypatch.setattr(secrets, "available", lambda: False)
    assert "webhook_url" in errors(add(root, **HOOK))
    assert not MessageRule.objects.exists()
    assert add(root).status_code == 302


def test_the_form_shows_what_the_rule_has(root):
    row = a_rule(quiet=7200, users=["ann"], queues=["a queue of before"])
    form = root.get(f"{RULES}{row.pk}/change/").context["forms"][0]
    assert form["quiet"].value() == 120
    assert form["mail"].value() == "ops@example.com"
    assert form["queues"].value() == ["a queue of before"]
    superuser("ann")
    data = {**GIVEN, "users": "ann", "queues": ["a queue of before"], "quiet": "120"}
    assert change(root, row, **data).status_code == 302
    assert MessageRule.objects.get().given == row.given


def test_a_rule_is_deleted_after_a_question(root):
    row = a_rule()
    assert "reports nothing any more" in text_of(root.get(f"{RULES}{row.pk}/delete/"))
    assert MessageRule.objects.exists()
    root.post(f"{RULES}{row.pk}/delete/")
    assert not MessageRule.objects.exists()
    assert root.get(f"{RULES}{row.pk}/change/").status_code == 404
    assert root.get(f"{RULES}{row.pk}/delete/").status_code == 404


def test_who_may_only_look_cannot_change_and_is_not_offered_to(client):
    row = a_rule()
    client.force_login(user_with("qorworker.view_messagerule"))
    page = text_of(client.get(RULES))
    assert "ops@example.com" in page
    assert "Send a test" not in page
    assert client.get(LIST).url == RULES
    for answer in (add(client), change(client, row), client.post(f"{RULES}test/", {"qw-rule": "failures"})):
        assert answer.status_code == 403
    assert "qorworker.manage_messagerule" in text_of(answer)
    assert client.post(f"{RULES}{row.pk}/delete/").status_code == 403


# The test of a rule


def run_senders():
    for job in Job.objects.filter(name=SENDER).order_by("pk"):
        assert run_stored(job.pk, "default", worker_name="test") == "done"


def test_a_test_is_sent_by_jobs_and_the_list_says_what_each_receiver_answers(root, receiver, heard):
    receiver.answer = lambda number: (403, {}, "wrong token")
    add(root, webhook_url=receiver.url, webhook_secret="hunter2")
    page = text_of(root.post(f"{RULES}test/", {"qw-rule": "failures"}, follow=True))
    assert "“failures”: 2 test messages are on their way." in page
    assert page.count("To be sent</span>") == 2
    assert (mail.outbox, receiver.payloads) == ([], [])
    run_senders()
    page = text_of(root.get(LIST))
    assert "This is a test of the rule" in page
    assert "127.0.0.1 answered with 403. wrong token" in page
    assert "Send again" not in page
    assert mail.outbox[0].subject == "This is a test of the rule “failures”"
    assert [payload["event"] for payload in receiver.payloads] == ["test"]
    states = set(Message.objects.values_list("channel", "state", "response_code", "attempts"))
    assert states == {("mail", "sent", None, 1), ("webhook", "failed", 403, 1)}
    assert heard == []


def test_a_test_says_if_the_webhook_cannot_be_decrypted(root, receiver, settings):
    add(root, mail="", webhook_url=receiver.url, webhook_secret="hunter2")
    MessageRule.objects.update(webhook="broken")
    root.post(f"{RULES}test/", {"qw-rule": "failures"})
    run_senders()
    assert Message.objects.get().state == "failed"
    assert "decrypted" in Message.objects.get().error


def test_rules_of_the_setting_can_be_tested_too_and_unknown_ones_cannot(root, settings):
    settings.QORWORKER = {**settings.QORWORKER, "MESSAGES": [{"name": "code", "on": ["done"], "mail": ["a@b.de"]}]}
    root.post(f"{RULES}test/", {"qw-rule": "code"})
    run_senders()
    assert mail.outbox[0].to == ["a@b.de"]
    page = text_of(root.post(f"{RULES}test/", {"qw-rule": "other"}, follow=True))
    assert "There is no such rule" in page
    assert Message.objects.count() == 1


def test_who_may_not_see_messages_stays_at_the_rules_after_a_test(client):
    a_rule()
    client.force_login(user_with("qorworker.view_messagerule", "qorworker.manage_messagerule"))
    assert client.post(f"{RULES}test/", {"qw-rule": "failures"}).url == RULES


def test_where_no_job_could_send_a_test_nothing_is_stored(root):
    a_rule()
    before = registry.find(SENDER)
    registry.unregister(SENDER)
    try:
        page = text_of(root.post(f"{RULES}test/", {"qw-rule": "failures"}, follow=True))
    finally:
        registry.register(before)
    assert "no queue has jobs that wait for a worker" in page
    assert not Message.objects.exists()


# Two who change one


def test_what_another_has_changed_meanwhile_is_not_overwritten_unasked(root):
    row = a_rule()
    old = row.changed_at.isoformat()
    assert change(root, row, mail="first@example.com", **{"qw-changed": old}).status_code == 302
    answer = change(root, row, mail="second@example.com", **{"qw-changed": old})
    assert "Another user has changed this rule in the meantime." in str(errors(answer))
    row.refresh_from_db()
    assert row.given["mail"] == ["first@example.com"]
    new = row.changed_at.isoformat()
    assert f'name="qw-changed" value="{new}"' in text_of(answer)
    assert change(root, row, mail="second@example.com", **{"qw-changed": new}).status_code == 302


# What became of messages


def message(job=None, **fields):
    given = {"rule": "failures", "source": f"attempt {Message.objects.count()}", "event": "failed", **fields}
    return Message.objects.create(job=job, created_at=database_now("default"), **given)


def test_the_list_has_states_receivers_and_answers(root):
    job = make_job("exception")
    ann = superuser("ann")
    message(job, channel="webhook", state="failed", response_code=500, error="h.example answered with 500. no")
    message(job, recipient=f"user:{ann.pk}", rule="", state="waiting", event="")
    message(facts={"queue": "mail", "seconds": 90}, event="queue_older_than", state="sent")
    page = text_of(root.get(LIST))
    assert f"app.job #{job.pk} has failed" in page
    assert "h.example answered with 500. no" in page
    assert f"Waits for the end of app.job #{job.pk}" in page
    assert "Mail: ann" in page
    assert "A job in the queue “mail” has been waiting" in page
    assert "Waits for the end" not in text_of(root.get(f"{LIST}?state=failed"))


def test_older_ones_are_on_further_pages(root, monkeypatch):
    monkeypatch.setattr("qorworker.admin.messages.deliveries.PER_PAGE", 2)
    rows = [message(make_job("exception")) for _ in range(3)]
    page = text_of(root.get(LIST))
    assert f"#{rows[0].job_id} " not in page
    assert f"?before={rows[1].pk}" in page
    assert f"#{rows[0].job_id} has failed" in text_of(root.get(f"{LIST}?before={rows[1].pk}"))


def test_messages_about_jobs_that_somebody_may_not_see_are_left_out(client, settings):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    user = user_with("qorworker.view_message", "qorworker.view_job", "qorworker.manage_messagerule")
    client.force_login(user)
    own, other = make_job("exception", created_by=user), make_job("exception")
    hidden = message(other, state="failed")
    message(own)
    page = text_of(client.get(LIST))
    assert f"#{own.pk} has failed" in page
    assert f"#{other.pk}" not in page
    assert client.post(f"{LIST}{hidden.pk}/again/").status_code == 404


def test_one_that_was_given_up_is_sent_again_once(root):
    row = message(make_job("exception"), state="failed", error="no")
    for _ in range(2):
        root.post(f"{LIST}{row.pk}/again/")
    row.refresh_from_db()
    assert row.state == "queued"
    assert [job.pk for job in Job.objects.filter(name=SENDER)] == [row.sender_id]


def test_where_no_job_could_send_it_nothing_is_changed(root):
    row, before = message(make_job("exception"), state="failed"), registry.find(SENDER)
    registry.unregister(SENDER)
    try:
        page = text_of(root.post(f"{LIST}{row.pk}/again/", follow=True))
    finally:
        registry.register(before)
    assert "no queue has jobs that wait for a worker" in page
    row.refresh_from_db()
    assert row.state == "failed"


def test_what_was_sent_is_not_sent_again(root):
    row = message(make_job("exception"), state="sent")
    page = text_of(root.post(f"{LIST}{row.pk}/again/", follow=True))
    assert "Nothing was changed" in page
    assert not Job.objects.filter(name=SENDER).exists()


def test_the_history_of_a_job_names_its_messages_but_no_receiver_and_no_answer(root):
    job = make_job("exception")
    message(job, state="failed", error="hooks.example.com answered with 500.", channel="webhook")
    message(job, rule="", recipient="ann@example.com", state="sent", closed_at=database_now("default"))
    page = text_of(root.get(f"/admin/qorworker/job/{job.pk}/change/"))
    assert "A message could not be sent (Webhook, rule “failures”)" in page
    assert "A message was sent (Mail)" in page
    assert "ann@example.com" not in page
    assert "hooks.example.com" not in page
