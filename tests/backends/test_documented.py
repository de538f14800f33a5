"""The backend that the documentation shows keeps the contract."""

import sys
import threading
from copy import deepcopy
from types import ModuleType

import pytest
from django.db import connection

from qorworker.actions.notify import hand_over
from qorworker.models import Job
from qorworker.testing.backends import BackendContract
from tests.test_readme import ROOT, blocks

QUEUES = {
    "default": {"BACKEND": "qorworker.backends.local.LocalBackend"},
    "threads": {"BACKEND": "shop.backends.ThreadBackend"},
}


@pytest.mark.only_on("sqlite")
class TestThreadBackend(BackendContract):
    queue_name = "threads"

    @pytest.fixture
    def running(self, settings, monkeypatch):
        [code] = [
            code for _, code in blocks(ROOT / "docs" / "howto" / "backends.md") if code.startswith("# shop/backends.py")
        ]
        module = ModuleType("shop.backends")
        monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
        monkeypatch.setitem(sys.modules, "shop.backends", module)
        exec(code, module.__dict__)
        settings.QORWORKER = {"QUEUES": deepcopy(QUEUES)}
        over = threading.Event()
        thread = threading.Thread(target=self.tend, args=(over,))
        thread.start()
        yield
        over.set()
        thread.join()
        module.threads.shutdown()

    def tend(self, over):
        """What a worker does for jobs that wait for their time, or for others of their kind to end."""
        try:
            while not over.wait(0.1):
                Job.objects.promote_due()
                hand_over("default")
        finally:
            connection.close()
