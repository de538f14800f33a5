"""The run form: now and later, one submit one job, prefilled, errors, secrets."""

from __future__ import annotations

import datetime as dt
import re
import threading

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone

from qorworker.admin.forms import RescheduleForm
from qorworker.models import AuditEntry, Job
from tests.admin.filled_in import filled_in
from tests.admin.support import (
    BASE,
    XSS,
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

with_zones = pytest.mark.skipif(not settings.USE_TZ, reason="without zones clocks are never changed")
URL = BASE + "run/tests.{}/"
GREET, OPEN = URL.format("greet"), URL.format("open")
VALUES = {"subject": "Hello", "copies": "2", "mode": "plain", "qw-when": "now"}


def token_of(client, url):
    return re.search(r'name="qw-token" value="([^"]+)"', text_of(client.get(url)))[1]


def later(moment):
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return {"qw-when": "later", "qw-at_0": f"{local:%Y-%m-%d}", "qw-at_1": f"{local:%H:%M:%S}"}


def test_now_queues_a_job_with_typed_arguments_and_lands_on_its_page(types, visitor, root):
    response = visitor.post(GREET, {**VALUES, "qw-token": token_of(visitor, GREET)}, follow=True)
    job = Job.objects.get()
    assert (job.status, job.created_by, job.arguments["copies"]) == ("new", root, 2)
    assert response.redirect_chain == [(page_of(job), 302)]
    assert "is queued" in messages_of(response)[0]
    assert AuditEntry.objects.filter(job_id=job.pk, user_name="root", origin="admin").exists()


def test_later_schedules_it_for_the_second(types, visitor):
    moment = (timezone.now() + dt.timedelta(days=2)).replace(microsecond=0)
    response = visitor.post(GREET, {**VALUES, **later(moment), "qw-token": token_of(visitor, GREET)}, follow=True)
    job = Job.objects.get()
    assert (job.status, job.run_after) == ("scheduled", moment)
    assert "is scheduled for" in messages_of(response)[0]


@pytest.mark.parametrize("seconds", [-86400, 0, 100])
def test_a_past_or_near_time_starts_at_once_and_the_message_says_so(types, visitor, seconds):
    moment = timezone.now() + dt.timedelta(seconds=seconds)
    response = visitor.post(GREET, {**VALUES, **later(moment), "qw-token": token_of(visitor, GREET)}, follow=True)
    assert Job.objects.get().status == "new"
    assert "starts at once" in messages_of(response)[0]


def test_the_window_can_be_turned_off(types, visitor, settings):
    settings.QORWORKER = {**settings.QORWORKER, "IMMEDIATE_WINDOW": 0}
    moment = timezone.now() + dt.timedelta(seconds=60)
    visitor.post(GREET, {**VALUES, **later(moment), "qw-token": token_of(visitor, GREET)})
    assert Job.objects.get().status == "scheduled"


def test_the_form_names_the_zone_and_the_window(types, visitor):
    page = text_of(visitor.get(GREET))
    assert "Time zone: Europe/Berlin." in page
    assert "less than 2 minutes ahead, starts at once" in page


@pytest.mark.parametrize(
    ("date", "time", "told"),
    [
        pytest.param("2030-03-31", "02:30", "does not exist", marks=with_zones),
        pytest.param("2030-10-27", "02:30", "happens twice", marks=with_zones),
        ("", "", "Choose a date"),
    ],
)
def test_a_time_that_the_zone_skips_or_repeats_or_no_time_is_refused(types, visitor, date, time, told):
    data = {**VALUES, "qw-when": "later", "qw-at_0": date, "qw-at_1": time, "qw-token": token_of(visitor, GREET)}
    response = visitor.post(GREET, data)
    assert response.status_code == 200
    assert told in text_of(response)
    assert not Job.objects.exists()


@with_zones
def test_the_neighbours_of_a_skipped_time_are_offered(types, visitor):
    data = {**VALUES, "qw-when": "later", "qw-at_0": "2030-03-31", "qw-at_1": "02:30", "qw-token": "0." + "x" * 20}
    page = text_of(visitor.post(GREET, data))
    assert "Choose 01:30 or 03:30 instead." in page


@with_zones
@pytest.mark.parametrize(("which", "hour"), [("0", 0), ("1", 1)])
def test_which_of_two_moments_is_meant_can_be_chosen(types, visitor, which, hour):
    data = {**VALUES, "qw-when": "later", "qw-at_0": "2030-10-27", "qw-at_1": "02:30:00"}
    response = visitor.post(GREET, {**data, "qw-token": token_of(visitor, GREET)})
    page = text_of(response)
    assert "02:30 CEST (UTC+0200)" in page
    assert "02:30 CET (UTC+0100)" in page
    assert filled_in(response)["qw-at_1"] == ["02:30:00"]
    visitor.post(GREET, {**filled_in(response), "qw-which": which})
    assert Job.objects.get().run_after == dt.datetime(2030, 10, 27, hour, 30, tzinfo=dt.UTC)


@with_zones
@pytest.mark.parametrize("which", ["", "2", "x"])
def test_neither_of_the_two_is_no_choice(types, visitor, which):
    data = {**VALUES, "qw-when": "later", "qw-at_0": "2030-10-27", "qw-at_1": "02:30:00", "qw-which": which}
    response = visitor.post(GREET, {**data, "qw-token": token_of(visitor, GREET)})
    assert "happens twice" in text_of(response)
    assert not Job.objects.exists()


def test_what_was_left_in_the_boxes_does_not_matter_now(types, visitor):
    data = {**VALUES, "qw-when": "now", "qw-at_0": "soon", "qw-at_1": "", "qw-token": token_of(visitor, GREET)}
    visitor.post(GREET, data)
    assert Job.objects.get().status == "new"


def test_a_time_that_no_database_can_keep_is_refused():
    with timezone.override("America/New_York"):
        field = RescheduleForm({"qw-at_0": "9999-12-31", "qw-at_1": "23:59:59"})
        assert field.is_valid() is (not settings.USE_TZ)


def test_a_second_submit_lands_on_the_first_job(types, visitor):
    data = {**VALUES, "qw-token": token_of(visitor, GREET)}
    visitor.post(GREET, data)
    response = visitor.post(GREET, {**data, "subject": "Other"}, follow=True)
    job = Job.objects.get()
    assert response.redirect_chain == [(page_of(job), 302)]
    assert "This run was already started." in messages_of(response)
    assert job.arguments["subject"] == "Hello"


def test_the_token_of_one_person_says_nothing_about_another(types, visitor):
    data = {**VALUES, "qw-token": token_of(visitor, GREET)}
    visitor.post(GREET, data)
    other = Client()
    other.force_login(superuser("other"))
    other.post(GREET, data)
    assert Job.objects.count() == 2


@pytest.mark.parametrize("token", ["", "x", "1.", "-1." + "x" * 20, "1" * 30 + "." + "x" * 20])
def test_a_form_without_a_proper_token_starts_nothing_and_comes_back_with_one(types, visitor, token):
    response = visitor.post(GREET, {**VALUES, "qw-token": token})
    assert response.status_code == 200
    assert re.search(r'name="qw-token" value="\d+\.[\w-]{16,}"', text_of(response))
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_submits_at_the_same_moment_make_one_job(types):
    user = superuser()
    clients = [Client() for _ in range(4)]
    for client in clients:
        client.force_login(user)
    data = {**VALUES, "qw-token": token_of(clients[0], GREET)}
    together = threading.Barrier(len(clients))
    answers = []

    def submit(client):
        together.wait()
        try:
            answers.append(client.post(GREET, data).url)
        finally:
            connection.close()

    threads = [threading.Thread(target=submit, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    job = Job.objects.get()
    assert answers == [page_of(job)] * len(clients)


def test_errors_are_summed_up_and_nothing_is_started(types, visitor):
    response = visitor.post(GREET, {**VALUES, "subject": "", "copies": "many", "qw-token": token_of(visitor, GREET)})
    page = text_of(response)
    assert "Nothing was started." in page
    assert '<a href="#id_subject">' in page
    assert '<a href="#id_copies">' in page
    assert not Job.objects.exists()


def test_what_was_typed_is_shown_again_as_text(types, visitor):
    page = text_of(visitor.post(GREET, {**VALUES, "subject": XSS, "copies": "many"}))
    assert XSS not in page
    assert "&lt;script&gt;" in page


def test_a_secret_is_stored_unreadable_and_never_rendered_again(types, visitor):
    url = URL.format("log_in")
    refused = visitor.post(url, {"password": "hunter2", "user_name": "", "qw-token": "x"})
    assert "hunter2" not in text_of(refused)
    visitor.post(url, {"password": "hunter2", "user_name": "ben", "qw-token": token_of(visitor, url)})
    job = Job.objects.get()
    assert "hunter2" not in str(job.arguments)
    for page in (page_of(job), BASE, f"{url}?from={job.pk}", f"{url}?password=hunter2", page_of(job, "live/")):
        assert "hunter2" not in text_of(visitor.get(page)).replace("?password=hunter2", "")


def test_an_upload_and_a_row_reach_the_job(types, visitor):
    shop = Shop.objects.create(name="Berlin")
    url = URL.format("upload")
    file = SimpleUploadedFile("prices.csv", b"a,b")
    visitor.post(url, {"file": file, "shop": shop.pk, "qw-when": "now", "qw-token": token_of(visitor, url)})
    job = Job.objects.get()
    assert "prices.csv" in text_of(visitor.get(page_of(job)))


def test_an_address_fills_in_fields_and_says_what_it_left_out(types, visitor):
    page = text_of(visitor.get(f"{GREET}?subject=Hi+there&copies=x&nonsense=1&mode=rich"))
    assert 'value="Hi there"' in page
    assert '<option value="rich" selected>' in page
    assert "The value for “Copies” does not fit; it was ignored." in page
    assert "The field “nonsense” does not exist; it was ignored." in page


def test_an_address_never_fills_in_a_secret_or_a_file(types, visitor):
    assert "“Password” is never filled in from a link." in text_of(
        visitor.get(URL.format("log_in") + "?password=x")
    ).replace("&quot;", '"')
    assert "“File” is never filled in from a link." in text_of(visitor.get(URL.format("upload") + "?file=x"))


def test_an_earlier_job_fills_in_its_arguments(types, visitor):
    job = make_job(types["greet"], "done", arguments=stored(types["greet"], subject="Once more", copies=3))
    page = text_of(visitor.get(f"{GREET}?from={job.pk}"))
    assert 'value="Once more"' in page
    assert 'value="3"' in page
    assert f"#{job.pk}</a>" in page


@pytest.mark.parametrize("other", ["0", "abc", "99999999999999999999", "{open}"])
def test_a_job_that_cannot_be_the_start_is_named_and_left_out(types, visitor, other):
    job = make_job(types["open"], "done")
    page = text_of(visitor.get(f"{GREET}?from={other.format(open=job.pk)}"))
    assert "cannot be used as a start" in page


def test_arguments_one_may_not_see_are_not_filled_in(types, client):
    client.force_login(user_with("qorworker.run_job", "qorworker.view_job"))
    job = make_job(types["greet"], "done", arguments=stored(types["greet"], subject="Between us"))
    page = text_of(client.get(f"{GREET}?from={job.pk}"))
    assert "Between us" not in page
    assert "cannot be used as a start" in page


def test_a_type_that_wants_to_be_confirmed_is_not_started_without_it(types, visitor):
    url = URL.format("asks")
    data = {"qw-when": "now", "qw-token": token_of(visitor, url)}
    assert "Everything will be deleted." in text_of(visitor.post(url, data))
    assert not Job.objects.exists()
    visitor.post(url, {**data, "qw-confirmed": "on"})
    assert Job.objects.count() == 1


def test_a_type_that_is_not_schedulable_has_no_time(types, visitor):
    url = URL.format("log_in")
    assert "qw-when" not in text_of(visitor.get(url))
    moment = later(timezone.now() + dt.timedelta(days=2))
    visitor.post(url, {"password": "x", "user_name": "y", **moment, "qw-token": token_of(visitor, url)})
    assert Job.objects.get().status == "new"


def test_fields_that_nobody_declared_change_nothing(types, visitor):
    extra = {"status": "done", "created_by": "99", "priority": "100", "queue_name": "mail", "max_attempts": "50"}
    visitor.post(GREET, {**VALUES, **extra, "qw-token": token_of(visitor, GREET)})
    job = Job.objects.get()
    assert (job.status, job.priority, job.queue_name, job.max_attempts) == ("new", 0, "default", 3)


def test_who_may_not_run_it_is_refused_and_written_down(types, client):
    client.force_login(user_with("qorworker.view_job"))
    response = client.post(OPEN, {"qw-when": "now", "qw-token": "0." + "x" * 20})
    assert response.status_code == 403
    assert "qorworker.run_job" in text_of(response)
    assert not Job.objects.exists()
    assert AuditEntry.objects.get().outcome == "denied"


@pytest.mark.parametrize("name", ["tests.by_name", "tests.nothing", "os.system"])
def test_a_type_one_has_nothing_to_do_with_is_not_found_like_one_that_does_not_exist(types, client, name):
    client.force_login(user_with("qorworker.run_job"))
    assert client.get(f"{BASE}run/{name}/").status_code == 404


def test_who_may_run_but_not_see_jobs_lands_in_the_catalogue(types, client):
    client.force_login(user_with("qorworker.run_job"))
    response = client.post(OPEN, {"qw-when": "now", "qw-token": token_of(client, OPEN)})
    assert response.url == BASE + "catalogue/"
    assert Job.objects.count() == 1


def test_rows_to_choose_from_are_found_only_by_who_may_run_the_job(types, client):
    Shop.objects.create(name="Berlin")
    url = BASE + "autocomplete/tests.upload/shop/?term=ber"
    client.force_login(user_with("qorworker.run_job", "testapp.view_shop", name="a"))
    assert [row["text"] for row in client.get(url).json()["results"]] == ["Berlin"]
    client.force_login(user_with("qorworker.view_job", "testapp.view_shop", name="b"))
    assert client.get(url).status_code == 404
