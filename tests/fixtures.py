"""Fixtures: a database that other processes see too, workers on it, and what is watched from outside.

A folder whose tests need some of them names those in its ``conftest.py``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from django.db import connection, connections

from qorworker.models import Job, Worker
from tests import support
from tests.proxy import FaultProxy
from tests.support import Ledger, RunningWorker, Transitions, recorded_transitions, running_worker
from tests.trees import Tree, hostile


@pytest.fixture(scope="module")
def open_database(django_db_setup, django_db_blocker) -> Iterator[None]:
    """The test database, with no transaction around anything."""
    with django_db_blocker.unblock():
        support.empty_tables()
        yield
        support.empty_tables()
        connection.close()


@pytest.fixture
def transactional_db(open_database) -> Iterator[None]:
    """In the place of the fixture with this name: it flushes the database, which takes a second on some."""
    yield
    support.empty_tables(but=Worker.objects.not_stopped())


@pytest.fixture(params=["read committed", "repeatable read", "serializable"])
def isolation(request, monkeypatch, transactional_db) -> Iterator[str]:
    """Connections made from now on are at this level. For PostgreSQL and MariaDB."""
    options = {**connection.settings_dict["OPTIONS"], **_at_level(request.param)}
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    connection.close()
    yield request.param
    connection.close()


def _at_level(name: str) -> dict[str, Any]:
    if connection.vendor == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        return {"isolation_level": IsolationLevel[name.upper().replace(" ", "_")]}
    with connection.cursor() as cursor:
        cursor.execute("SHOW VARIABLES LIKE 'innodb_snapshot_isolation'")
        is_known = cursor.fetchone() is not None
    # From 11.6 on it is the default, and no row can be written that has changed since it was read.
    strict = {"init_command": "SET innodb_snapshot_isolation = ON"} if is_known and name == "repeatable read" else {}
    return {"isolation_level": name, **strict}


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def transitions(transactional_db) -> Iterator[Transitions]:
    """Every change of a job's status."""
    with recorded_transitions() as recorded:
        yield recorded


@pytest.fixture
def start(transactional_db, tmp_path) -> Iterator[Callable[..., RunningWorker]]:
    """``start("--batch", processes=2, LEASE=3)``: a worker that is gone after the test.

    Not beside a worker that the tests of the module share: that one may take the job.
    """
    shared = [worker.name for worker in Worker.objects.not_stopped() if support.alive(worker.process_id)]
    assert not shared, f"{shared} would take jobs, too: tests that start a worker need a module of their own."
    with ExitStack() as stack:
        yield lambda *options, **more: stack.enter_context(running_worker(*options, folder=tmp_path, **more))
    support.empty_tables()


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """Between a database server and the workers that are started with ``start(port=proxy.port)``."""
    with FaultProxy(int(connection.settings_dict["PORT"])) as fault_proxy:
        yield fault_proxy


@pytest.fixture
def tree(tmp_path) -> Iterator[Tree]:
    """Processes that hide in every way, and are gone after the test."""
    tree = Tree(tmp_path)
    hostile(tree)
    yield tree
    while pids := tree.census():
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def shared_worker(open_database, tmp_path_factory) -> Iterator[RunningWorker]:
    with running_worker(folder=tmp_path_factory.mktemp("worker"), ABORT_GRACE=2) as worker:
        yield worker


@pytest.fixture
def worker(shared_worker, transactional_db) -> Iterator[RunningWorker]:
    """One worker with two slots for all tests of the module; it must have survived each of them."""
    yield shared_worker
    for job in Job.objects.running():
        job.abort()
    support.wait_until(lambda: not Job.objects.running().exists(), why=lambda: shared_worker.said)
    assert shared_worker.process.poll() is None, shared_worker.said
    assert Worker.objects.not_stopped().filter(process_id=shared_worker.pid).exists(), shared_worker.said
