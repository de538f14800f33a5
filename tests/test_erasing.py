"""Secrets leave the row of a job when it has ended for good, in whatever way, and no sooner."""

import datetime as dt
from dataclasses import replace

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from qorworker import Secret, job
from qorworker.attempts import rescue
from qorworker.attempts.attempt import RunningAttempt
from qorworker.attempts.in_process import run_stored
from qorworker.attempts.writer import End, Writer
from qorworker.definitions.registry import registry
from qorworker.exceptions import InvalidArguments, JobAborted
from qorworker.models import Job, bulk
from qorworker.models.sql import claim_one
from tests.job_types import own_types  # noqa: F401
from tests.models.rows import wanted
from tests.text.test_masking import MASK

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_types")]
QUEUES = {
    "default": {"BACKEND": "qorworker.backends.local.LocalBackend"},
    "now": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"},
}
ERASED = {"$secret": None}
PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _queues(settings):
    settings.QORWORKER = {"QUEUES": QUEUES}


def end_as(how: str) -> None:
    if how == "fail":
        raise ValueError("no")
    if how == "abort":
        raise JobAborted


def declare(**options):
    @job(name="tests.erases", **options)
    def erases(how: str, password: Secret[str], pin: Secret[str] = "", note: dict | None = None) -> None:
        assert password.get_secret_value() == "opensesame"
        end_as(how)

    return erases


def ran(how, **options):
    planted = {"$secret": "only looks like one"}
    return declare(**options).using(queue_name="now").enqueue(how=how, password="opensesame", note=planted)


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize(("how", "status"), [("go", "done"), ("fail", "exception"), ("abort", "killed")])
def test_when_its_job_has_ended(how, status, atomic):
    made = ran(how, atomic=atomic)
    made.refresh_from_db()
    assert made.status == status
    planted = {"$secret": "only looks like one"}
    assert made.arguments == {"how": how, "password": ERASED, "pin": {"$secret": ""}, "note": planted}


def test_not_while_another_attempt_is_to_come():
    made = declare(max_attempts=2, backoff=lambda attempt: 0).enqueue(how="fail", password="opensesame")
    assert run_stored(made.pk, "default", worker_name="tests") == "scheduled"
    made.refresh_from_db()
    assert registry.get(made.name).arguments.secret_values(made.arguments) == ["opensesame"]
    assert made.erased_secrets == []
    assert run_stored(made.pk, "default", worker_name="tests", early=True) == "exception"
    made.refresh_from_db()
    assert made.erased_secrets == ["password"]


@pytest.mark.parametrize("known", [True, False])
def test_when_it_is_withdrawn(known):
    made = declare().enqueue(how="go", password="opensesame")
    if not known:
        registry.unregister(made.name)
    made.cancel()
    assert made.arguments["password"] == ERASED


def test_when_its_argument_has_left_the_code():
    made = declare().enqueue(how="go", password="opensesame")
    registry.unregister(made.name)

    @job(name="tests.erases")
    def erases(how: str) -> None: ...

    made.cancel()
    assert made.arguments["password"] == ERASED


@pytest.mark.parametrize("verb", ["fail", "settle"])
def test_when_its_worker_is_lost(verb):
    made = declare().enqueue(how="go", password="opensesame")
    claimed = claim_one("default", made.pk, wanted(names=[made.name]))
    Job.objects.filter(pk=made.pk).update(lease_expires_at=PAST)
    made.refresh_from_db()
    if verb == "fail":
        assert rescue.end_failed("default", made.pk, claimed.token, "lost") == 1
    else:
        assert rescue.end_lost("default", rescue.take_over("default", made.pk, claimed.token), None, "lost") == 1
    made.refresh_from_db()
    assert (made.status, made.arguments["password"]) == ("exception", ERASED)


def test_a_retry_names_it_and_a_new_run_takes_it():
    made = ran("fail")
    assert made.erased_secrets == ["password"]
    assert not made.can_retry
    with pytest.raises(InvalidArguments, match="password: This secret was erased when the job ended"):
        made.retry()
    with pytest.raises(InvalidArguments, match="password: Secrets are not copied"):
        made.rerun()
    assert made.rerun(how="go", password="opensesame").status == "done"
    made.refresh_from_db()
    assert made.status == "exception"


def test_the_retry_of_many_leaves_it_alone():
    @job(name="tests.without")
    def without(pin: Secret[str] = "") -> None:
        raise ValueError("no")

    mine, other = ran("fail"), without.using(queue_name="now").enqueue()
    assert bulk.retry([mine, other], "default") == [other]
    assert Job.objects.filter(pk=mine.pk).retry() == 0
    mine.refresh_from_db()
    assert (mine.status, mine.attempts.count()) == ("exception", 1)


def test_people_see_that_there_was_one():
    made = ran("go")
    made.refresh_from_db()
    shown = {one.name: one.text for one in registry.get(made.name).arguments.display(made.arguments)}
    assert shown["password"] == f"{MASK} (erased when the job ended)"
    assert shown["pin"] == "\u2013"


def test_the_end_of_a_job_without_secrets_takes_no_statement_more():
    made = declare().enqueue(how="go", password="opensesame")
    claimed = claim_one("default", made.pk, wanted(names=[made.name]))
    counted = []
    for arguments in (claimed.arguments, "{}"):
        Job.objects.filter(pk=made.pk).update(status="running", attempt_token=claimed.token, lease_expires_at=PAST)
        attempt = RunningAttempt(replace(claimed, arguments=arguments), "default")
        writer = Writer("default", None, "tests")
        writer.end(End(attempt, attempt.end("done", ""), "done"))
        with CaptureQueriesContext(connection) as queries:
            writer.flush(())
        counted.append(len([query for query in queries if query["sql"].startswith(("UPDATE", "SELECT"))]))
    assert counted[0] == counted[1] + 2  # read and write


def test_a_person_who_may_look_sees_no_button_for_a_retry(client):
    client.force_login(get_user_model().objects.create_superuser("root"))
    made = ran("fail")
    page = client.get(f"/admin/qorworker/job/{made.pk}/change/").content.decode()
    assert "/retry/" not in page
    assert f"/run/tests.erases/?from={made.pk}" in page
    form = client.get(f"/admin/qorworker/job/run/tests.erases/?from={made.pk}").content.decode()
    assert 'name="password"' in form
    answer = client.post(f"/admin/qorworker/job/{made.pk}/retry/", {}, follow=True).content.decode()
    assert "erased when the job ended" in answer
