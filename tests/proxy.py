"""A TCP proxy in front of a database server that does to its connections what networks do to them.

It runs in a thread of its own, so a test controls it directly::

    with FaultProxy(5432) as proxy:      # proxy.port is the port to connect to
        proxy.silence()                  # from now on nothing is answered
        proxy.restore()                  # new connections work again
        cut = proxy.cut_after_commit()   # the next COMMIT is carried out, its answer is lost
        cut.wait()

A connection that was silenced stays without an answer after ``restore()``, as one does whose other end has forgotten
it, and the server keeps its session. ``freeze()`` is the other kind of silence: it holds back what is sent, and
``restore()`` delivers it.

Statements are found by their text, so connections are not encrypted: the proxy tells clients that the server has no
TLS. A statement that a driver has prepared is sent without its text and is not found.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self

TLS_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL: the client asks for TLS before anything else
NO_TLS = b"N"
MARIADB_TLS = 0x0800  # the bit for TLS in the capabilities of MariaDB's first packet
RESET = struct.pack("ii", 1, 0)  # a close with this linger time resets the connection
COMMIT = rb"\bCOMMIT\b"  # MariaDB also gets “SET autocommit”


class Way(Enum):
    """What happens to the bytes of every connection."""

    FORWARD = auto()
    HOLD = auto()  # kept, and delivered later
    SWALLOW = auto()  # taken, and lost
    REQUESTS_ONLY = auto()  # requests arrive, answers are lost
    REFUSE = auto()  # new connections are reset


class Moment(Enum):
    """When a statement that was waited for loses its connection."""

    BEFORE = auto()  # the server never gets it
    DURING = auto()  # the server has it; the client is cut off at once
    AFTER = auto()  # the server has carried it out; the answer is lost


@dataclass
class Trap:
    """Waits for one statement and takes its connection away."""

    pattern: re.Pattern[bytes]
    moment: Moment
    silent: bool = False  # the connection is not reset, only never answered
    _sprung: threading.Event = field(default_factory=threading.Event)

    @property
    def sprung(self) -> bool:
        return self._sprung.is_set()

    def spring(self) -> None:
        self._sprung.set()

    def wait(self, timeout: float = 30.0) -> None:
        """Until the statement came by; fails after *timeout* seconds."""
        assert self._sprung.wait(timeout), f"No statement like {self.pattern.pattern!r} within {timeout:g} s."


class FaultProxy:
    """Forwards connections from ``port`` to a server until it is told to do something else."""

    def __init__(self, server_port: int, server_host: str = "127.0.0.1", port: int = 0) -> None:
        """*port* 0 takes any free one."""
        self.server = (server_host, server_port)
        self.way = Way.FORWARD
        self.latency = 0.0
        self.links: set[Link] = set()
        self.accepted = 0  # connections in all
        self.requests = 0  # pieces of data from clients in all
        self.transferred = 0  # bytes in both directions in all
        self.traps: list[Trap] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="fault proxy")
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(lambda: None)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What it does to connections.

    def delay(self, seconds: float) -> None:
        """Have every answer come this many seconds later. 0 ends it."""
        self._call(lambda: setattr(self, "latency", seconds))

    def freeze(self) -> None:
        """Hold back all bytes in both directions until ``restore()``, which delivers them."""
        self._set(Way.HOLD)

    def silence(self) -> None:
        """Take bytes and answer nothing. These connections are lost without a word."""
        self._set(Way.SWALLOW)
        self._mark("is_mute")

    def one_way(self) -> None:
        """Let requests arrive, and lose every answer."""
        self._set(Way.REQUESTS_ONLY)
        self._mark("is_one_way")

    def cut(self) -> None:
        """Reset all connections. New ones are forwarded."""
        self._call(self._cut)

    def refuse(self) -> None:
        """Reset all connections, and new ones until ``restore()``."""
        self._set(Way.REFUSE)
        self.cut()

    def restore(self) -> None:
        """Forward again: what was held back is delivered, what was lost stays lost."""
        self._call(self._restore)

    def drop_lost(self) -> None:
        """End the server's sessions of connections that were lost, as its keepalive does after a while."""

        def drop() -> None:
            for link in list(self.links):
                if link.is_mute or link.is_one_way:
                    link.reset()

        self._call(drop)

    # What it does at one statement.

    def cut_before(self, pattern: str | bytes) -> Trap:
        """The next statement that matches never reaches the server; its connection is reset."""
        return self._trap(pattern, Moment.BEFORE)

    def cut_during(self, pattern: str | bytes) -> Trap:
        """The next statement that matches is carried out; its client is cut off while the server works."""
        return self._trap(pattern, Moment.DURING)

    def cut_after(self, pattern: str | bytes) -> Trap:
        """The next statement that matches is carried out; the connection is reset in place of an answer."""
        return self._trap(pattern, Moment.AFTER)

    def cut_after_commit(self) -> Trap:
        """The next COMMIT is carried out; the connection is reset in place of an answer."""
        return self._trap(COMMIT, Moment.AFTER)

    def silence_before(self, pattern: str | bytes) -> Trap:
        """The next statement that matches never reaches the server, and its connection is never answered again."""
        return self._trap(pattern, Moment.BEFORE, silent=True)

    def silence_after(self, pattern: str | bytes) -> Trap:
        """The next statement that matches is carried out, and its connection is never answered again."""
        return self._trap(pattern, Moment.AFTER, silent=True)

    def close(self) -> None:
        """End all connections and the proxy."""
        if self.loop.is_running():
            self._call(self._stop)
            self._thread.join(10)
        self._listener.close()

    # In its thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        accepting = self.loop.create_server(lambda: Link(self).client, sock=self._listener)
        self.loop.run_until_complete(accepting)
        self.loop.run_forever()
        unfinished = asyncio.all_tasks(self.loop)
        for task in unfinished:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*unfinished, return_exceptions=True))
        self.loop.close()

    def _call(self, work: Callable[[], Any]) -> None:
        """Do it in the proxy's thread, and wait for that."""

        async def call() -> None:
            work()

        asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def _set(self, way: Way) -> None:
        self._call(lambda: setattr(self, "way", way))

    def _mark(self, loss: str) -> None:
        """These connections have lost something for good."""

        def mark() -> None:
            for link in self.links:
                setattr(link, loss, True)

        self._call(mark)

    def _trap(self, pattern: str | bytes, moment: Moment, silent: bool = False) -> Trap:
        raw = pattern.encode() if isinstance(pattern, str) else pattern
        trap = Trap(re.compile(raw, re.IGNORECASE), moment, silent)
        self._call(lambda: self.traps.append(trap))
        return trap

    def _cut(self) -> None:
        for link in list(self.links):
            link.reset()

    def _restore(self) -> None:
        self.way, self.latency = Way.FORWARD, 0.0
        self.traps.clear()
        for link in self.links:
            link.release()

    def _stop(self) -> None:
        self.way = Way.REFUSE  # a worker connects anew until the listener is closed
        self._cut()
        self.loop.call_later(0.05, self.loop.stop)


class Side(asyncio.Protocol):
    """One end of a link: the client's connection to the proxy, or the proxy's to the server."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None
        self.due = 0.0  # when what was last sent to this end arrives

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link.connected(self)

    def data_received(self, data: bytes) -> None:
        self.link.received(self, data)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.link.lost(self)

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def close(self, *, reset: bool = False) -> None:
        if self.transport is None:
            return
        if reset:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()
        else:
            self.transport.close()


class Link:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.client, self.server = Side(self), Side(self)
        self.is_mute = False  # nothing is passed on in either direction any more
        self.is_one_way = False  # no answer is passed on any more
        self.trap: Trap | None = None  # sprung: the answer takes the connection away
        self.greeted = False
        self.tail = b""  # the end of what the client has sent, as a statement may come in pieces
        self.held: list[tuple[Side, bytes]] = []

    def connected(self, side: Side) -> None:
        proxy = self.proxy
        if side is self.server:
            if self.client.transport is None:
                self.server.close()
            else:
                self.client.transport.resume_reading()
            return
        proxy.accepted += 1
        proxy.links.add(self)
        assert side.transport is not None
        if proxy.way is Way.REFUSE:
            self.reset()
        elif proxy.way is Way.SWALLOW:
            self.is_mute = True
        else:
            side.transport.pause_reading()
            proxy.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self.proxy.loop.create_connection(lambda: self.server, *self.proxy.server)
        except OSError:
            self.reset()

    def received(self, side: Side, data: bytes) -> None:
        way = self.proxy.way
        self.proxy.transferred += len(data)
        self.is_mute = self.is_mute or way is Way.SWALLOW
        self.is_one_way = self.is_one_way or way is Way.REQUESTS_ONLY
        if side is self.client:
            self.proxy.requests += 1
        if self.is_mute:
            return
        if side is self.client:
            if data == TLS_REQUEST:
                self._send(self.client, NO_TLS)
            elif not self._trapped(data):
                self._send(self.server, data)
        elif self.trap is not None:
            self.take_away(self.trap)
        elif not self.is_one_way:
            self._send(self.client, self._without_tls(data))

    def _trapped(self, data: bytes) -> bool:
        """Whether this request ends here."""
        text, self.tail = self.tail + data, data[-200:]
        for trap in self.proxy.traps:
            if trap.pattern.search(text):
                self.proxy.traps.remove(trap)
                if trap.moment is Moment.AFTER:
                    self.trap = trap
                    return False
                if trap.moment is Moment.DURING:
                    self._send(self.server, data)
                self.take_away(trap)
                return True
        return False

    def take_away(self, trap: Trap) -> None:
        self.is_mute = True
        if not trap.silent:
            self.client.close(reset=True)
            if trap.moment is not Moment.DURING:
                self.server.close(reset=True)
        trap.spring()

    def _without_tls(self, data: bytes) -> bytes:
        """MariaDB says in its first packet what it can do."""
        greeting, self.greeted = not self.greeted, True
        if not greeting or len(data) < 40 or data[4] != 10:
            return data
        at = data.index(b"\0", 5) + 1 + 4 + 8 + 1  # after version, connection's number, and part of the challenge
        abilities = int.from_bytes(data[at : at + 2], "little") & ~MARIADB_TLS
        return data[:at] + abilities.to_bytes(2, "little") + data[at + 2 :]

    def _send(self, to: Side, data: bytes) -> None:
        proxy = self.proxy
        if proxy.way is Way.HOLD or self.held:
            self.held.append((to, data))
            return
        now = proxy.loop.time()
        if to is self.client or (not proxy.latency and to.due <= now):
            to.write(data)
            return
        to.due = max(now + proxy.latency, to.due + 1e-6)  # in the order in which it came
        proxy.loop.call_at(to.due, to.write, data)

    def release(self) -> None:
        held, self.held = self.held, []
        for to, data in held:
            to.write(data)

    def reset(self) -> None:
        self.proxy.links.discard(self)
        self.client.close(reset=True)
        self.server.close(reset=True)

    def lost(self, side: Side) -> None:
        """One end is gone. The other one hears of it, unless the connection has been lost without a word."""
        if self.is_mute or self.is_one_way or self.proxy.way is Way.HOLD:
            return
        self.proxy.links.discard(self)
        (self.server if side is self.client else self.client).close()
