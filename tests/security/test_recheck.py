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

from qorworker import Cron, Unique
from qorworker import job as declared
from qorworker.attempts.attempt import RunningAttempt
from qorworker.conf import settings as qorworker_settings
from qorworker.definitions.registry import registry
from qorworker.execution import recheck
from qorworker.execution.execute import Work, execute
from qorworker.models import Job, Origin, Schedule
from qorworker.models.sql import Claim, claim, claim_one
from tests.admin.support import only_these_types, user_with
from tests.fixtures import open_database, start, transactional_db
from tests.maintenance.support import fire_read, read
from tests.models.rows import token
from tests.support import ROOT, ended, environment
from tests.testapp.jobs import noop

__all__ = ["open_database", "start", "transactional_db"]

HOUR = dt.timedelta(hours=1)
QUEUES = {
    "default": {"BACKEND": "qorworker.backends.local.LocalBackend"},
    "now": {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"},
}


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
    wanted = Claim(worker_id=1, token=token(), lease=15.0, queues=["default"], names=registry.names())
    (claimed,) = claim("default", wanted)
    assert claimed.id == job.pk
    return RunningAttempt(claimed, "default").work(qorworker_settings.RECHECK_PERMISSIONS)


def greets(subject: str) -> None:
    """Takes one argument."""


def lose_rights(user) -> None:
    user.user_permissions.clear()


def deactivate(user) -> None:
    user.is_active = False
    user.save()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lose_rights, "ben, who requested it, may no longer run this job. It was not started."),
        (deactivate, "The account of ben, who requested it, is no longer active. It was not started."),
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


@pytest.mark.parametrize(("who_leaves", "outcome"), [("ann", "refused"), ("ben", "done")])
def test_after_a_replacement_the_rights_of_who_gave_the_arguments_count(types, ben, who_leaves, outcome):
    ann = user_with("qorworker.run_job", name="ann")
    only = types["greet"].using(unique=Unique(by=[], on_conflict="replace"))
    job = asked_for({"greet": only}, ben, name="greet", subject="A")
    only.using(user=ann, origin=Origin.ADMIN).enqueue(subject="B")
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


def test_what_code_asked_for_without_a_name_starts(types):
    assert outcome_of(asked_for(types, None)) == ("done", "")


@pytest.mark.parametrize(("who_leaves", "outcome"), [("ann", "refused"), (None, "done")])
def test_after_a_change_of_what_code_asked_for_the_rights_of_who_changed_it_count(types, who_leaves, outcome):
    ann = user_with("qorworker.run_job", "qorworker.reschedule_job", name="ann")
    job = asked_for(types, None, name="greet", subject="A")
    job.update(subject="B", by=ann, origin=Origin.ADMIN)
    if who_leaves:
        deactivate(ann)
    assert outcome_of(job)[0] == outcome


@pytest.mark.parametrize("maker", ["ben", None])
def test_the_person_who_gave_the_arguments_is_named(types, ben, maker):
    ann = user_with("qorworker.run_job", "qorworker.reschedule_job", name="ann")
    job = asked_for(types, ben if maker else None, name="greet", subject="A")
    job.update(subject="B", by=ann, origin=Origin.ADMIN)
    deactivate(ann)
    assert outcome_of(job)[1].startswith("The account of ann, who requested it, is no longer active.")


def test_who_moved_what_code_asked_for_may_leave(types):
    ann = user_with("qorworker.reschedule_job", name="ann")
    job = asked_for(types, None)
    job.reschedule(timezone.now() - HOUR / 2, by=ann, origin=Origin.ADMIN)
    deactivate(ann)
    Job.objects.update(enqueued_at=timezone.now() - 2 * HOUR)
    assert outcome_of(job)[0] == "done"


def test_who_has_no_account_any_more_has_nothing_started(types, ben):
    job = asked_for(types, ben)
    ben.delete()
    outcome, error = outcome_of(job)
    assert outcome == "refused"
    assert error.startswith("The user who requested it no longer has an account.")


# What schedules made


def scheduled_by(user, job_type, **arguments):
    rule = Cron("* * * * *")
    return Schedule.objects.create_for(job_type, rule, arguments, by=user, origin=Origin.ADMIN)


def test_who_moved_the_job_of_a_schedule_may_leave_while_who_made_that_may_run_it(types, ben):
    cara = user_with("qorworker.reschedule_job", "qorworker.view_job", name="cara")
    schedule = scheduled_by(ben, types["open"])
    job = asked_for({"open": types["open"].using(schedule=schedule)}, None)
    job.reschedule(timezone.now() - HOUR / 2, by=cara, origin=Origin.ADMIN)
    deactivate(cara)
    Job.objects.update(enqueued_at=timezone.now() - 2 * HOUR)
    assert outcome_of(job)[0] == "done"


@pytest.mark.parametrize(("who_leaves", "outcome"), [("ann", "refused"), ("ben", "done")])
def test_after_a_replacement_by_a_schedule_the_rights_of_who_made_that_count(types, ben, who_leaves, outcome):
    ann = user_with("qorworker.run_job", "qorworker.view_job", name="ann")
    with only_these_types():
        greet = declared(name="tests.replaced", unique=Unique(by=[], on_conflict="replace"))(greets)
        waiting = asked_for({"greet": greet}, ben, name="greet", subject="A")
        schedule = scheduled_by(ann, greet, subject="B")
        Schedule.objects.update(next_slot=timezone.now() - HOUR)
        schedule.refresh_from_db()
        assert fire_read(read(schedule))
        waiting.refresh_from_db()
        assert waiting.arguments == {"subject": "B"}
        deactivate({"ann": ann, "ben": ben}[who_leaves])
        assert outcome_of(waiting)[0] == outcome


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
def test_the_setting_says_which_jobs_are_checked(policy, has_waited, due):
    assert recheck.is_due(policy, has_waited) is due


def test_a_job_is_known_to_have_waited_by_its_row(types, ben):
    at_once = types["open"].using(user=ben).enqueue()
    assert work_of(at_once).created_by is None
    Job.objects.all().delete()
    assert work_of(asked_for(types, ben)).created_by == str(ben.pk)


def test_every_way_to_claim_tells_it(types, ben):
    job = asked_for(types, ben)
    claimed = claim_one("default", job.pk, Claim(worker_id=1, token=token(), lease=15.0))
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
    assert job.error.startswith("ben, who requested it, may no longer run this job.")
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


@pytest.mark.process
def test_a_job_that_its_caller_left_behind_is_checked_by_the_worker_that_runs_it(ben, start, settings):
    settings.QORWORKER = {"QUEUES": QUEUES}
    job = Job(name=noop.name, queue_name="now", arguments={}, created_by=ben)
    Job.objects.enqueue_rows([job])  # as if its process had died before it ran the job
    long_ago = timezone.now() - HOUR
    Job.objects.filter(pk=job.pk).update(enqueued_at=long_ago - HOUR, run_after=long_ago)
    lose_rights(ben)
    start(QUEUES=QUEUES)
    job = ended(job)
    assert (job.status, job.attempts.get().outcome) == ("exception", "refused")
