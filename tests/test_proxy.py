"""The proxy that tests put in front of a database server does what it says, in front of a server that echoes."""

import socket
import socketserver
import threading
import time

import pytest

from tests.proxy import FaultProxy
from tests.support import wait_until


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.server.heard.append(data)
            if data.startswith(b"slow"):
                time.sleep(0.2)
            self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Echo)
        self.heard = []

    def handle_error(self, request, client_address):
        """Connections are reset here on purpose."""


@pytest.fixture
def server():
    with EchoServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(server):
    with FaultProxy(server.server_address[1]) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy):
    clients = []

    def connect():
        clients.append(socket.create_connection(("127.0.0.1", proxy.port), timeout=10))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def says_nothing(client):
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(100)
    client.settimeout(10)
    return True


def echoes(client, data=b"hello"):
    client.sendall(data)
    return client.recv(100) == data


def is_reset(client):
    with pytest.raises(ConnectionError):
        client.recv(100)
    return True


def test_bytes_are_forwarded_both_ways(connect):
    client = connect()
    assert echoes(client)
    assert echoes(client, b"COMMIT")


def test_an_answer_is_delayed(proxy, connect):
    client = connect()
    proxy.delay(0.3)
    begun = time.monotonic()
    assert echoes(client)
    assert time.monotonic() - begun >= 0.3


def test_delayed_requests_keep_their_order(proxy, connect, server):
    client = connect()
    proxy.delay(0.2)
    client.sendall(b"first")
    wait_until(lambda: proxy.requests == 1)
    proxy.delay(0.0)
    client.sendall(b"second")
    wait_until(lambda: len(b"".join(server.heard)) == 11)
    assert b"".join(server.heard) == b"firstsecond"


def test_a_silenced_connection_stays_silent_and_a_new_one_works(proxy, connect, server):
    before = connect()
    assert echoes(before)
    proxy.silence()
    before.sendall(b"lost")
    during = connect()
    during.sendall(b"lost too")
    assert says_nothing(before)
    assert says_nothing(during)
    proxy.restore()
    before.sendall(b"still lost")
    assert says_nothing(before)
    assert echoes(connect())
    assert not any(b"lost" in data for data in server.heard)


def test_a_frozen_connection_delivers_what_was_sent(proxy, connect):
    client = connect()
    proxy.freeze()
    client.sendall(b"kept")
    assert says_nothing(client)
    proxy.restore()
    assert client.recv(100) == b"kept"


def test_one_way_requests_arrive_without_an_answer(proxy, connect, server):
    client = connect()
    assert echoes(client)
    proxy.one_way()
    client.sendall(b"one way")
    wait_until(lambda: b"one way" in server.heard)
    assert says_nothing(client)


def test_a_cut_resets_connections_and_new_ones_work(proxy, connect):
    client = connect()
    assert echoes(client)
    proxy.cut()
    assert is_reset(client)
    assert echoes(connect())


def test_refused_connections_are_reset_until_they_are_restored(proxy, connect):
    proxy.refuse()
    with pytest.raises(ConnectionError):  # here, or already in connect()
        connect().recv(100)
    proxy.restore()
    assert echoes(connect())


def test_after_a_commit_the_answer_is_lost_once(proxy, connect, server):
    client = connect()
    cut = proxy.cut_after_commit()
    assert echoes(client, b"INSERT")
    assert not cut.sprung
    client.sendall(b"Q COMMIT\0")
    cut.wait()
    assert is_reset(client)
    assert b"Q COMMIT\0" in server.heard
    assert echoes(connect(), b"COMMIT")


def test_a_statement_cut_before_never_arrives(proxy, connect, server):
    client = connect()
    proxy.cut_before(r"UPDATE\s+job")
    client.sendall(b"UPDATE job")
    assert is_reset(client)
    assert b"UPDATE job" not in server.heard


def test_a_statement_cut_during_its_work_is_carried_out(proxy, connect, server):
    client = connect()
    assert echoes(client)
    begun = time.monotonic()
    proxy.cut_during("slow")
    client.sendall(b"slow one")
    assert is_reset(client)
    assert time.monotonic() - begun < 10
    wait_until(lambda: b"slow one" in server.heard)


def test_a_statement_may_lose_its_answer_in_silence(proxy, connect, server):
    client = connect()
    after = proxy.silence_after("UPDATE")
    client.sendall(b"UPDATE")
    after.wait()
    assert b"UPDATE" in server.heard
    assert says_nothing(client)
    client = connect()
    before = proxy.silence_before("DELETE")
    client.sendall(b"DELETE")
    before.wait()
    assert says_nothing(client)
    assert b"DELETE" not in server.heard


def test_a_server_that_is_down_resets_its_clients():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with FaultProxy(port) as proxy, pytest.raises(ConnectionError):  # here, or already in create_connection()
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10).recv(100)
