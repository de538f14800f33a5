"""What a worker makes of the connections that a project sets up in a way of its own."""

import pytest

from tests.support import ended
from tests.testapp import jobs

pytestmark = pytest.mark.process


@pytest.mark.parametrize("close", [False, True])
def test_wrappers_of_the_job_that_opened_the_connection_are_not_those_of_the_next(start, ledger, close):
    start(processes=1)
    assert ended(jobs.wraps_queries.enqueue(close=close)).status == "done"
    assert ended(jobs.tell_wrappers.enqueue(ledger=str(ledger))).status == "done"
    assert ledger.lines()[-1][1:] == ["0", "1"]


def test_wrappers_that_a_project_adds_to_its_new_connections_stay(start, ledger, monkeypatch):
    monkeypatch.setenv("QORWORKER_TEST_WRAP_CONNECTIONS", "1")
    start(processes=1)
    for _ in range(2):
        assert ended(jobs.ask_sql.enqueue(ledger=str(ledger), query="SELECT 1")).status == "done"
        assert ended(jobs.tell_wrappers.enqueue(ledger=str(ledger))).status == "done"
        assert ledger.lines()[-1][1:] == ["1", "1"]


@pytest.mark.only_on("postgresql")
@pytest.mark.parametrize("at_import", ["", "1"])
def test_jobs_run_where_django_pools_connections(start, ledger, monkeypatch, at_import):
    monkeypatch.setenv("QORWORKER_TEST_POOL", "1")
    monkeypatch.setenv("QORWORKER_TEST_QUERY_AT_IMPORT", at_import)
    start(processes=2)
    met = [jobs.meet.enqueue(ledger=str(ledger)) for _ in range(2)]
    assert [ended(job).status for job in met] == ["done"] * 2
    assert len(ledger.lines()) == 4
    sessions = {tuple(line) for line in ledger.lines()}
    assert len(sessions) == len({pid for pid, _ in sessions}) == len({session for _, session in sessions}) == 2
