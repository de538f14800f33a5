"""The guard around an attempt in a child of Celery, played without a child."""

import os
import signal
from types import SimpleNamespace

import pytest
from django.db import OperationalError

pytest.importorskip("celery", reason="the extra celery is not installed")

from qorworker.attempts.attempt import RunningAttempt
from qorworker.backends.celery import prefork
from qorworker.system.processes import monotonic


def test_a_handler_that_hears_nothing_is_ended_although_the_database_is_gone(monkeypatch):
    def finish(ending):
        raise OperationalError("server closed the connection unexpectedly")

    sent = []
    monkeypatch.setattr(os, "kill", lambda *signal: sent.append(signal))
    monkeypatch.setattr(prefork.Guard, "end_descendants", lambda guard: None)
    attempt = RunningAttempt(SimpleNamespace(name="testapp.noop", arguments="{}", max_attempts=1), "default")
    guard, monitor = prefork.Guard(), SimpleNamespace(attempt=attempt, is_abort_requested=True, finish=finish)
    guard.watch(monitor)
    guard.asked_at = monotonic() - 3600
    with pytest.raises(OperationalError):
        guard.watch(monitor)
    assert sent == [(os.getpid(), signal.SIGTERM), (os.getpid(), signal.SIGKILL)]
