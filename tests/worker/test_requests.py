"""What people ask of a worker reaches its loop with its sign of life: here without processes."""

import pytest

from qorworker.models import Worker
from qorworker.worker.supervisor import Options, Supervisor


@pytest.fixture
def supervisor(db):
    """One that is registered and has no children; its slots count as free."""
    supervisor = Supervisor(Options(processes=1))
    supervisor.registration.register()
    yield supervisor
    supervisor.selector.close()


def row_of(supervisor):
    return Worker.objects.get(pk=supervisor.registration.worker.pk)


def test_a_paused_worker_takes_nothing_until_it_is_resumed_and_then_looks_at_once(supervisor, monkeypatch):
    monkeypatch.setattr(type(supervisor.pool), "ready", True)
    assert supervisor._takes_work()
    row_of(supervisor).pause()
    supervisor._beat(0.0)
    assert not supervisor._takes_work()
    assert row_of(supervisor).heeded == "pause"
    supervisor.wakeup.rung = False
    supervisor._beat(0.0)
    assert not supervisor.wakeup.rung
    row_of(supervisor).resume()
    supervisor._beat(0.0)
    assert supervisor._takes_work()
    assert supervisor.wakeup.rung
    assert row_of(supervisor).heeded == ""


def test_a_drained_worker_ends_as_soon_as_nothing_runs_and_forces_nobody(supervisor):
    assert not supervisor._over()
    row_of(supervisor).drain()
    supervisor._beat(0.0)
    assert supervisor.shutdown.draining
    assert not supervisor.shutdown.insisted
    assert supervisor.shutdown._force_at is None
    assert supervisor._over()


def test_a_signal_ends_the_patience_of_a_worker_that_drains(supervisor):
    row_of(supervisor).drain()
    supervisor._beat(0.0)
    supervisor.shutdown.asked = 1
    supervisor.shutdown.tend(100.0)
    assert supervisor.shutdown._force_at == 100.0 + supervisor.options.grace


def test_a_worker_whose_row_was_closed_takes_what_was_asked_of_it_along(supervisor):
    row_of(supervisor).pause()
    supervisor._beat(0.0)
    before = row_of(supervisor)
    Worker.objects.stop(before.pk)
    supervisor._beat(0.0)
    assert row_of(supervisor).pk != before.pk
    assert row_of(supervisor).request == "pause"
    assert not supervisor._takes_work()
