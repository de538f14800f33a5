"""The guard around an attempt in a child of Celery, played without a child."""

import os
import signal
from types import SimpleNamespace

import pytest
from django.db import OperationalError

pytest.importorskip("celery", reason="the extra celery is not installed")

from qorworker.backends import prefork
from qorworker.worker.processes import monotonic


def test_a_handler_that_hears_nothing_is_ended_although_the_database_is_gone(monkeypatch):
    def finish(ending):
        raise OperationalError("server closed the connection unexpectedly")

    sent = []
    monkeypatch.setattr(os, "kill", lambda *signal: sent.append(signal))
    monkeypatch.setattr(prefork, "end_descendants", lambda: None)
    attempt = SimpleNamespace(
        job=SimpleNamespace(name="testapp.noop"), begun=None, lost=False, stop_reason="", stop_text=""
    )
    guard, attendant = prefork.Guard(), SimpleNamespace(attempt=attempt, is_abort_requested=True, finish=finish)
    guard.watch(attendant)
    guard.asked_at = monotonic() - 3600
    with pytest.raises(OperationalError):
        guard.watch(attendant)
    assert sent == [(os.getpid(), signal.SIGTERM), (os.getpid(), signal.SIGKILL)]
