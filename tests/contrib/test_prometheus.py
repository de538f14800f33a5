"""The figures for Prometheus: what is exported, who may read it, and the command."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from io import StringIO
from urllib.request import urlopen

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from qorworker import metrics
from qorworker.contrib.prometheus.collector import registry
from qorworker.contrib.prometheus.management.commands import exportmetrics
from qorworker.contrib.prometheus.views import metrics_view
from qorworker.models import database_now
from tests.fixtures import open_database, transactional_db  # noqa: F401
from tests.models.rows import ended, make_job
from tests.support import ROOT, environment
from tests.test_metrics import make_worker
from tests.testapp import jobs

pytestmark = pytest.mark.django_db


def ask(view, **headers):
    return view(RequestFactory().get("/metrics", headers=headers))


def figures(response) -> dict:
    """Each figure by its name and the values of its labels, which are in the order of their names."""
    families = text_string_to_metric_families(response.content.decode())
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_queues_workers_outcomes_and_durations_are_exported():
    minute = dt.timedelta(minutes=1)
    make_job(run_after=database_now("default") - minute)
    make_job("scheduled", run_after=database_now("default") + minute)
    make_job("running", worker_id=make_worker(slots=4).pk)
    ended("done", name=jobs.noop.name, ran=8.0, waited=2.0)
    ended("failed", error="ValueError")
    found = figures(ask(metrics_view(token=None)))
    assert found["qorworker_jobs", "default", "queued"] == 1
    assert found["qorworker_jobs", "default", "scheduled"] == 1
    assert found["qorworker_jobs", "default", "running"] == 1
    assert found["qorworker_jobs", "default", "failed"] == 1
    assert found["qorworker_jobs", "mail", "queued"] == 0
    assert found["qorworker_queue_latency_seconds", "default"] == pytest.approx(60, abs=30)
    assert found["qorworker_workers", "default"] == 1
    assert found["qorworker_workers", "mail"] == 0
    assert (found["qorworker_worker_slots", "busy"], found["qorworker_worker_slots", "idle"]) == (1, 3)
    assert found["qorworker_attempts_ended", "done", "default"] == 1
    assert found["qorworker_attempts_ended", "failed", "default"] == 1
    assert found["qorworker_wait_seconds", "0.5", "default"] == pytest.approx(2, abs=0.1)
    assert found["qorworker_duration_seconds", jobs.noop.name, "0.95"] == pytest.approx(8, abs=0.1)


def test_each_scrape_reads_anew_and_to_register_reads_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        view = metrics_view(token=None)
    assert figures(ask(view))["qorworker_jobs", "default", "queued"] == 0
    make_job()
    assert figures(ask(view))["qorworker_jobs", "default", "queued"] == 1


def test_many_jobs_take_as_many_statements_as_few():
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            list(registry().collect())
        return len(queries)

    ended("done", name=jobs.noop.name)
    few = statements()
    for _ in range(20):
        ended("done", name=jobs.noop.name)
    assert statements() == few


class TestView:
    def test_a_token_is_asked_for(self):
        view = metrics_view(token="swordfish")
        assert ask(view).status_code == 401
        assert ask(view, authorization="Bearer wrong").status_code == 401
        assert ask(view, authorization="swordfish").status_code == 401
        assert ask(view, authorization="Bearer swordfish").status_code == 200

    def test_without_the_token_no_query_is_made(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            ask(metrics_view(token="swordfish"))

    @pytest.mark.parametrize("token", ["", "  "])
    def test_an_empty_token_is_refused(self, token):
        with pytest.raises(ImproperlyConfigured, match="is empty"):
            metrics_view(token=token)

    def test_only_reading_is_allowed(self):
        assert metrics_view(token=None)(RequestFactory().post("/metrics")).status_code == 405

    def test_without_the_database_it_says_so_without_an_error_for_each_scrape(self, monkeypatch, caplog):
        def fail():
            raise OperationalError("gone away")

        monkeypatch.setattr(metrics, "queues", fail)
        response = ask(metrics_view(token=None))
        assert (response.status_code, response.content) == (503, b"")
        assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
            ("WARNING", "/metrics: the database: gone away")
        ]

    def test_openmetrics_is_spoken_with_those_who_accept_it(self):
        response = ask(metrics_view(token=None), accept="application/openmetrics-text; version=1.0.0")
        assert response["Content-Type"].startswith("application/openmetrics-text")
        assert response.content.endswith(b"# EOF\n")


class TestCommand:
    def test_once_it_writes_the_figures(self):
        said = StringIO()
        call_command(exportmetrics.Command(), "--once", stdout=said)
        assert 'qorworker_jobs{queue="default",state="queued"} 0.0' in said.getvalue()

    def test_while_one_scrape_waits_for_the_database_no_others_pile_up(self, monkeypatch):
        monkeypatch.setattr(exportmetrics, "PATIENCE", 0)
        exported = exportmetrics.OwnConnections()
        with exported.turn, pytest.raises(TimeoutError, match="has not answered the scrape before"):
            exported.collect()

    def test_a_scrape_gives_back_its_connections_even_if_it_fails(self, monkeypatch):
        closed = []
        monkeypatch.setattr(exportmetrics.connections, "close_all", lambda: closed.append(True))
        exported = exportmetrics.OwnConnections()
        assert list(exported.collect())
        monkeypatch.setattr(metrics, "queues", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            exported.collect()
        assert closed == [True, True]
        assert not exported.turn.locked()

    @pytest.mark.process
    def test_it_serves_until_it_gets_a_signal(self, transactional_db):  # noqa: F811
        code = (
            "import django; django.setup()\n"
            "from django.core.management import call_command\n"
            "from qorworker.contrib.prometheus.management.commands.exportmetrics import Command\n"
            "call_command(Command(), '--port', '0')"
        )
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment()) as process:
            try:
                address = process.stdout.readline().split()[-1]
                with urlopen(address) as response:
                    assert b"qorworker_jobs" in response.read()
                os.kill(process.pid, signal.SIGTERM)
                assert process.wait(30) == 0
            finally:
                process.kill()
