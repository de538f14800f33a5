"""A database that worker processes see too, and a worker that the tests of a module share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.db import connection

from qorworker.models import Job, Worker
from tests import support
from tests.support import Ledger, RunningWorker, Transitions, recorded_transitions, running_worker


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
    """``start("--batch", processes=2, LEASE=3)``: a worker that is gone after the test."""
    with ExitStack() as stack:
        yield lambda *options, **more: stack.enter_context(running_worker(*options, folder=tmp_path, **more))
    support.empty_tables()


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
