"""What an open page receives: one form of answer for every page, and none if nothing has changed."""

from __future__ import annotations

import pytest
from django.http import HttpRequest
from django.urls import reverse

from qorworker.admin.live import News, answer, unchanged, version_of
from tests.admin.support import BASE, a_worker, make_job, page_of

KEYS = {"parts", "append", "gone", "state", "final"}


def asking(version=""):
    request = HttpRequest()
    if version:
        request.META["HTTP_IF_NONE_MATCH"] = version
    return request


@pytest.mark.django_db
def test_every_page_is_answered_in_the_same_form(types, visitor):
    a_worker()
    job = make_job(types["greet"])
    pages = [page_of(job, "live/"), BASE + "list/live/"]
    pages += [reverse(f"admin:qorworker_{kind}_live") for kind in ("worker", "queue")]
    answers = [visitor.get(page) for page in pages]
    preview = reverse("admin:qorworker_schedule_preview", args=["tests.greet"])
    answers.append(visitor.post(preview, {"qw-shape": "cron", "qw-expression": "x"}))
    for response in answers:
        news = response.json()
        assert set(news) == KEYS
        assert all(isinstance(html, str) for html in (*news["parts"].values(), *news["append"].values()))
        assert "no-store" in response["Cache-Control"]


def test_the_same_news_have_the_same_version():
    assert version_of(News(parts={"a": "b"})) == version_of(News(parts={"a": "b"}))
    assert version_of(News(parts={"a": "b"})) != version_of(News(parts={"a": "c"}))


def test_a_version_that_the_browser_has_is_answered_without_a_body():
    assert answer(News(parts={}), '"7"')["ETag"] == '"7"'
    known = unchanged(asking('"7"'), '"7"')
    assert (known.status_code, known.content, known["ETag"]) == (304, b"", '"7"')
    assert unchanged(asking('"7"'), '"8"') is None
    assert unchanged(asking(), '"7"') is None


def test_news_without_a_version_are_always_sent():
    assert "ETag" not in answer(News(parts={}))
