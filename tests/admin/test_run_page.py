"""The page around the run form: what it tells before the click, what is offered to whom, and what comes back."""

from __future__ import annotations

import re

import pytest
from django import forms
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import qorworker
from qorworker.admin.jobs.field_limits import tell_limits
from qorworker.models import Job
from tests.admin import every_kind
from tests.admin.filled_in import filled_in
from tests.admin.support import (
    BASE,
    a_worker,
    make_job,
    messages_of,
    page_of,
    stored,
    superuser,
    text_of,
    user_with,
)
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]

URL = BASE + "run/tests.{}/"
GREET, OPEN = URL.format("greet"), URL.format("open")


def sent(client, url, **changes):
    return client.post(url, {**filled_in(client.get(url)), **changes}, follow=True)


# Before the click


def test_a_run_in_progress_is_told_with_its_start_and_its_person(types, visitor):
    job = make_job(types["greet"], "running", created_by=superuser("ben"))
    page = " ".join(re.sub(r"<[^>]+>", " ", text_of(visitor.get(GREET))).split())
    assert "1 run is in progress" in page
    assert re.search(rf"\( #{job.pk} started today \d\d:\d\d by ben\)", page)
    make_job(types["greet"], "running")
    make_job(types["open"], "running")
    assert "2 runs are in progress" in text_of(visitor.get(GREET))


def test_runs_in_progress_are_not_told_of_to_who_may_not_see_them(types, client, settings):
    make_job(types["greet"], "running", created_by=superuser("ben"))
    client.force_login(user_with("qorworker.run_job", name="a"))
    assert "in progress" not in text_of(client.get(GREET))
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    client.force_login(user_with("qorworker.run_job", "qorworker.view_job", name="b"))
    assert "in progress" not in text_of(client.get(GREET))


def test_limits_are_told_in_words(types, visitor, settings):
    settings.QORWORKER = {**settings.QORWORKER, "UPLOAD_BYTES": 20 * 1024 * 1024}
    every_kind.declare()
    page = text_of(visitor.get(URL.format("everything"))).replace("\xa0", " ")
    assert "From -1000000 to 1000000." in page
    assert "One on each line." in page
    assert "At most 20.0 MB." in text_of(visitor.get(URL.format("upload"))).replace("\xa0", " ")


def test_a_whole_limit_of_a_fraction_is_told_as_a_whole_number():
    form = forms.Form()
    form.fields["share"] = forms.FloatField(min_value=0.0, max_value=2.5)
    tell_limits(form)
    assert form.fields["share"].help_text == "From 0 to 2.5."


def test_the_whole_description_is_one_click_away(types, visitor):
    page = text_of(visitor.get(GREET))
    assert "About this job" in page
    assert "Several times, if that is wanted." in page
    assert "About this job" not in text_of(visitor.get(OPEN))


# Who is offered what


def test_who_may_run_but_not_schedule_is_asked_for_no_time_and_given_none(types, client):
    client.force_login(user_with(name="may-run"))
    url = URL.format("by_code")
    assert "qw-when" not in text_of(client.get(url))
    sent(client, url, **{"qw-when": "later", "qw-at_0": "2999-01-01", "qw-at_1": "09:00"})
    assert Job.objects.get().status == "new"


QUEUES = {
    "default": {"BACKEND": "qorworker.backends.local.LocalBackend"},
    "mail": {"BACKEND": "qorworker.backends.local.LocalBackend"},
}


@pytest.mark.parametrize("may_choose", [True, False])
def test_queue_and_priority_are_for_who_may_choose_them(types, client, settings, may_choose):
    settings.QORWORKER = {**settings.QORWORKER, "QUEUES": QUEUES}
    more = ["qorworker.choose_job_queue"] if may_choose else []
    client.force_login(user_with("qorworker.run_job", *more))
    assert ("qw-queue_name" in text_of(client.get(GREET))) is may_choose
    sent(client, GREET, **{"subject": "x", "qw-queue_name": "mail", "qw-priority": "7"})
    job = Job.objects.get()
    assert (job.queue_name, job.priority) == (("mail", 7) if may_choose else ("default", 0))


@pytest.mark.parametrize(("field", "value"), [("queue_name", "nowhere"), ("priority", "101"), ("priority", "x")])
def test_a_queue_or_priority_that_cannot_be_is_refused(types, visitor, field, value):
    response = sent(visitor, GREET, **{"subject": "x", f"qw-{field}": value})
    assert f'<a href="#id_qw-{field}">' in text_of(response)
    assert not Job.objects.exists()


def test_without_a_choice_the_type_decides(types, visitor):
    qorworker.job(name="tests.urgent", priority=50)(urgent)
    visitor.post(URL.format("urgent"), {"qw-token": "0." + "x" * 20, "qw-when": "now"})  # as from the catalogue
    assert Job.objects.get().priority == 50


def urgent() -> None:
    """Cannot wait."""


# What comes back


def test_each_error_leads_to_its_field_also_where_a_field_has_several_inputs(types, visitor):
    every_kind.declare()
    url = URL.format("everything")
    changes = {"begins_0": "soon", "channels": "shop", "qw-when": "later", "line": "x"}
    page = text_of(sent(visitor, url, **changes))
    summary = page[page.index('class="errornote') : page.index("</ul>", page.index('class="errornote'))]
    anchors = re.findall(r'href="#([^"]*)"', summary)
    assert {"id_text", "id_shop", "id_begins_0", "id_channels_0", "id_qw-at_0"} <= set(anchors)
    for anchor in anchors:
        assert f'id="{anchor}"' in page


def test_the_summary_of_errors_gets_the_focus(types, visitor):
    page = text_of(sent(visitor, GREET))
    assert re.search(r'<div class="errornote[^>]+role="alert" tabindex="-1" data-qw-focus>', page)


def test_secrets_and_files_that_have_to_be_given_again_are_named(types, visitor):
    every_kind.declare()
    page = text_of(sent(visitor, URL.format("everything"), password="hunter2"))
    assert re.search(r">Password</a>:\s+enter it again: it is never shown.", page)
    assert "hunter2" not in page
    Shop.objects.create(name="Berlin")
    page = text_of(sent(visitor, URL.format("upload"), file=SimpleUploadedFile("a.csv", b"a")))
    assert re.search(r">File</a>:\s+choose the file again: browsers do not keep it.", page)


def test_nothing_is_to_be_given_again_that_was_not_given(types, visitor):
    every_kind.declare()
    assert "again:" not in text_of(sent(visitor, URL.format("everything")))


def test_the_yes_is_asked_for_anew_when_something_else_was_wrong(types, visitor):
    qorworker.job(name="tests.careful", confirm="Sure?")(careful)
    url = URL.format("careful")
    response = sent(visitor, url, **{"qw-confirmed": "on"})
    assert "qw-confirmed" not in filled_in(response)
    assert "Tick this" not in text_of(response)
    assert not Job.objects.exists()
    sent(visitor, url, **{"qw-confirmed": "on", "subject": "x"})
    assert Job.objects.count() == 1


def careful(subject: str) -> None:
    """Asks first."""


@pytest.mark.parametrize("start", ["?qw-confirmed=on", "?confirmed=on"])
def test_no_link_can_say_yes(types, visitor, start):
    assert "qw-confirmed" not in filled_in(visitor.get(URL.format("asks") + start))


# Afterwards


def test_the_message_tells_how_many_are_before_it(types, visitor):
    make_job(types["open"], "new")
    make_job(types["open"], "new", queue_name="mail")
    make_job(types["open"], "new", priority=-1)
    make_job(types["open"], "running")
    response = sent(visitor, GREET, subject="x")
    job = Job.objects.get(name="tests.greet")
    (told,) = messages_of(response)
    assert told == (
        f'<a href="{page_of(job)}">Send greetings #{job.pk}</a> is queued, as number 2 in the queue “default”.'
    )


def test_the_first_in_its_queue_is_just_queued(types, visitor):
    (told,) = messages_of(sent(visitor, GREET, subject="x"))
    assert told.endswith("</a> is queued.")


def test_who_sees_only_own_jobs_is_told_nothing_about_the_queue(types, client, settings):
    settings.QORWORKER = {**settings.QORWORKER, "OWN_JOBS_ONLY": True}
    make_job(types["open"], "new", created_by=superuser("other"))
    client.force_login(user_with("qorworker.run_job"))
    (told,) = messages_of(sent(client, OPEN))
    assert told.endswith(" is queued.")


# Refusals


def test_a_refusal_names_the_permission_as_the_pages_of_users_do(types, client):
    client.force_login(user_with("qorworker.view_job"))
    page = client.get(GREET)
    assert page.status_code == 403
    text = text_of(page)
    assert "You may not run “Send greetings”." in text
    assert "It needs the permission “Background jobs | job | Can run jobs” (<code>qorworker.run_job</code>)." in text
    text = text_of(client.get(URL.format("by_name")))
    assert "“Testapp | shop | Can change shop” (<code>testapp.change_shop</code>)" in text
    assert "The code of the job decides who is allowed to." in text_of(client.get(URL.format("by_code")))


def test_a_page_that_is_not_found_leads_on(types, visitor):
    response = visitor.get(BASE + "run/tests.nothing/")
    assert response.status_code == 404
    assert f'href="{BASE}catalogue/"' in text_of(response)


# Cost


def test_the_form_takes_as_many_queries_however_much_there_is_to_start_from(types, visitor, root):
    a_worker()
    for number in range(30):
        make_job(types["greet"], "done", arguments=stored(types["greet"], subject=str(number)), created_by=root)
        make_job(types["greet"], "running", last_attempted_at=timezone.now())
    with CaptureQueriesContext(connection) as captured:
        visitor.get(GREET)
    assert len(captured) <= 11, [query["sql"][:150] for query in captured]
