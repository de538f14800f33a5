"""Which signals the loop of a worker counts as requests to stop."""

import ctypes
import selectors
import signal

import pytest

from qorworker.database.call_guard import CallGuard
from qorworker.worker.parent.shutdown import Shutdown
from tests.support import wait_until


@pytest.mark.parametrize("count", [1, 2, 3])
def test_signals_that_come_while_a_driver_waits_are_counted_one_by_one(count):
    raise_signal = ctypes.PyDLL(None)["raise"]
    shutdown = Shutdown(None, CallGuard(), 30.0)
    with selectors.DefaultSelector() as selector, shutdown.signals(selector):
        # All of it happens within one call of C, so Python runs its handler once.
        list(map(raise_signal, [signal.SIGTERM] * count))
        wait_until(lambda: shutdown.stop_requests == count)
        assert selector.select(30), "The loop was not woken."
    assert shutdown.is_forced == (count > 1)


def test_a_request_counts_as_much_as_a_signal():
    shutdown = Shutdown(None, CallGuard(), 30.0)
    shutdown.request()
    assert shutdown.stop_requests == 1
    assert not shutdown.is_forced
