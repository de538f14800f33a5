"""Addresses for probes: what is well, what is not, and that they tell nothing else."""

from __future__ import annotations

import json

import pytest
from django.core.handlers.base import BaseHandler
from django.db import OperationalError, connections
from django.test import RequestFactory
from django.urls import resolve

from qorworker.contrib import health
from qorworker.contrib.prometheus.views import metrics_view
from qorworker.exceptions import NotMigrated
from tests.test_metrics import make_worker

pytestmark = pytest.mark.django_db


def ask(name: str) -> tuple[int, dict]:
    view = resolve(f"/{name}/", urlconf=health).func
    response = view(RequestFactory().get(f"/{name}/"))
    assert "no-store" in response["Cache-Control"]
    return response.status_code, json.loads(response.content)


def test_a_process_that_answers_is_alive_and_no_database_is_asked(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert ask("live") == (200, {"ok": True})


def test_a_process_with_its_database_is_ready():
    assert ask("ready") == (200, {"ok": True})


@pytest.mark.parametrize(
    ("error", "said"),
    [(OperationalError("secret"), "does not answer"), (NotMigrated("default"), "not migrated")],
)
def test_without_its_database_it_is_not_and_no_detail_is_told(monkeypatch, error, said):
    def fail(using):
        raise error

    monkeypatch.setattr(health, "require_tables", fail)
    for name in ("ready", "workers"):
        assert ask(name) == (503, {"ok": False, "database": said})
    assert ask("live") == (200, {"ok": True})


def test_each_queue_needs_a_living_worker():
    assert ask("workers") == (503, {"ok": False, "workers": "no worker for 4 of 4 queues"})
    make_worker(queues=["default", "mail"])
    assert ask("workers")[1]["workers"] == "no worker for 2 of 4 queues"
    make_worker(queues=["reports", "other"])
    assert ask("workers") == (200, {"ok": True})


@pytest.mark.parametrize("name", ["live", "ready", "workers"])
def test_only_reading_is_allowed(name):
    view = resolve(f"/{name}/", urlconf=health).func
    assert view(RequestFactory().post("/")).status_code == 405


@pytest.mark.parametrize(
    "view", [health.live, health.ready, health.workers, metrics_view(token="swordfish")], ids=lambda view: view.__name__
)
def test_no_view_needs_a_transaction_that_the_project_begins_for_each_request(view, monkeypatch):
    for database in connections.settings.values():
        monkeypatch.setitem(database, "ATOMIC_REQUESTS", True)
    assert BaseHandler().make_view_atomic(view) is view


def test_what_is_wrong_is_a_warning_since_errors_would_be_mailed_for_each_probe(client, settings, caplog):
    settings.ROOT_URLCONF = health
    assert client.get("/workers/").status_code == 503
    (record,) = [record for record in caplog.records if record.name == "django.request"]
    assert (record.levelname, record.getMessage()) == ("WARNING", "/workers/: workers: no worker for 4 of 4 queues")
