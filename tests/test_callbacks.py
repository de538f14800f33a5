"""The address that callbacks call: open to everybody who has it, once, and silent to everybody else."""

import datetime as dt
import json

import pytest
from django.core.signing import Signer
from django.test import Client

from qorworker import job
from qorworker.models import AuditEntry, Question
from qorworker.models.callbacks import SALT, address_of
from qorworker.testing import run_job
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_types")]
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def waiting(own_types):  # noqa: F811
    """A job that waits for a call."""
    return run_job(job(name="test.calls")(lambda context: context.callback(expires=HOUR).wait())).job


@pytest.fixture
def url(waiting):
    return address_of(waiting.questions.get())


def post(url, body, **options):
    return Client(enforce_csrf_checks=True).post(url, body, content_type="application/json", **options)


def token_of(value):
    return Signer(sep=".", salt=SALT).sign(value)


def test_a_call_answers_without_a_login(waiting, url):
    response = post(url, '{"paid": true, "sum": 1.5}')
    assert (response.status_code, response.content) == (204, b"")
    assert response["Cache-Control"].startswith("max-age=0")
    waiting.refresh_from_db()
    assert (waiting.status, waiting.waits_for_answer) == ("new", False)
    assert run_job(waiting).result == {"paid": True, "sum": 1.5}
    entry = AuditEntry.objects.of_job(waiting.pk).get(action="answer")
    assert (entry.origin, entry.user_name, entry.address) == ("callback", "", "127.0.0.1")


@pytest.mark.parametrize("body", ["null", "0", "[]", '"text"', "{}"])
def test_any_json_is_an_answer(waiting, url, body):
    assert post(url, body).status_code == 204
    assert run_job(waiting).result == json.loads(body)


def test_the_second_call_is_gone(waiting, url):
    post(url, "1")
    response = post(url, "2")
    assert response.status_code == 410
    assert response.json() == {"error": "This address was called before, or its time is over."}
    assert waiting.questions.get().answer == 1


def test_so_is_one_after_its_time(waiting, url):
    Question.objects.update(expires_at=waiting.enqueued_at)
    assert post(url, "1").status_code == 410
    assert waiting.questions.get().state == "open"


def test_so_is_one_after_the_job_has_ended(waiting, url):
    waiting.cancel()
    assert post(url, "1").status_code == 410
    assert waiting.questions.get().answer is None


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'{"a": 1, "a": 2}', b"\xff", b"[" * 40, b'"\\u0000"'])
def test_what_is_no_json_is_refused_and_may_be_corrected(waiting, url, body):
    response = post(url, body)
    assert response.status_code == 400
    assert response.json()["error"].startswith("The body must be JSON")
    assert waiting.questions.get().state == "open"
    assert post(url, "1").status_code == 204


def test_so_is_what_is_too_large(settings, waiting, url):
    settings.QORWORKER = {**settings.QORWORKER, "ARGUMENTS_BYTES": 1024}
    response = post(url, json.dumps("x" * 1024))
    assert response.status_code == 413
    assert response.json() == {"error": "The body may have 1024 bytes."}
    assert post(url, "1", headers={"Content-Length": "99999999"}).status_code == 413
    assert waiting.questions.get().state == "open"
    assert post(url, json.dumps("x" * 1022)).status_code == 204


@pytest.mark.parametrize("length", ["²", "-1", "9" * 5000, "many"])
def test_so_is_a_length_that_is_none(url, length):
    assert post(url, "1", CONTENT_LENGTH=length).status_code == 413


def test_only_post_counts(url):
    for method in ("get", "put", "delete", "head"):
        assert getattr(Client(), method)(url).status_code == 405
        assert getattr(Client(), method)("/qorworker/callback/forged/").status_code == 405


def test_no_log_gets_an_address_that_may_still_be_good(waiting, url, caplog, settings):
    caplog.set_level("DEBUG")
    settings.QORWORKER = {**settings.QORWORKER, "ARGUMENTS_BYTES": 1024}
    post(url, "{")
    post(url, json.dumps("x" * 1024))
    Client().get(url)
    assert post(url, "1").status_code == 204
    post(url, "2")
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line[: line.index(": ")] for line in said] == [
        f"A call from outside for job {waiting.pk} was refused with 400",
        f"A call from outside for job {waiting.pk} was refused with 413",
        "A call from outside for no job was refused with 405",
        f"A call from outside for job {waiting.pk} was refused with 410",
    ]
    nonce = waiting.questions.get().nonce
    assert not [record for record in caplog.records if nonce in f"{vars(record)}{record.getMessage()}"]


def test_a_guess_is_told_nothing(waiting, url):
    row = waiting.questions.get()
    person = run_job(job(name="test.asks")(lambda context: context.ask("Sure?"))).job.questions.get()
    guesses = [
        "forged",
        url.split("/")[-2][:-1],
        f"{row.pk}_{row.nonce}",
        token_of(f"{row.pk}_{'0' * 32}"),
        token_of(f"{row.pk + 99}_{row.nonce}"),
        token_of(f"{person.pk}_"),
        token_of(f"{10**18}_{row.nonce}"),
        token_of("nothing"),
        Signer(sep=".").sign(f"{row.pk}_{row.nonce}"),  # without its salt
        "x" * 5000,
    ]
    answers = {
        (response.status_code, response.content)
        for guess in guesses
        for body in ("1", "no json", "x" * 300_000)
        for response in [post(f"/qorworker/callback/{guess}/", body)]
    }
    assert answers == {(404, b'{"error": "There is no such address."}')}
    waiting.delete()
    assert post(url, "1").status_code == 404


def test_an_old_key_of_the_project_still_fits(settings, waiting, url):
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another"
    assert post(url, "1").status_code == 204


def test_the_address_says_nothing_of_the_job(waiting, url):
    assert "test" not in url
    assert len(url) < 200
