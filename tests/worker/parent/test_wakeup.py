"""How an idle worker learns of work, although the database does not let it listen or look."""

from __future__ import annotations

import selectors
import sqlite3

import pytest
from django.db import InterfaceError, OperationalError, connection, connections

from qorworker.models.job_verbs import wake
from qorworker.worker.parent.wakeup import RECONNECT, CounterWakeup, ListenWakeup
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
