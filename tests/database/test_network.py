"""What the connections of a worker's processes get, without a server behind them."""

import errno
import os
import socket
from types import SimpleNamespace

import pytest

from qorworker.database import network
from qorworker.database.call_guard import CallGuard, answer_limit
from qorworker.database.session_limits import statement_limit


@pytest.fixture
def mariadb():
    """A connection as mysqlclient has it, by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        yield SimpleNamespace(vendor="mysql", connection=client)


def test_the_kernel_watches_a_connection_of_mariadb(mariadb):
    network.probe(mariadb)
    assert mariadb.connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_an_option_that_the_kernel_refuses_does_not_end_the_worker(mariadb, monkeypatch):
    monkeypatch.setattr(network, "SOCKET", {"TCP_KEEPIDLE": -1})
    network.probe(mariadb)


def test_a_process_without_free_descriptors_goes_on(mariadb, monkeypatch):
    def dup(descriptor):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "dup", dup)
    monkeypatch.setattr(os, "dup", dup)
    network.probe(mariadb)
    call_guard = CallGuard()
    call_guard.add(mariadb)
    call_guard.forget(mariadb)


@pytest.mark.parametrize("lease", [5, 15, 23, 120])
def test_the_driver_gives_up_after_the_server_and_the_watchdog(settings, lease):
    settings.QORWORKER = {**settings.QORWORKER, "LEASE": lease}
    options = network.limited({"OPTIONS": {}}, "mysql")["OPTIONS"]
    assert statement_limit() < answer_limit() < options["read_timeout"] == options["write_timeout"]
    assert isinstance(options["read_timeout"], int)


def test_the_options_of_a_project_come_before_the_limits():
    options = network.limited({"OPTIONS": {"read_timeout": 3}}, "mysql")["OPTIONS"]
    assert (options["read_timeout"], options["connect_timeout"]) == (3, network.CONNECT)
