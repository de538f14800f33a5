"""Which network addresses a webhook may reach."""

import socket

import pytest

from qorworker.exceptions import Undeliverable
from qorworker.messages.addresses import is_public, resolve


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses_are_allowed(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200",
        "169.254.169.254", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::", "2001:0:7f00:1::",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(address):
    assert not is_public(address)


def test_a_name_is_looked_up_once_and_one_forbidden_address_refuses_it(monkeypatch):
    asked = []

    def getaddrinfo(host, port, **given):
        asked.append(host)
        found = ["8.8.8.8", "10.0.0.7"] if host == "both.example" else ["8.8.8.8", "8.8.8.8", "9.9.9.9"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert resolve("fine.example", 443) == ["8.8.8.8", "9.9.9.9"]
    with pytest.raises(Undeliverable, match="not public"):
        resolve("both.example", 443)
    assert resolve("both.example", 443, private=True) == ["8.8.8.8", "10.0.0.7"]
    assert asked == ["fine.example", "both.example", "both.example"]


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "localhost"])
def test_other_ways_to_write_this_machine_are_refused_too(host):
    with pytest.raises(Undeliverable):
        resolve(host, 80)


def test_a_name_that_does_not_exist_is_said(monkeypatch):
    def fail(*given, **more):
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Undeliverable, match=r"nowhere\.invalid could not be resolved"):
        resolve("nowhere.invalid", 443)
