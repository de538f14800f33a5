"""A job as JSON: the model's names, the same rights as on its page, and no secret."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from qorworker.text.masking import MASK
from tests.admin.support import make_job, page_of, stored, text_of, user_with
from tests.testapp.models import Shop

pytestmark = [pytest.mark.django_db, pytest.mark.once]


def test_a_job_is_told_by_the_names_of_its_fields(types, visitor, root):
    arguments = stored(types["greet"], subject="Ä", copies=2)
    job = make_job(types["greet"], "exception", error="KeyError: 'x'", created_by=root, arguments=arguments, progress=7)
    answer = visitor.get(page_of(job, "job.json"))
    told = answer.json()
    assert answer["Content-Type"] == "application/json"
    assert told["id"] == job.pk
    assert told["name"] == "tests.greet"
    assert told["title"] == "Send greetings"
    assert (told["status"], told["progress"], told["attempt"], told["max_attempts"]) == ("exception", 7, 1, 1)
    assert told["arguments"] == {"subject": "Ä", "copies": 2, "mode": "plain"}
    assert told["error"] == "KeyError: 'x'"
    assert told["created_by"] == "root"
    assert told["url"] == f"http://testserver{page_of(job)}"
    assert {"queue_name", "priority", "log_lines", "results_count", "results_errors", "run_after"} <= set(told)


@pytest.mark.parametrize("field", ["enqueued_at", "run_after", "started_at", "finished_at"])
def test_times_have_their_offset_and_a_moment_that_never_was_is_null(types, visitor, field):
    done = visitor.get(page_of(make_job(types["open"], "done"), "job.json")).json()
    assert dt.datetime.fromisoformat(done[field]).utcoffset() is not None
    assert visitor.get(page_of(make_job(types["open"]), "job.json")).json()["finished_at"] is None


def test_secrets_are_dots_and_files_do_not_tell_where_they_are(types, visitor, tmp_path, settings):
    settings.MEDIA_ROOT = str(tmp_path)
    secret = make_job(types["log_in"], arguments=stored(types["log_in"], password="hunter2"))
    assert visitor.get(page_of(secret, "job.json")).json()["arguments"] == {"password": MASK, "user_name": "root"}
    shop = Shop.objects.create(name="Verona")
    upload = make_job(
        types["upload"], arguments=stored(types["upload"], file=SimpleUploadedFile("a.csv", b"1"), shop=shop)
    )
    told = visitor.get(page_of(upload, "job.json")).json()["arguments"]
    assert told["file"] == {"name": "a.csv", "size": 1, "content_type": "text/plain"}
    assert told["shop"] == {"model": "testapp.shop", "pk": shop.pk, "label": str(shop)}


def test_a_secret_stays_dots_when_its_code_is_gone(types, visitor):
    job = make_job("tests.gone", arguments=stored(types["log_in"], password="hunter2"))
    assert visitor.get(page_of(job, "job.json")).json()["arguments"]["password"] == MASK


def test_arguments_and_error_need_their_own_rights(types, client):
    job = make_job(types["greet"], "exception", error="private", arguments=stored(types["greet"], subject="private"))
    client.force_login(user_with("qorworker.view_job"))
    told = client.get(page_of(job, "job.json")).json()
    assert (told["arguments"], told["error"]) == (None, None)


def test_a_job_one_may_not_see_is_not_found(types, client):
    job = make_job(types["open"])
    client.force_login(user_with("testapp.change_shop"))
    assert client.get(page_of(job, "job.json")).status_code == 404


@pytest.mark.parametrize("view_log", [True, False])
def test_what_a_job_returned_is_on_its_page_and_in_its_json(types, client, view_log):
    job = make_job(types["open"], "done", return_value='{"sold": [1, "<b>"], "note": null}')
    rights = ["qorworker.view_job", *(["qorworker.view_job_log"] if view_log else [])]
    client.force_login(user_with(*rights))
    page = text_of(client.get(page_of(job)))
    told = client.get(page_of(job, "job.json")).json()["return_value"]
    assert ("&quot;sold&quot;: [" in page, "<b>" in page) == (view_log, False)
    assert told == ({"sold": [1, "<b>"], "note": None} if view_log else None)


def test_a_large_return_value_is_cut_on_the_page_only(types, visitor):
    job = make_job(types["open"], "done", return_value=f'"{"x" * 50_000}"')
    assert len(visitor.get(page_of(job)).content) < 60_000
    assert len(visitor.get(page_of(job, "job.json")).json()["return_value"]) == 50_000


def test_a_job_that_returned_nothing_has_no_place_for_it(types, visitor):
    job = make_job(types["open"], "done")
    assert "qw-returned" not in text_of(visitor.get(page_of(job)))
    assert visitor.get(page_of(job, "job.json")).json()["return_value"] is None
