"""The parent's database work outlives whatever a database, its driver, or a project that logs into it may raise."""

import logging
import os
import sqlite3
from types import MappingProxyType, SimpleNamespace

import pytest
from django.db import Error, OperationalError, connection, transaction

from qorworker.database.connection import Database
from qorworker.models import Job
from qorworker.worker.parent.supervisor import Supervisor, WorkerOptions
from tests.testapp import jobs


class DriversOwn(Exception):
    pass


class Locked(Exception):
    sqlite_errorcode = sqlite3.SQLITE_BUSY


class Full(Exception):
    sqlite_errorcode = sqlite3.SQLITE_FULL


class TooLate(Exception):
    sqlstate = "55P03"


class ReadOnly(Exception):
    sqlstate = "25006"


class FakeConnection:
    """Without a server behind it; ``close`` fails as that of a driver may."""

    vendor, connection, closed, atomic_blocks, in_atomic_block, autocommit = "postgresql", object(), 0, [], False, True
    settings_dict = MappingProxyType({"AUTOCOMMIT": True})
    Database = SimpleNamespace(Error=DriversOwn)

    def ensure_connection(self):
        pass

    def close(self):
        self.closed += 1
        raise OperationalError("already gone")


@pytest.fixture
def database():
    database = Database("default")
    database.connection = FakeConnection()
    database._prepared = FakeConnection.connection
    return database


def failing(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize("error", [OperationalError("gone"), Error("gone"), DriversOwn("gone")])
def test_what_fails_and_cannot_even_be_closed_is_tried_again(database, error):
    assert database.call(0.0, failing(error)) is None
    assert (database.connection.closed, database.failures) == (1, 1)
    assert database.is_down(database.failed_at)
    assert database.call(database.retry_at, lambda: "done") == "done"
    assert database.failures == 0


@pytest.mark.parametrize(
    ("error", "cause", "is_failing"),
    [
        (OperationalError("gone"), None, True),
        (OperationalError("database or disk is full"), Full(), True),
        (OperationalError("read-only transaction"), ReadOnly(), True),
        (OperationalError(1021, "Disk full"), None, True),
        (OperationalError("database is locked"), Locked(), False),
        (OperationalError("lock timeout"), TooLate(), False),
        (OperationalError(1205, "Lock wait timeout exceeded"), None, False),
    ],
)
def test_a_call_that_waited_for_a_lock_in_vain_is_no_failure_of_the_database(database, error, cause, is_failing):
    error.__cause__ = cause
    database.call(0.0, failing(error))
    assert database.is_failing is is_failing
    database.call(database.retry_at, lambda: "done")
    assert database.is_failing is False


def test_what_is_no_fault_of_the_database_is_not_hidden(database):
    with pytest.raises(ZeroDivisionError):
        database.call(0.0, lambda: 1 / 0)


def test_a_project_that_logs_into_the_database_does_not_end_the_worker(database):
    class DatabaseHandler(logging.Handler):
        calls = 0

        def emit(self, record):
            self.calls += 1
            raise OperationalError("gone")

    handler = DatabaseHandler()
    logging.getLogger("qorworker").addHandler(handler)
    try:
        assert database.call(0.0, failing(OperationalError("gone"))) is None
        assert database.call(database.retry_at, lambda: "done") == "done"
    finally:
        logging.getLogger("qorworker").removeHandler(handler)
    assert handler.calls == 2


def test_stories_that_cannot_be_written_count_as_a_failure(db, monkeypatch, caplog):
    supervisor = Supervisor(WorkerOptions(processes=1))
    monkeypatch.setattr(supervisor.database, "connection", FakeConnection())
    supervisor.database._prepared = FakeConnection.connection
    monkeypatch.setattr(supervisor.writer, "flush", lambda running, most: failing(OperationalError("gone"))())
    supervisor.database.call(0.0, lambda: supervisor._write_progress(0.0))
    assert supervisor.database.failures == 1
    assert "answers again" not in caplog.text


class TestATransactionThatCouldNotBeEnded:
    """As Django leaves it when the connection fails while a block is entered or left."""

    @pytest.fixture
    def left_open(self, transactional_db):
        connection.ensure_connection()
        connection.set_autocommit(False)
        yield Database("default")
        connection.in_atomic_block = connection.closed_in_transaction = False
        connection.close()

    def assert_it_writes(self, database):
        def write():
            with transaction.atomic():
                return jobs.noop.enqueue()

        now, job = 0.0, None
        while job is None and now < 60:  # what fails twice in a row fails always
            job, now = database.call(now, write), now + 20
        connection.close()
        assert Job.objects.filter(pk=job.pk).exists()

    def test_it_keeps_nothing_back(self, left_open):
        self.assert_it_writes(left_open)

    @pytest.mark.parametrize("closed", [False, True])
    def test_a_block_that_was_never_entered_does_not_stay(self, left_open, closed):
        connection.in_atomic_block, connection.commit_on_exit = True, False
        if closed:
            connection.close()
        self.assert_it_writes(left_open)


@pytest.fixture
def file(tmp_path):
    """Of a database with a table, as it is without write-ahead log."""
    path = tmp_path / "own.sqlite3"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE some (thing)")
    raw.close()
    return path


@pytest.fixture
def own(db, file):
    database = Database("default")
    database.connection = connection.copy()
    database.connection.settings_dict.update(NAME=str(file), OPTIONS={"timeout": 0})
    yield database
    database.connection.close()


def add(database):
    with database.connection.cursor() as cursor:
        cursor.execute("INSERT INTO some VALUES (1)")
        return cursor.rowcount


@pytest.mark.only_on("sqlite")
def test_a_file_that_was_replaced_is_opened_again(own, file, tmp_path):
    assert own.call(0.0, lambda: add(own)) == 1
    backup = tmp_path / "backup.sqlite3"
    backup.write_bytes(file.read_bytes())
    os.replace(backup, file)
    assert own.call(1.0, lambda: add(own)) is None
    assert own.call(own.retry_at, lambda: add(own)) == 1


@pytest.mark.only_on("sqlite")
def test_a_file_that_is_only_locked_stays_open(own, file):
    assert own.call(0.0, lambda: add(own)) == 1
    before, other = own.connection.connection, sqlite3.connect(file, isolation_level=None)
    before.execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN EXCLUSIVE")
    assert own.call(1.0, lambda: add(own)) is None
    assert own.connection.connection is before
    other.close()
    assert own.call(own.retry_at, lambda: add(own)) == 1
