import pytest

from qorworker.maintenance.scheduler import Scheduler
from tests.clock import Clock
from tests.fixtures import open_database, transactional_db

__all__ = ["open_database", "transactional_db"]


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch, "2026-11-22T12:00:00+00:00")


@pytest.fixture
def scheduler():
    return Scheduler("default")
