"""How an idle worker learns of work, although the database does not let it listen or look."""

from __future__ import annotations

import selectors
import sqlite3
from operator import sub

import pytest
from django.db import InterfaceError, OperationalError, connection, connections

from qorworker.models.job_verbs import wake
from qorworker.system import file_watch
from qorworker.worker.parent.wakeup import RECONNECT, SQLITE_INTERVAL, CounterWakeup, ListenWakeup
from tests.support import wait_until


def on_postgresql(test):
    return pytest.mark.django_db(transaction=True)(pytest.mark.only_on("postgresql")(test))


@pytest.fixture
def wakeup():
    with selectors.DefaultSelector() as selector:
        wakeup = ListenWakeup("default", selector)
        yield wakeup
        wakeup.close()


def is_woken(wakeup, seconds):
    wakeup.rung = False
    for key, _ in wakeup.selector.select(seconds):
        key.data(0.0)
    return wakeup.rung


@on_postgresql
def test_a_server_that_takes_no_new_connections_is_asked_instead(wakeup, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", "1")  # what is connected already stays so
        wakeup.look(100.0)
        assert wakeup.rung
        assert wakeup.connection is None
        assert not wakeup.selector.get_map()
    wakeup.look(100.0 + RECONNECT / 2)
    assert wakeup.connection is None
    wakeup.look(100.0 + RECONNECT)
    wake("default")
    assert is_woken(wakeup, 20)


@on_postgresql
def test_a_listener_that_is_gone_as_it_is_made_is_made_later(wakeup, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(connections["default"]), "cursor", refused)
        wakeup.look(100.0)
    assert (wakeup.connection, wakeup.retry_at) == (None, 100.0 + RECONNECT)


def refused(connection):
    raise InterfaceError("connection already closed")


@on_postgresql
def test_a_listener_that_was_cut_is_made_again(wakeup):
    wakeup.look(100.0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [wakeup.connection.connection.info.backend_pid])
    wait_until(lambda: is_woken(wakeup, 1) and wakeup.connection is None)
    assert not wakeup.selector.get_map()
    wakeup.look(101.0)
    wake("default")
    assert is_woken(wakeup, 20)


@pytest.mark.only_on("sqlite")
def test_a_counter_that_cannot_be_read_is_a_fault_of_the_database(db, selector, tmp_path, monkeypatch):
    path = tmp_path / "locked.sqlite3"
    own = sqlite3.connect(path, timeout=0, isolation_level=None)
    own.execute("CREATE TABLE some (thing)")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with monkeypatch.context() as patch:
        patch.setattr(connections["default"], "connection", own)
        with pytest.raises(OperationalError, match="locked"):
            CounterWakeup("default", selector).look(0.0)
    other.close()
    own.close()


@pytest.mark.only_on("sqlite")
class TestADatabaseInAFile:
    @pytest.fixture(params=["wal", "delete"])
    def other(self, request, tmp_path):
        """The connection of another process to a database in a file."""
        other = sqlite3.connect(tmp_path / "some.sqlite3", isolation_level=None)
        other.execute(f"PRAGMA journal_mode = {request.param}")
        other.execute("CREATE TABLE some (thing)")
        yield other
        other.close()

    @pytest.fixture
    def wakeup(self, db, other, selector, tmp_path):
        wakeup = CounterWakeup("default", selector)
        wakeup.connection = connections["default"].copy()
        wakeup.connection.settings_dict |= {"NAME": tmp_path / "some.sqlite3", "OPTIONS": {}}
        wakeup.connection.ensure_connection()
        wakeup.look(100.0)
        wakeup.look(100.3)  # the last of those after a commit
        wakeup.rung = False
        yield wakeup
        wakeup.close()
        wakeup.connection.close()

    def hear(self, wakeup, now):
        for key, _ in wakeup.selector.select(20):
            key.data(now)

    def test_is_looked_at_when_another_process_has_written(self, wakeup, other):
        wakeup.look(100.4)
        assert wakeup.look_at >= 101.0
        other.execute("INSERT INTO some VALUES (1)")
        self.hear(wakeup, 100.5)
        assert wakeup.look_at == 100.5
        assert not wakeup.rung
        wakeup.look(100.5)
        assert wakeup.rung
        assert [wakeup.look(at) or wakeup.look_at for at in (100.53, 100.6, 100.8)] == [100.6, 100.8, 101.0]

    def test_is_looked_at_again_because_a_commit_may_follow_its_write(self, wakeup, other):
        other.execute("INSERT INTO some VALUES (1)")
        self.hear(wakeup, 100.5)
        wakeup.version = wakeup.connection.connection.execute("PRAGMA data_version").fetchone()[0]
        looks = []
        while wakeup.look_at < 101.0:
            looks.append(wakeup.look_at)
            wakeup.look(wakeup.look_at)
        assert looks[:2] == [100.5, 100.502]
        assert max(map(sub, looks[1:], looks)) < SQLITE_INTERVAL * 1.01
        assert looks[-1] > 100.97
        assert not wakeup.rung

    def test_is_not_watched_while_the_worker_itself_writes(self, wakeup, other):
        wakeup.connection.connection.execute("INSERT INTO some VALUES (1)")
        self.hear(wakeup, 100.5)
        wakeup.look(100.5)
        assert wakeup.look_at <= 100.5 + SQLITE_INTERVAL
        wakeup.connection.connection.execute("INSERT INTO some VALUES (2)")
        assert wakeup.selector.select(0) == []
        other.execute("INSERT INTO some VALUES (3)")
        wakeup.look(100.52)
        assert wakeup.rung
        wakeup.look(100.82)
        assert wakeup.look_at >= 101.0

    def test_is_not_looked_at_after_each_of_many_writes(self, wakeup):
        for number in range(1000):
            wakeup._on_write(100.5 + number / 100_000)
        assert wakeup.look_at == 100.5
        assert len([at for at in wakeup._looks if at < 100.51]) == 3
        assert len(wakeup._looks) < 70

    def test_is_looked_at_in_short_intervals_where_writes_pass_unseen(self, wakeup, other, monkeypatch):
        monkeypatch.setattr(file_watch, "LOCAL", set())
        wakeup.look(100.1)
        assert wakeup.look_at <= 100.1 + SQLITE_INTERVAL
        other.execute("INSERT INTO some VALUES (1)")
        wakeup.look(wakeup.look_at)
        assert wakeup.rung

    def test_is_looked_at_in_short_intervals_if_the_system_has_no_watches_left(self, db, selector, monkeypatch):
        def refuse():
            raise OSError(24, "Too many open files")

        monkeypatch.setattr("qorworker.worker.parent.wakeup.FileWatch", refuse)
        wakeup = CounterWakeup("default", selector)
        connections["default"].ensure_connection()
        wakeup.look(100.1)
        assert wakeup.look_at <= 100.1 + SQLITE_INTERVAL
        assert not selector.get_map()
        wakeup.close()
