"""Log lines say from which job they come: in the project's own logging, as JSON, and with structlog."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import pytest
import structlog

from qorworker import JobContext, Secret, job
from qorworker.contrib.logs import JobFilter, JSONFormatter, add_job
from qorworker.testing import run_job
from tests.job_types import own_types  # noqa: F401

pytestmark = [pytest.mark.django_db, pytest.mark.once, pytest.mark.usefixtures("own_types", "with_job")]
logger = logging.getLogger("shop.mail")


@pytest.fixture
def with_job(middleware):
    middleware("qorworker.contrib.logs.with_job")


@pytest.fixture
def lines():
    """What a handler of the project writes, line by line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    handler.addFilter(JobFilter())
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


def of(lines, name="shop.mail"):
    return [line for line in lines() if line["logger"] == name]


def test_settings_may_name_it_before_models_can_be_loaded():
    code = (
        "from django.conf import settings\n"
        "json = {'()': 'qorworker.contrib.logs.JSONFormatter'}\n"
        "settings.configure(LOGGING={'version': 1, 'formatters': {'json': json}})\n"
        "import django; django.setup()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_line_of_a_job_is_json_with_its_job(lines):
    @job(name="app.mail")
    def mail() -> None:
        logger.warning("sent %d letters", 7, extra={"shop": "Berlin"})

    ran = run_job(mail)
    (line,) = of(lines)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING", "logger": "shop.mail", "message": "sent 7 letters", "shop": "Berlin",
        "job_id": ran.job.pk, "job_name": "app.mail", "job_attempt": 1,
    }  # fmt: skip


def test_the_line_of_a_failure_names_the_job_and_has_the_traceback(lines):
    @job(name="app.mail")
    def mail() -> None:
        raise ValueError("no stamp")

    ran = run_job(mail)
    (line,) = of(lines, "qorworker.job.app.mail")
    assert (line["job_id"], line["level"]) == (ran.job.pk, "ERROR")
    assert "ValueError: no stamp" in line["exception"]


def test_coroutines_name_their_job_too(lines):
    @job(name="app.mail")
    async def mail() -> None:
        logger.warning("sent")

    ran = run_job(mail)
    assert [line["job_id"] for line in of(lines)] == [ran.job.pk]


def test_outside_of_a_job_no_job_is_named(lines):
    @job(name="app.mail")
    def mail() -> None:
        pass

    run_job(mail)
    logger.warning("idle")
    (line,) = of(lines)
    assert "job_id" not in line


def test_the_filter_gives_plain_formats_the_job():
    record = logging.makeLogRecord({"msg": "idle"})
    assert JobFilter().filter(record)
    assert logging.Formatter("%(job_id)s %(message)s").format(record) == "None idle"


def test_what_json_does_not_know_is_written_as_a_text(lines):
    logger.warning("odd", extra={"what": {1, 2}.__class__})
    (line,) = of(lines)
    assert line["what"] == "<class 'set'>"


def test_what_was_given_as_extra_does_not_replace_what_each_line_says(lines):
    logger.warning("odd", extra={"level": "DEBUG", "logger": "other", "time": 7})
    (line,) = of(lines)
    assert (line["level"], line["level_"], line["logger_"], line["time_"]) == ("WARNING", "DEBUG", "other", 7)


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (float("nan"), "nan"),
        (Odd(), "<Odd: RuntimeError>"),
        ("name-\udcff.txt", "name-\udcff.txt"),
        ('quote " and\nline \u2028', 'quote " and\nline \u2028'),
    ],
)
def test_no_line_is_lost_for_what_json_cannot_hold(value, written):
    record = logging.makeLogRecord({"msg": "odd", "what": value})
    line = JSONFormatter().format(record)
    assert "\n" not in line
    line.encode()
    assert (json.loads(line)["message"], json.loads(line)["what"]) == ("odd", written)
    constants = []
    json.loads(line, parse_constant=constants.append)
    assert constants == []


def test_secrets_of_the_job_are_masked_in_all_of_its_line(lines):
    @job(name="app.mail")
    def mail(password: Secret[str]) -> None:
        text = password.get_secret_value()
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("using %s", text, extra={"header": {"Authorization": f"Bearer {text}"}})

    run_job(mail, password='hunter"2')
    (line,) = of(lines)
    assert "hunter" not in json.dumps(line)
    assert line["message"] == "using ••••••"
    assert line["header"] == {"Authorization": "Bearer ••••••"}


def test_structlog_gets_the_job_as_well():
    events = []

    def keep(logger, method, event):
        events.append(event)
        raise structlog.DropEvent

    bound = structlog.wrap_logger(None, processors=[add_job, keep])

    @job(name="app.mail")
    def mail(context: JobContext) -> None:
        bound.info("sent", letters=7)
        bound.info("other", job_id="mine")

    ran = run_job(mail)
    bound.info("idle")
    assert events == [
        {"event": "sent", "letters": 7, "job_id": ran.job.pk, "job_name": "app.mail", "job_attempt": 1},
        {"event": "other", "job_id": "mine", "job_name": "app.mail", "job_attempt": 1},
        {"event": "idle"},
    ]
