"""Addresses, forms and servers that say what no page of ours would: answered, never an error of the server."""

from __future__ import annotations

import pytest

from qorworker.models import AuditEntry, Job
from tests.admin.support import BASE, make_job, page_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]


@pytest.mark.parametrize(
    "query", ["job=%00", "group=%00", "q=%00", "tab=%00", "p=99999999999999999999", "p=%00", "o=9.-8.x", "job=a/b"]
)
def test_the_list_takes_any_address(types, visitor, query):
    make_job(types["open"])
    assert visitor.get(f"{BASE}?{query}").status_code in (200, 302)


@pytest.mark.parametrize("query", ["job=a/b", "job=%00", "q=%00", "group=%00"])
def test_the_catalogue_takes_any_address(types, visitor, query):
    assert visitor.get(f"{BASE}catalogue/?{query}").status_code == 200


@pytest.mark.parametrize(
    "query",
    [f"level={'0' * 5000}", "level=%00", "level=²", "before=999999999999999999", "page=99999999999999", "page=%00",
     "rows=%00", "after=999999999999999999", "after=%00", "results=%00", "state=%00"],
)  # fmt: skip
def test_the_page_of_a_job_and_its_live_data_take_any_address(types, visitor, query):
    job = make_job(types["open"], log_lines=3, results_rows=5)
    assert visitor.get(f"{page_of(job)}?{query}").status_code == 200
    assert visitor.get(f"{page_of(job, 'live/')}?{query}").status_code == 200


@pytest.mark.parametrize("token", ["1." + "\x00" * 20, "1." + "é" * 20, "9" * 30 + "." + "x" * 20, "x." + "x" * 20])
def test_a_token_that_no_form_ever_had_starts_nothing(types, visitor, token):
    response = visitor.post(BASE + "run/tests.open/", {"qw-token": token, "qw-when": "now"})
    assert response.status_code == 200
    assert not Job.objects.exists()


def test_a_search_for_a_character_that_no_database_takes_finds_what_is_left_of_it(types, visitor):
    assert visitor.get(BASE + "autocomplete/tests.upload/shop/?term=%00x").json()["results"] == []


@pytest.mark.parametrize(
    ("told", "kept"), [("192.0.2.7", "192.0.2.7"), ("fe80::1%eth0", "fe80::1"), ("localhost", None), ("", None)]
)
def test_an_address_that_is_none_does_not_stop_the_audit(types, client, told, kept):
    client.force_login(user_with("qorworker.view_job"))
    job = make_job(types["open"])
    assert client.post(page_of(job, "cancel/"), {"confirmed": "1"}, REMOTE_ADDR=told).status_code == 403
    assert AuditEntry.objects.get().address == kept


@pytest.mark.parametrize("key", ["x", "", "²", "-1", "1.5", "9" * 30, "\x00"])
def test_what_cannot_be_the_key_of_a_row_is_refused_by_the_form(types, visitor, key):
    answer = visitor.post(BASE + "run/tests.upload/", {"shop": key, "qw-when": "now"})
    assert answer.status_code == 200
    assert not Job.objects.exists()


@pytest.mark.parametrize("chosen", ["x", "", "²", "-1", "9" * 30, "\x00"])
def test_what_cannot_be_the_number_of_a_job_chooses_nothing(types, visitor, chosen):
    job = make_job(types["open"])
    data = {"action": "cancel", "_selected_action": [job.pk, chosen], "confirmed": "1"}
    assert visitor.post(BASE, data).status_code == 400
    assert Job.objects.get().status == "new"
