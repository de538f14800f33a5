"""What people may do is checked again when a job starts that they asked for long ago."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from qorworker import recheck
from qorworker.execution import Work, execute
from qorworker.models import Job, Origin
from qorworker.models.sql import Claim, claim, claim_one
from qorworker.registry import registry
from qorworker.worker.attempt import RunningAttempt
from tests.admin.support import user_with
from tests.models.rows import token
from tests.support import ROOT, environment
from tests.testapp.jobs import noop
from tests.worker.conftest import open_database, start, transactional_db

__all__ = ["open_database", "start", "transactional_db"]

HOUR = dt.timedelta(hours=1)


@pytest.fixture(autouse=True)
def _database(transactional_db):
    """An attempt looks after its connections, which a test's own transaction would not survive."""


@pytest.fixture
def ben(types):
    return user_with("qorworker.run_job", name="ben")


def asked_for(types, user, origin=Origin.ADMIN, name="open", **arguments):
    """A job that *user* has scheduled for later, and whose time has come."""
    job = types[name].using(user=user, run_after=HOUR, origin=origin).enqueue(**arguments)
    Job.objects.update(enqueued_at=timezone.now() - 2 * HOUR, run_after=timezone.now() - HOUR)
    Job.objects.promote_due()
    return job


def outcome_of(job) -> tuple[str, str]:
    work = work_of(job)
    ending = execute(work, [].append)
    return ending.outcome, ending.error


def work_of(job) -> Work:
    wanted = Claim(1, token(), ["default"], registry.names(), 1, 1, (), 15.0)
    (claimed,) = claim("default", wanted)
    assert claimed.id == job.pk
    return RunningAttempt(claimed, "default").work


def lose_rights(user) -> None:
    user.user_permissions.clear()


def deactivate(user) -> None:
    user.is_active = False
    user.save()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lose_rights, "ben, who asked for it, may no longer run this job. It was not started."),
        (deactivate, "The account of ben, who asked for it, is no longer active. It was not started."),
    ],
)
def test_who_may_no_longer_has_nothing_started(types, ben, change, told):
    job = asked_for(types, ben)
    change(ben)
    outcome, error = outcome_of(job)
    assert outcome == "refused"
    assert error.startswith(told)
    assert "retry it" in error


def test_who_still_may_has_it_started(types, ben):
    assert outcome_of(asked_for(types, ben)) == ("done", "")


def test_a_right_of_the_type_itself_counts(types):
    shopkeeper = user_with("testapp.change_shop", name="shopkeeper")
    job = asked_for(types, shopkeeper, name="by_name")
    assert work_of(job).created_by == str(shopkeeper.pk)
    recheck.check(job.pk, str(shopkeeper.pk), types["by_name"], "default")
    lose_rights(shopkeeper)
    with pytest.raises(recheck.NoLongerAllowed):
        recheck.check(job.pk, str(shopkeeper.pk), types["by_name"], "default")


@pytest.mark.parametrize("verb", ["retry", "reschedule", "run_now"])
def test_somebody_who_may_can_ask_for_it_in_their_place(types, ben, verb):
    job = asked_for(types, ben)
    lose_rights(ben)
    ann = user_with("qorworker.retry_job", "qorworker.reschedule_job", name="ann")
    if verb == "retry":
        Job.objects.update(status="exception", finished_at=timezone.now())
        job.retry(by=ann, origin=Origin.ADMIN)
    elif verb == "reschedule":
        job.reschedule(timezone.now() - HOUR / 2, by=ann, origin=Origin.ADMIN)
    else:
        Job.objects.update(status="scheduled")
        job.run_now(by=ann, origin=Origin.ADMIN)
    Job.objects.update(enqueued_at=timezone.now() - 2 * HOUR)
    assert outcome_of(job)[0] == "done"


@pytest.mark.parametrize(("who_leaves", "outcome"), [("ann", "refused"), ("ben", "done")])
def test_after_a_change_the_rights_of_who_changed_it_last_count_and_no_others(types, ben, who_leaves, outcome):
    ann = user_with("qorworker.run_job", "qorworker.reschedule_job", name="ann")
    job = asked_for(types, ben, name="greet", subject="A")
    job.update(subject="B", by=ann, origin=Origin.ADMIN)
    deactivate({"ann": ann, "ben": ben}[who_leaves])
    assert outcome_of(job)[0] == outcome


def test_who_may_not_either_cannot(types, ben):
    job = asked_for(types, ben)
    lose_rights(ben)
    cara = user_with("qorworker.view_job", name="cara")
    job.reschedule(timezone.now() - HOUR / 2, by=cara, origin=Origin.ADMIN)
    assert outcome_of(job)[0] == "refused"


def test_what_code_asked_for_in_somebodys_name_is_not_checked(types):
    customer = get_user_model().objects.create_user("customer")
    assert outcome_of(asked_for(types, customer, Origin.CODE)) == ("done", "")


def test_a_job_without_a_user_is_not_checked(types):
    assert work_of(asked_for(types, None)).created_by == ""


def test_a_job_that_starts_at_once_is_checked_only_if_always_is_set(types, ben, settings):
    settings.QORWORKER = {**settings.QORWORKER, "RECHECK_PERMISSIONS": "always"}
    job = types["open"].using(user=ben, origin=Origin.ADMIN).enqueue()
    lose_rights(ben)
    work = work_of(job)
    assert work.created_by == str(ben.pk)
    assert execute(work, [].append).outcome == "refused"


@pytest.mark.parametrize(
    ("policy", "has_waited", "due"),
    [("scheduled", True, True), ("scheduled", False, False), ("always", False, True), ("never", True, False)],
)
def test_the_setting_says_which_jobs_are_checked(settings, policy, has_waited, due):
    settings.QORWORKER = {**settings.QORWORKER, "RECHECK_PERMISSIONS": policy}
    assert recheck.is_due(7, has_waited) is due
    assert not recheck.is_due(None, has_waited)


def test_a_job_is_known_to_have_waited_by_its_row(types, ben):
    at_once = types["open"].using(user=ben).enqueue()
    assert work_of(at_once).created_by == ""
    Job.objects.all().delete()
    assert work_of(asked_for(types, ben)).created_by == str(ben.pk)


def test_every_way_to_claim_tells_it(types, ben):
    job = asked_for(types, ben)
    claimed = claim_one("default", job.pk, Claim(1, token(), (), (), 1, 1, (), 15.0))
    assert (claimed.created_by, bool(claimed.has_waited)) == (ben.pk, True)


def test_the_message_to_the_child_stays_plain_json(types, ben):
    work = work_of(asked_for(types, ben))
    assert Work(*json.loads(json.dumps(work))) == work


def test_a_right_that_comes_back_lets_it_run(types, ben):
    job = asked_for(types, ben)
    lose_rights(ben)
    ben.user_permissions.add(Permission.objects.get(codename="run_job"))
    assert outcome_of(job)[0] == "done"


def of_the_testapp(user, job_type=noop):
    return asked_for({"open": job_type}, user)


@pytest.mark.process
def test_in_a_worker_it_ends_as_failed_and_can_be_retried(ben, start):
    job = of_the_testapp(ben)
    lose_rights(ben)
    assert start("--batch").exit_status() == 0
    job.refresh_from_db()
    assert (job.status, job.can_retry) == ("exception", True)
    assert job.error.startswith("ben, who asked for it, may no longer run this job.")
    attempt = job.attempts.get()
    assert attempt.outcome == "refused"


@pytest.mark.process
def test_whoever_has_a_shell_is_trusted(ben):
    job = of_the_testapp(ben)
    lose_rights(ben)
    command = [sys.executable, "-m", "django", "runjob", "--id", str(job.pk)]
    assert subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True).returncode == 0
    job.refresh_from_db()
    assert job.status == "done"
