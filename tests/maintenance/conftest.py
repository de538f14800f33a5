import pytest

from qorworker.maintenance import scheduler as scheduler_module
from qorworker.maintenance.scheduler import Scheduler
from tests.clock import Clock
from tests.fixtures import open_database, transactional_db

__all__ = ["open_database", "transactional_db"]


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch, "2026-11-22T12:00:00+00:00")


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """A look at the schedules takes as long as it takes, so that slow machines do the same in it as quick ones."""
    monkeypatch.setattr(scheduler_module, "SHARE", 60.0)
    monkeypatch.setattr(scheduler_module, "CHECKING", 60.0)


@pytest.fixture
def scheduler():
    return Scheduler("default")
