"""Answers of the database that get lost on the way, by a proxy in front of the server."""

from contextlib import contextmanager

import pytest
from django.db import connection

from qorworker.models import Job
from tests.proxy import FaultProxy
from tests.support import ended
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.only_on("postgresql", "mysql")]
PORT = {"postgresql": "QORWORKER_POSTGRESQL_PORT", "mysql": "QORWORKER_MARIADB_PORT"}
CLAIM = r"SET status = 'running'"


@pytest.fixture
def proxy(monkeypatch):
    """In front of the database, for the workers that are started after this."""
    with FaultProxy(int(connection.settings_dict["PORT"])) as proxy:
        monkeypatch.setenv(PORT[connection.vendor], str(proxy.port))
        yield proxy


@contextmanager
def slow_claims(seconds):
    """Each job takes so long to become a running one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION qorworker_test_slow() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER qorworker_test_slow BEFORE UPDATE ON qorworker_job FOR EACH ROW"
            " WHEN (OLD.status = 'new' AND NEW.status = 'running') EXECUTE FUNCTION qorworker_test_slow()"
        )
        try:
            yield
        finally:
            cursor.execute("DROP TRIGGER qorworker_test_slow ON qorworker_job")
            cursor.execute("DROP FUNCTION qorworker_test_slow()")


@pytest.mark.only_on("postgresql")  # where a claim is one statement, which goes on without its client
def test_a_job_is_run_although_its_claim_took_effect_after_the_connection_was_cut(start, proxy, ledger):
    worker = start(LEASE=6)
    with slow_claims(2):
        trap = proxy.cut_during(CLAIM)
        job = jobs.write.enqueue(ledger=str(ledger))
        trap.wait()
        job = ended(job)
    assert (job.status, job.attempt) == ("done", 1), worker.said
    assert len(ledger.lines()) == 1


def test_a_job_is_run_although_the_answer_to_its_claim_was_lost(start, proxy, ledger):
    worker = start(LEASE=6)
    trap = proxy.cut_after(CLAIM) if connection.vendor == "postgresql" else proxy.cut_after_commit()
    job = jobs.write.enqueue(ledger=str(ledger))
    trap.wait()
    job = ended(job)
    assert (job.status, job.attempt) == ("done", 1), worker.said
    assert len(ledger.lines()) == 1


@pytest.mark.only_on("postgresql")
def test_a_worker_that_is_to_stop_hands_back_what_such_a_claim_still_takes(start, proxy, ledger):
    worker = start(LEASE=6)
    with slow_claims(2):
        trap = proxy.cut_during(CLAIM)
        job = jobs.write.enqueue(ledger=str(ledger))
        trap.wait()
        assert worker.stop() == 0
    job.refresh_from_db()
    assert (job.status, job.attempt) == ("new", 0), worker.said
    assert not Job.objects.running().exists()
    assert ledger.lines() == []
