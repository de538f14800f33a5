"""Sets time-outs on a worker's connections, so that they notice a dead server. Parent and child process.

By default the drivers wait for hours. A project's OPTIONS come first, and only the connections of a worker's own
processes get these: those of the site stay as they are.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from math import ceil
from typing import Any

from django.db.backends.signals import connection_created

from qorworker.database.call_guard import answer_limit

CONNECT = 5  # seconds to open a connection
SILENCE = 20  # seconds without an acknowledgement after which a peer counts as dead
KEEPALIVE = {"idle": 10, "interval": 5, "count": 3}  # seconds without traffic, seconds between probes, probes
READ_MARGIN = 2.5  # seconds by which the driver's own limit lies behind that of the call guard

# Connections through a Unix socket have no use for these, and PostgreSQL's library ignores them there.
POSTGRESQL = {
    "connect_timeout": CONNECT,
    "tcp_user_timeout": SILENCE * 1000,
    **{f"keepalives_{name}": value for name, value in KEEPALIVE.items()},
}
MYSQL = {"connect_timeout": CONNECT}
SOCKET = {
    "TCP_USER_TIMEOUT": SILENCE * 1000,
    "TCP_KEEPIDLE": KEEPALIVE["idle"],
    "TCP_KEEPINTVL": KEEPALIVE["interval"],
    "TCP_KEEPCNT": KEEPALIVE["count"],
}


def read_limit() -> int:
    """Return the driver's limit for an answer, in seconds. The parent's statements end before that."""
    return ceil(answer_limit() + READ_MARGIN)


def limited(settings_dict: dict[str, Any], vendor: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a connection of the parent process, with time-outs and without a pool.

    *more* are options that override the limits. Those of the project override both.
    """
    read_limits = dict.fromkeys(("read_timeout", "write_timeout"), read_limit())
    limits = {"postgresql": POSTGRESQL, "mysql": {**MYSQL, **read_limits}}.get(vendor, {})
    options = {key: value for key, value in settings_dict["OPTIONS"].items() if key != "pool"}
    return {**settings_dict, "OPTIONS": {**limits, **more, **options}}


def notice_dead_servers(connection: Any) -> None:
    """Make a child's connections fail if the server is gone. Its statements may take as long as they need."""
    limits = {"postgresql": POSTGRESQL, "mysql": MYSQL}.get(connection.vendor, {})
    options = connection.settings_dict["OPTIONS"]
    options.update({name: value for name, value in limits.items() if name not in options})
    connection_created.connect(_on_created, dispatch_uid="qorworker.network")


def _on_created(connection: Any, **_: Any) -> None:
    probe(connection)


def probe(connection: Any) -> None:
    """Have the kernel probe the server where the driver has no options for that: MariaDB."""
    if connection.vendor != "mysql":
        return
    # Best effort: without it a dead server is noticed later.
    with suppress(OSError), socket.socket(fileno=socket.dup(connection.connection.fileno())) as end:
        _set_options(end)


def _set_options(end: socket.socket) -> None:
    if end.family not in (socket.AF_INET, socket.AF_INET6):
        return
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in SOCKET.items():
        if hasattr(socket, name):  # Linux has all of them
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
