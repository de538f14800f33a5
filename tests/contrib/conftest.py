import pytest


@pytest.fixture
def middleware(settings):
    """``middleware("path", …)`` puts these around each run."""

    def chosen(*paths):
        settings.QORWORKER = {**settings.QORWORKER, "MIDDLEWARE": list(paths)}

    return chosen


@pytest.fixture
def received():
    """``received(signal, function)`` connects a receiver for the time of the test."""
    connected = []

    def connect(signal, function):
        signal.connect(function)
        connected.append((signal, function))

    yield connect
    for signal, function in connected:
        signal.disconnect(function)
