"""How an idle worker hears of work, when the server does not let it listen."""

from __future__ import annotations

import selectors

import pytest
from django.db import InterfaceError, connection, connections

from qorworker.models.job import wake
from qorworker.worker.wakeup import RECONNECT, ListenWakeup
from tests.support import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.only_on("postgresql")]


@pytest.fixture
def wakeup():
    with selectors.DefaultSelector() as selector:
        wakeup = ListenWakeup("default", selector)
        yield wakeup
        wakeup.close()


def heard(wakeup, seconds):
    wakeup.rung = False
    for key, _ in wakeup.selector.select(seconds):
        key.data(0.0)
    return wakeup.rung


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
    assert heard(wakeup, 20)


def test_a_listener_that_is_gone_as_it_is_made_is_made_later(wakeup, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(connections["default"]), "cursor", refused)
        wakeup.look(100.0)
    assert (wakeup.connection, wakeup.retry_at) == (None, 100.0 + RECONNECT)


def refused(connection):
    raise InterfaceError("connection already closed")


def test_a_listener_that_was_cut_is_made_again(wakeup):
    wakeup.look(100.0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [wakeup.connection.connection.info.backend_pid])
    wait_until(lambda: heard(wakeup, 1) and wakeup.connection is None)
    assert not wakeup.selector.get_map()
    wakeup.look(101.0)
    wake("default")
    assert heard(wakeup, 20)
