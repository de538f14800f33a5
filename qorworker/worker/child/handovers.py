"""What the parent hands over: attempts, in their order, and requests about those that run. Child process."""

from __future__ import annotations

import json
import os
import select

from qorworker.execution.messages import FRAME, Work

CHUNK = 1 << 16  # bytes read at a time

_from_json = json.JSONDecoder().decode  # what the module's function does beside it takes as long


class Handovers:
    """The end of the pipe from which a child reads its attempts."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.has_ended = False  # the parent has hung up
        self._buffer = bytearray()

    def next(self) -> Work | None:
        """Return the next attempt, and wait for it. None once the parent has hung up."""
        while (work := self._first()) is None:
            if not self._read():
                return None
        return work

    def arrived(self) -> list[Work]:
        """Return the attempts that have arrived, without waiting."""
        while not self.has_ended and select.select([self.descriptor], [], [], 0)[0]:
            self._read()
        works = []
        while (work := self._first()) is not None:
            works.append(work)
        return works

    def _read(self) -> bool:
        data = os.read(self.descriptor, CHUNK)
        self._buffer += data
        self.has_ended = not data
        return bool(data)

    def _first(self) -> Work | None:
        """Take the first attempt out of the buffer. None if it is not complete."""
        if len(self._buffer) < FRAME.size:
            return None
        end = FRAME.size + FRAME.unpack_from(self._buffer)[0]
        if len(self._buffer) < end:
            return None
        body = self._buffer[FRAME.size : end].decode()
        del self._buffer[:end]
        return Work(*_from_json(body))
