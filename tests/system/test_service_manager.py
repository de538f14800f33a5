"""What systemd is told: datagrams on the socket that it names."""

from __future__ import annotations

import os
import socket

import pytest

from qorworker.system.service_manager import ServiceManager

pytestmark = pytest.mark.once


@pytest.fixture
def listening(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(10)
        yield channel


def test_states_arrive_line_by_line(listening):
    ServiceManager({"NOTIFY_SOCKET": listening.getsockname()}).tell(READY=1, STATUS="Takes jobs.")
    assert listening.recv(100) == b"READY=1\nSTATUS=Takes jobs."


def test_abstract_sockets_are_known():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("")  # the system chooses a name
        channel.settimeout(10)
        name = channel.getsockname()[1:].decode()
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).tell(STOPPING=1)
        assert channel.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/gone/away"])
def test_without_one_who_listens_nothing_happens(address):
    ServiceManager({"NOTIFY_SOCKET": address}).tell(READY=1)


def test_one_who_does_not_read_holds_nothing_up(listening):
    manager = ServiceManager({"NOTIFY_SOCKET": listening.getsockname()})
    for _ in range(2_000):
        manager.tell(WATCHDOG=1)
    assert listening.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 60),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_signs_of_life_are_expected_as_it_says(environment, seconds):
    assert ServiceManager(environment).watchdog == seconds
