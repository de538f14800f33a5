"""What the thread beside the parent counts as a request to stop."""

import signal
import socket

import pytest

from qorworker.database.call_guard import CallGuard


@pytest.mark.parametrize(
    ("signals", "requests"),
    [
        ([signal.SIGTERM], 1),
        ([signal.SIGTERM, signal.SIGINT], 2),
        ([signal.SIGCHLD, signal.SIGUSR1, signal.SIGHUP], 0),
        ([signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1], 1),
    ],
)
def test_only_signals_that_stop_the_worker_count(signals, requests):
    call_guard = CallGuard()
    loop, bell = socket.socketpair()
    with loop, bell:
        loop.settimeout(30)
        with call_guard.watching(bell) as descriptor, socket.socket(fileno=socket.dup(descriptor)) as ear:
            ear.send(bytes(signals))
            assert loop.recv(100) == bytes(signals)  # the loop is woken by each of them
        assert call_guard.signals == requests
