"""Starts a fork server as a new program, by the command line of this process. Parent process.

Thus both set up the project alike. A ``manage.py`` may do more than name a settings module: install an importer, read
a file, configure settings in code. A process with another command line would miss all that.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from qorworker.system import processes

CONTROL_SOCKET = "QORWORKER_TEMPLATE"  # its value in a fork server's environment: the descriptor of its control socket
OUTPUT_KEPT = 8000  # bytes of output
LINES = 15  # of it, at most


def is_fork_server() -> bool:
    """Whether this process was started as a fork server."""
    return CONTROL_SOCKET in os.environ


def same_command(argv: Sequence[str]) -> list[str] | None:
    """Return the command line that starts this process again.

    *argv* is what the management command was called with. The result is None if the process was started with other
    arguments: then another program called the command, and starting it again may do anything.
    """
    if list(argv[1:]) != sys.argv[1:]:
        return None
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name != "__main__":
        program = ["-m", spec.name.removesuffix(".__main__")]
    elif Path(sys.argv[0]).exists():
        program = [str(Path(sys.argv[0]).absolute())]
    else:
        return None
    return [*_interpreter(), *program, *sys.argv[1:]]


def plain_command() -> list[str]:
    """Return the command line of a fork server with this process's import path and the environment's settings."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from qorworker.worker.forkserver import main; main()"
    return [*_interpreter(), "-c", code]


def _interpreter() -> list[str]:
    return [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]


def message_socket() -> socket.SocketKind:
    """Return a kind of socket that keeps messages whole and, on Linux, reports that the peer is gone."""
    return socket.SOCK_SEQPACKET if processes.LINUX else socket.SOCK_DGRAM


class StderrTail:
    """Passes on what a fork server writes to stderr until it is ready, and keeps the last lines."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        self._source: int | None = None
        self._output = b""

    def open(self) -> int:
        """Return the descriptor to write to. The caller closes it."""
        self.close()
        self._output = b""
        self._source, sink = os.pipe()
        os.set_blocking(self._source, False)
        self.selector.register(self._source, selectors.EVENT_READ, self._read)
        return sink

    def close(self) -> str:
        """Read the rest, and return the last lines."""
        while self._source is not None and self._read(0.0):
            pass
        self._end()
        return "\n".join(self._output.decode(errors="replace").splitlines()[-LINES:])

    def _read(self, now: float) -> int:
        """Pass on what has come, and return how many bytes."""
        assert self._source is not None
        try:
            data = os.read(self._source, OUTPUT_KEPT)
        except BlockingIOError:
            return 0
        if not data:
            self._end()
        self._output = (self._output + data)[-OUTPUT_KEPT:]
        with contextlib.suppress(OSError):
            os.write(2, data)
        return len(data)

    def _end(self) -> None:
        if self._source is not None:
            self.selector.unregister(self._source)
            os.close(self._source)
            self._source = None
