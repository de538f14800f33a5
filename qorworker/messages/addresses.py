"""Which network addresses a webhook may reach. Pure: it asks the resolver, and no database."""

from __future__ import annotations

import ipaddress
import socket

from qorworker.exceptions import Undeliverable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# IPv6 addresses that stand for one of IPv4: what translates them may reach a private network.
TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
COMPATIBLE = ipaddress.ip_network("::/96")


def resolve(host: str, port: int, *, private: bool = False) -> list[str]:
    """Return the numeric addresses of *host*, which is looked up once.

    :param private: whether addresses that are not public are allowed.
    :raises qorworker.exceptions.Undeliverable: if there are none, or one of them is not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Undeliverable(f"The name {host} could not be resolved.") from error
    addresses = list(dict.fromkeys(str(place[0]) for *_kind, place in found))
    if not private and not all(map(is_public, addresses)):
        raise Undeliverable(f"{host} has an address that is not public. 'private_addresses' would allow it.")
    return addresses


def is_public(address: str) -> bool:
    """Return whether a numeric *address* belongs to the public internet.

    Private, loopback, link-local (so those of metadata services), multicast and reserved addresses do not, nor IPv6
    addresses that stand for one of these.
    """
    found: Address = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if any(found in network for network in TRANSLATED) or found in COMPATIBLE:
            return False
        for inner in (found.ipv4_mapped, found.sixtofour, *(found.teredo or ())):
            if inner is not None and not is_public(str(inner)):
                return False
        if found.ipv4_mapped is not None:
            return True
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)
