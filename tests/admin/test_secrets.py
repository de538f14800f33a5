"""A secret on its way through the pages: never in an address, never in a page, never in the report of an error."""

from __future__ import annotations

import sys
from typing import Annotated

import pytest
from asgiref.sync import async_to_sync
from django import forms
from django.core.signals import got_request_exception
from django.test import Client
from django.views.debug import ExceptionReporter

import qorworker
from qorworker import Arg, Secret
from qorworker.models import Job
from tests.admin.support import BASE
from tests.admin.test_run_form import token_of

pytestmark = pytest.mark.django_db

CANARY = "c4n4ry"


def key_pair(key: Annotated[Secret[str], Arg(widget=forms.Textarea)], number: int = 1) -> None:
    """Its secret has many lines."""


@pytest.fixture
def url(types):
    qorworker.job(name="tests.key_pair")(key_pair)
    return BASE + "run/tests.key_pair/"


def test_a_secret_in_any_widget_is_never_filled_in_from_a_link(url, visitor):
    page = visitor.get(f"{url}?key={CANARY}").content.decode()
    assert CANARY not in page
    assert "is never filled in from a link" in page


def test_a_secret_in_any_widget_is_asked_for_again_after_an_error(url, visitor):
    form = {"qw-token": token_of(visitor, url), "qw-when": "now", "key": CANARY, "number": "x"}
    page = visitor.post(url, form).content.decode()
    assert "Enter a whole number." in page
    assert CANARY not in page
    assert visitor.post(url, {**form, "number": "1"}).status_code == 302


def out_of_order(*args, **kwargs):
    raise RuntimeError("out of order")


def report(request=None):
    """What Django would mail to the administrators: the variables of each frame, and what was posted."""
    reporter = ExceptionReporter(request, *sys.exc_info())
    frames = [(frame["function"], frame["vars"]) for frame in reporter.get_traceback_frames()]
    return f"{reporter.exc_value} {frames} {list(reporter.get_traceback_data()['filtered_POST_items'])}"


def enqueue_one(job_type):
    job_type.enqueue(password=CANARY)


def enqueue_many(job_type):
    job_type.enqueue_many([{"password": CANARY}])


def enqueue_in_a_coroutine(job_type):
    async_to_sync(job_type.aenqueue)(password=CANARY)


def run_again(job_type):
    Job(name=job_type.name, arguments={"password": {"$secret": "token"}}).rerun(password=CANARY)


@pytest.mark.parametrize("enqueue", [enqueue_one, enqueue_many, enqueue_in_a_coroutine, run_again])
def test_the_report_of_an_error_at_enqueueing_does_not_have_it(types, monkeypatch, enqueue):
    monkeypatch.setattr("qorworker.secrets._ring", out_of_order)
    try:
        enqueue(types["log_in"])
    except RuntimeError:
        text = report()
    assert "out of order" in text
    assert CANARY not in text


def test_the_report_of_an_error_on_the_page_does_not_have_it(types, root, monkeypatch):
    visitor = Client(raise_request_exception=False)
    visitor.force_login(root)
    url = BASE + "run/tests.log_in/"
    seen = []

    def note(sender, request, **named):
        seen.append(report(request))

    monkeypatch.setattr("qorworker.secrets._ring", out_of_order)
    got_request_exception.connect(note)
    try:
        answer = visitor.post(url, {"qw-token": token_of(visitor, url), "password": CANARY})
    finally:
        got_request_exception.disconnect(note)
    assert answer.status_code == 500
    assert "out of order" in seen[0]
    assert CANARY not in seen[0]
