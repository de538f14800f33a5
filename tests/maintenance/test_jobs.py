"""The job with which the app keeps its tables small: there by default, and switched off by a setting."""

from __future__ import annotations

import datetime as dt

import pytest

from qorworker import Cron, Schedule
from qorworker.apps import make_own_jobs
from qorworker.attempts.in_process import run_stored
from qorworker.conf import SETTINGS, problems, settings
from qorworker.definitions.registry import registry
from qorworker.maintenance import jobs
from qorworker.maintenance.declared import sync_declared
from qorworker.models import AuditEntry, Job, LogLine, database_now
from tests.admin.support import superuser, text_of, user_with
from tests.models.rows import make_job

DAY = dt.timedelta(days=1)
LOCAL = {"BACKEND": "qorworker.backends.local.LocalBackend"}
NOW = {"BACKEND": "qorworker.backends.immediate.ImmediateBackend"}
LIST = "/admin/qorworker/schedule/"


@pytest.fixture
def declare(settings):
    def declare(**changes):
        registry.unregister(jobs.NAME)
        settings.QORWORKER = {"QUEUES": {"default": LOCAL}, **changes}
        make_own_jobs()
        return registry.find(jobs.NAME)

    yield declare
    registry.unregister(jobs.NAME)


def test_it_is_there_unless_the_settings_say_otherwise(declare):
    job_type = declare()
    assert [plan.when for plan in job_type.plans] == [Cron(SETTINGS["PRUNE_AT"].default)]
    assert declare(PRUNE_AT="0 5 * * sun").plans[0].when == Cron("0 5 * * sun")
    assert declare(PRUNE_AT=None) is None


@pytest.mark.parametrize(
    ("queues", "queue"),
    [
        ({"default": LOCAL, "mail": LOCAL}, "default"),
        ({"mail": LOCAL, "default": LOCAL}, "default"),
        ({"now": NOW, "mail": LOCAL}, "mail"),
    ],
)
def test_it_waits_in_a_queue_that_there_is(declare, queues, queue):
    assert declare(QUEUES=queues).queue_name == queue


def test_without_a_queue_where_it_can_wait_there_is_none(declare):
    assert declare(QUEUES={"default": NOW}) is None


@pytest.mark.parametrize("value", ["", "every night", "99 3 * * *", "0 0 30 2 *", 3])
def test_a_time_that_cannot_be_is_told_by_the_checks_and_breaks_no_start(declare, value):
    assert declare(PRUNE_AT=value) is None
    assert [problem for problem in problems() if "'PRUNE_AT'" in problem]


@pytest.mark.django_db(transaction=True)
def test_it_deletes_what_is_over_and_says_so(declare):
    job_type = declare(KEEP_FOR={"done": 10 * DAY})
    now = database_now("default")
    old = [make_job("done", finished_at=now - 11 * DAY) for _ in range(3)]
    kept = [make_job("done", finished_at=now - 9 * DAY), make_job("exception", finished_at=now - 99 * DAY)]
    pruning = job_type.enqueue()
    assert run_stored(pruning.pk, "default", worker_name="test") == "done"
    assert set(Job.objects.all()) == {*kept, pruning}
    pruning.refresh_from_db()
    assert pruning.progress_text == "3 jobs were deleted"
    assert LogLine.objects.get(job=pruning).text == "3 jobs deleted: 3 done."
    entries = AuditEntry.objects.filter(action="prune", origin="worker")
    assert {entry.job_id for entry in entries} == {job.pk for job in old}


@pytest.mark.django_db
def test_its_schedule_is_shown_and_can_be_paused_and_is_not_anybody_s_to_delete(declare, client):
    declare()
    sync_declared("default")
    schedule = Schedule.objects.get()
    client.force_login(superuser())
    page = text_of(client.get(LIST))
    assert all(text in page for text in (">Delete old jobs</a>", "From code"))
    assert f">{jobs.NAME}" not in page  # only in links
    client.post(f"{LIST}{schedule.pk}/pause/", {"qw-reason": "audit"})
    sync_declared("default")
    assert Schedule.objects.get().is_paused
    assert client.post(f"{LIST}{schedule.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.django_db
def test_only_who_may_delete_jobs_may_run_it(declare, client):
    declare()
    run = f"/admin/qorworker/job/run/{jobs.NAME}/"
    client.force_login(user_with("qorworker.view_job", "qorworker.run_job"))
    assert client.get(run).status_code == 403
    client.force_login(user_with("qorworker.view_job", "qorworker.delete_job", name="keeper"))
    assert client.get(run).status_code == 200


@pytest.mark.django_db
def test_switched_off_its_schedule_goes_and_comes_back(declare):
    declare()
    sync_declared("default")
    declare(PRUNE_AT=None)
    sync_declared("default")
    assert not Schedule.objects.exists()
    assert AuditEntry.objects.filter(action="delete schedule", origin="worker").exists()
    declare()
    sync_declared("default")
    assert Schedule.objects.get().next_slot is not None


def test_the_tests_themselves_are_not_disturbed_by_it():
    assert settings.PRUNE_AT is None
    assert registry.find(jobs.NAME) is None
