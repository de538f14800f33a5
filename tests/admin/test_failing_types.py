"""A type whose form or rule fails takes nothing away from the others, and lets nobody in."""

from __future__ import annotations

import pytest
from django import forms
from django.db import DatabaseError

import qorworker
from tests.admin.support import BASE, make_job, messages_of, page_of, text_of, user_with

pytestmark = [pytest.mark.django_db, pytest.mark.once]

CATALOGUE = BASE + "catalogue/"


class Failing(forms.Form):
    name = forms.CharField()
    error: Exception | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.error:
            raise self.error


def handler(name):
    pass


def untyped(name):
    pass


@pytest.fixture(params=[RuntimeError("out of order"), DatabaseError("no such table"), None])
def failing(types, monkeypatch, request):
    """Types with a form that raises, with one that needs a table that is missing, and without a form at all."""
    if request.param is None:
        return qorworker.job(name="tests.failing", title="Failing")(untyped)
    monkeypatch.setattr(Failing, "error", request.param)
    return qorworker.job(name="tests.failing", title="Failing", form=Failing)(handler)


def test_the_other_types_and_the_pages_of_its_jobs_stay(failing, visitor):
    job = make_job("tests.failing", "exception", arguments={"name": "x"}, fingerprint="before")
    page = text_of(visitor.get(CATALOGUE))
    assert "Its definition has an error" in page
    assert "Open door" in page
    assert visitor.get(BASE).status_code == 200
    assert "The definition of this job has an error" in text_of(visitor.get(page_of(job)))


def test_it_cannot_be_run_and_no_path_of_the_server_is_told(failing, visitor):
    job = make_job("tests.failing", "exception", arguments={"name": "x"}, fingerprint="before")
    assert visitor.get(BASE + "run/tests.failing/").url == CATALOGUE
    assert visitor.get(BASE + "autocomplete/tests.failing/name/").status_code == 404
    told = messages_of(visitor.post(page_of(job, "run-again/"), {"confirmed": "1"}, follow=True))
    assert set(told) == {"The definition of this job has an error: see “manage.py check”."}
    assert not failing.can_start(job)


def test_a_form_that_works_again_is_used_at_once(types, visitor, monkeypatch):
    job_type = qorworker.job(name="tests.failing", form=Failing)(handler)
    monkeypatch.setattr(Failing, "error", DatabaseError("no such table"))
    assert job_type.arguments.problems()
    monkeypatch.setattr(Failing, "error", None)
    assert job_type.arguments.problems() == {}
    assert visitor.get(BASE + "run/tests.failing/").status_code == 200


def failing_rule(user, job_type, action):
    raise RuntimeError("out of order")


def test_a_rule_that_fails_lets_nobody_in_and_is_logged(types, client, caplog):
    qorworker.job(name="tests.failing", title="Failing", permission=failing_rule)(handler)
    job = make_job("tests.failing")
    client.force_login(user_with("qorworker.run_job"))
    page = text_of(client.get(CATALOGUE))
    assert "Open door" in page
    assert "Failing" not in page
    assert client.get(page_of(job)).status_code == 404
    assert "out of order" in caplog.text


class Coroutine:
    """A rule whose answer would have to be awaited: as an object it is true."""

    def __call__(self, user, job_type, action):
        return self.answer()

    async def answer(self):
        return False


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_rule_that_answers_with_a_coroutine_lets_nobody_in_and_is_logged(types, client, caplog):
    qorworker.job(name="tests.failing", title="Failing", permission=Coroutine())(handler)
    job = make_job("tests.failing", "exception")
    client.force_login(user_with("qorworker.run_job"))
    assert "Failing" not in text_of(client.get(CATALOGUE))
    assert client.get(page_of(job)).status_code == 404
    assert client.post(page_of(job, "retry/"), {"confirmed": "1"}).status_code == 404
    assert "must be True or False, not a coroutine" in caplog.text
