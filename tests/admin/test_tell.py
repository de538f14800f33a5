"""*Tell me when it ends*: whoever asks is told once, in the way that they have chosen, and nobody else is."""

from __future__ import annotations

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from qorworker.actions.messaging import settle_open
from qorworker.attempts.in_process import run_stored
from qorworker.models import Job, Message
from qorworker.models.job_messages import SENDER
from tests.admin.support import superuser, text_of, user_with
from tests.models.rows import make_job
from tests.testapp import jobs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

LIST = "/admin/qorworker/job/"


@pytest.fixture
def ann():
    user = superuser("ann")
    user.email = "ann@example.com"
    user.save()
    return user


@pytest.fixture
def browser(client, ann):
    client.force_login(ann)
    return client


def tell(browser, job, how):
    return text_of(browser.post(f"{LIST}{job.pk}/tell-me/", {"qw-tell": how}, follow=True))


def end(job, status="done"):
    Job.objects.filter(pk=job.pk).update(status=status)
    settle_open("default")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("done", "app.job #{} is done"),
        ("exception", "app.job #{} has failed"),
        ("killed", "app.job #{} was aborted"),
        ("cancelled", "app.job #{} was cancelled"),
    ],
)
def test_a_note_is_on_the_next_page_and_only_there(browser, status, said):
    job = make_job("new")
    assert "You will be told when it ends." in tell(browser, job, "note")
    said = said.format(job.pk)
    assert said not in text_of(browser.get(LIST))
    end(job, status)
    page = text_of(browser.get("/admin/qorworker/queue/"))
    assert said in page
    assert f'href="{LIST}{job.pk}/change/"' in page
    assert f">{said}<" not in text_of(browser.get("/admin/qorworker/queue/"))
    assert Message.objects.get().state == "sent"
    assert not Job.objects.filter(name=SENDER).exists()


def test_looking_without_showing_does_not_use_it_up(browser):
    job = make_job("new")
    tell(browser, job, "note")
    end(job)
    browser.head(LIST)
    assert f"app.job #{job.pk} is done" in text_of(browser.get("/admin/qorworker/queue/"))


def test_nobody_else_sees_a_note(browser):
    job = make_job("new")
    tell(browser, job, "note")
    end(job)
    other = Client()
    other.force_login(superuser("bob"))
    tell(other, make_job("new"), "note")
    assert f">app.job #{job.pk} is done<" not in text_of(other.get("/admin/qorworker/queue/"))
    assert Message.objects.filter(state="sent").count() == 0


def test_who_may_not_see_the_job_any_more_sees_no_note(client):
    user = user_with("qorworker.view_job", "qorworker.view_worker")
    client.force_login(user)
    job = make_job("new")
    tell(client, job, "note")
    end(job)
    user.user_permissions.remove(*user.user_permissions.filter(codename="view_job"))
    assert "is done" not in text_of(client.get("/admin/qorworker/worker/"))
    assert not Message.objects.exists()


def test_pages_of_others_look_for_no_notes(browser):
    def statements():
        with CaptureQueriesContext(connection) as found:
            browser.get("/admin/qorworker/queue/")
        return [query["sql"] for query in found.captured_queries if "qorworker_message" in query["sql"]]

    assert statements() == []
    tell(browser, make_job("new"), "note")
    assert len(statements()) == 1


def test_a_mail_goes_to_who_has_asked_for_it(browser):
    job = make_job("new")
    assert "By mail to ann@example.com" in text_of(browser.get(f"{LIST}{job.pk}/change/"))
    tell(browser, job, "mail")
    end(job)
    run_stored(Message.objects.get().sender_id, "default", worker_name="test")
    assert [sent.to for sent in mail.outbox] == [["ann@example.com"]]


def test_who_has_no_address_is_offered_no_mail_and_gets_none(client):
    client.force_login(superuser())
    job = make_job("new")
    assert "By mail" not in text_of(client.get(f"{LIST}{job.pk}/change/"))
    assert "cannot be told in this way" in tell(client, job, "mail")
    assert not Message.objects.exists()


def test_one_can_change_ones_mind(browser):
    job = make_job("new")
    job.notify("boss@example.com")
    assert "Do not tell me" in tell(browser, job, "note")
    assert "You will not be told" in tell(browser, job, "")
    assert [message.recipient for message in Message.objects.all()] == ["boss@example.com"]


def test_a_job_that_has_ended_offers_nothing(browser):
    job = make_job("done")
    assert "Tell me when it ends" not in text_of(browser.get(f"{LIST}{job.pk}/change/"))
    assert "It has already ended." in tell(browser, job, "note")
    assert not Message.objects.exists()


def test_a_job_that_somebody_may_not_see_is_not_found(client):
    client.force_login(user_with())
    assert client.post(f"{LIST}{make_job('new').pk}/tell-me/", {"qw-tell": "note"}).status_code == 404
    assert not Message.objects.exists()


def test_a_note_takes_a_user_and_a_known_way(ann):
    job = make_job("new")
    assert job.notify(ann, how="note").channel == "note"
    with pytest.raises(ValueError, match=r"^to: only a user can see a note"):
        job.notify("ann@example.com", how="note")
    with pytest.raises(ValueError, match=r"^how: must be 'mail' or 'note', not 'sms'"):
        job.notify(ann, how="sms")


@pytest.mark.parametrize(("how", "channels"), [("", []), ("note", ["note"]), ("mail", ["mail"])])
def test_the_run_form_asks_too(browser, ann, how, channels):
    name = jobs.noop.name
    page = text_of(browser.get(f"{LIST}run/{name}/"))
    assert "Tell me when it ends" in page
    token = page.split('name="qw-token" value="')[1].split('"')[0]
    data = {"qw-token": token, "qw-when": "now", "qw-tell": how}
    for _ in range(2):  # a form that is sent twice starts one job
        assert browser.post(f"{LIST}run/{name}/", data).status_code == 302
    found = list(Message.objects.values_list("channel", "recipient", "state"))
    assert found == [(channel, f"user:{ann.pk}", "waiting") for channel in channels]


def test_the_run_form_refuses_a_way_that_it_has_not_offered(browser):
    data = {"qw-token": "0." + "x" * 20, "qw-when": "now", "qw-tell": "sms"}
    answer = browser.post(f"{LIST}run/{jobs.noop.name}/", data)
    assert answer.status_code == 200
    assert not Job.objects.exists()
