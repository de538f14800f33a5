"""A router that reads from a replica: rows of the queue are read where they were written.

The replica of these tests cannot be reached at all, so that whatever reads from it fails.
"""

from contextlib import suppress

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections

from qorworker.models import Job, Schedule, Worker
from qorworker.models.own import OwnQuerySet
from qorworker.schedules.cron import Cron
from tests.security import walk
from tests.testapp import jobs


class Router:
    def db_for_read(self, model, **hints):
        return "replica" if model._meta.app_label == "qorworker" else None

    def db_for_write(self, model, **hints):
        return "default" if model._meta.app_label == "qorworker" else None

    def allow_relation(self, one, other, **hints):
        return True


@pytest.fixture
def replica(settings, transactional_db, monkeypatch):
    unreachable = {"NAME": "/nowhere/file", "HOST": "127.0.0.1", "PORT": "1"}
    monkeypatch.setitem(connections.settings, "replica", {**connections.settings["default"], **unreachable})
    settings.DATABASE_ROUTERS = [f"{__name__}.Router"]
    yield
    with suppress(AttributeError):  # it was never used
        del connections["replica"]


def test_a_replica_can_still_be_asked(replica):
    assert Job.objects.using("replica").db == "replica"


@pytest.mark.parametrize("model", [Job, Schedule, Worker])
def test_foreign_keys_are_followed_where_rows_are_written(replica, model):
    assert isinstance(model._base_manager.all(), OwnQuerySet)
    assert model._base_manager.all().db == "default"


def test_code_finds_what_it_has_just_written(replica):
    job = jobs.noop.using(unique_key="one").enqueue()
    assert jobs.noop.using(unique_key="one").enqueue() == job
    job.cancel()
    again = job.rerun()
    assert Job.objects.get(pk=again.pk).rerun_of == job
    again.refresh_from_db()
    assert list(again.log.all()) == list(again.results.all()) == list(again.attempts.all()) == []


def test_a_command_runs_a_job(replica, capsys):
    call_command("runjob", "testapp.noop")
    assert Job.objects.get().status == "done"


def test_every_page_is_read_where_rows_are_written(replica, client):
    client.force_login(User.objects.create_superuser("root"))
    client.raise_request_exception = True
    job = jobs.noop.enqueue()
    schedule = Schedule.objects.create_for(jobs.noop, Cron("0 2 * * *"), name="one")
    for path in {*walk.paths(job), *walk.paths(job, pk=schedule.pk, object_id=schedule.pk)}:
        client.get(path)
    assert client.get(f"/admin/qorworker/job/{job.pk}/change/").status_code == 200
    response = client.post("/admin/qorworker/job/run/testapp.noop/", follow=True)
    assert response.status_code == 200
