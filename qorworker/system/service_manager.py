"""What a process tells the program that has started it as a service: systemd's protocol ``sd_notify``. Parent process.

Without such a program nothing is told. There is no library for it: it is one datagram.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger(__name__)


class ServiceManager:
    """The program behind the variable ``NOTIFY_SOCKET``, if there is one."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self.address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog = _watchdog(environment)  # seconds within which it expects a sign of life; None: it expects none

    def tell(self, **state: object) -> None:
        """Send a state, such as ``READY=1``. If nobody listens, that is no reason to stop."""
        if not self.address:
            return
        message = "\n".join(f"{name}={value}" for name, value in state.items()).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)
                channel.sendto(message, self.address)
        except OSError as error:
            logger.debug("The service manager could not be told %s: %s", ", ".join(state), error)


def _address(text: str) -> str:
    """Return the address of a socket of Unix; empty for one of another kind."""
    return f"\0{text[1:]}" if text.startswith("@") else text if text.startswith("/") else ""


def _watchdog(environment: Mapping[str, str]) -> float | None:
    microseconds, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    is_mine = not process or process == str(os.getpid())
    return int(microseconds) / 1_000_000 if is_mine and microseconds.isdecimal() and int(microseconds) else None
