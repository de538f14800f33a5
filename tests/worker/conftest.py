import pytest

from qorworker.system import processes
from tests.fixtures import ledger, open_database, shared_worker, start, transactional_db, tree, worker

__all__ = ["clock", "ledger", "open_database", "shared_worker", "start", "transactional_db", "tree", "worker"]


@pytest.fixture
def clock(monkeypatch):
    """What ``processes.monotonic()`` shows, in a list of one number."""
    now = [1_000.0]
    monkeypatch.setattr(processes, "monotonic", lambda: now[0])
    return now
