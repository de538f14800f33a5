"""The parent's side of the fork server: starts it, sends orders, receives messages, replaces it. Parent process."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from qorworker.system import processes, termination
from qorworker.worker.launch import CONTROL_SOCKET, StderrTail, message_socket, plain_command
from qorworker.worker.parent.liveness import Liveness

if TYPE_CHECKING:
    from qorworker.worker.early import EarlyForkServer

logger = logging.getLogger(__name__)

MESSAGE = 1 << 18  # bytes
SHUTDOWN_TIMEOUT = 15.0  # seconds for the fork server to end every process and itself
RESTART_PAUSES = (0.5, 30.0)  # seconds before a failed fork server is started again: first, at most
LOAD_LIMIT = 60.0  # seconds after which a fork server that is not ready is reported: it may hang in the project's code
MAX_FAILURES = 3  # starts in a row that end before the fork server is ready

OnMessage = Callable[[dict[str, Any], float], None]


class ForkServerClient:
    """Starts the fork server, sends it orders, and starts another one when it ends.

    Calls ``on_news(message, now)`` with its messages about children, and ``on_loss(now, survivors)`` when it has ended.
    """

    def __init__(
        self,
        cookie: str,
        selector: selectors.BaseSelector,
        on_news: OnMessage,
        on_loss: Callable[[float, int], None],
    ) -> None:
        self.cookie = cookie
        self.selector = selector
        self.on_news, self.on_loss = on_news, on_loss
        self.command: Sequence[str] | None = None  # the command line of the fork server; by default ``plain_command()``
        self.early: EarlyForkServer | None = None  # to be used instead of starting the first one
        self.ready = False
        self.on_ready: Callable[[], None] = lambda: None
        self.failure = ""  # why the fork server cannot start; then it is not tried again
        self.own_children: frozenset[int] = frozenset()  # those that the project's code started in the fork server
        self.liveness = Liveness(lambda: self.send({"ping": True}))
        self.closing = False
        self._failures = 0
        self._started_at = 0.0
        self._is_late = False  # it has not become ready in time
        self._stderr_tail = StderrTail(selector)
        self._process: subprocess.Popen[bytes] | EarlyForkServer | None = None
        self._control: socket.socket | None = None
        # Orders not sent yet, with their descriptors. Of one kind of order to one child only the last counts.
        self._orders: dict[tuple[str, Any], tuple[dict[str, Any], Sequence[int]]] = {}
        self._bystanders: frozenset[int] = frozenset()  # children of this process that belong to no job
        self._start_at = 0.0
        self._pause = RESTART_PAUSES[0]

    @property
    def pids(self) -> list[int]:
        """The process id of the fork server, if there is one."""
        return [self._process.pid] if self._process else []

    @property
    def silent(self) -> bool:
        """Whether the fork server has not answered for a while."""
        return self.ready and self.liveness.is_silent

    @property
    def trouble(self) -> str:
        """What is wrong with the fork server, for the page of the worker. Empty if all is well."""
        is_absent = self.silent or self._is_late
        return _("The process that all jobs of this worker are started from does not answer.") if is_absent else ""

    def maintain(self, now: float) -> None:
        """Start the fork server if there is none, with a pause after a failure, and check that it answers."""
        if self._process is None and not (self.closing or self.failure) and now >= self._start_at:
            self._started_at, self._is_late = now, False
            try:
                self._start()
            except OSError as error:
                logger.error("The fork server could not be started: %s", error)
                self._delay_restart(now)
        elif self._process is not None and not (self.ready or self._is_late):
            self._check_load(now)
        elif self.ready and self.liveness.ping_if_due(now):
            self._note_bystanders()
            if self.silent:
                self._wake()

    def _check_load(self, now: float) -> None:
        if now - self._started_at > LOAD_LIMIT:
            self._is_late = True
            text = "The fork server %s has not loaded the project after %g seconds; until it has, no job starts."
            logger.warning(text, *self.pids, LOAD_LIMIT)

    def _start(self) -> None:
        self._bystanders = self._children()
        if self.early is None:
            self._process, control = self._start_program()
        else:
            self._process, control = self.early, self.early.control
            self.early = None
        # What it prints once it is ready goes where this process prints.
        with contextlib.suppress(OSError):  # if it has ended already, that is noticed elsewhere
            socket.send_fds(control, [json.dumps({"cookie": self.cookie}).encode()], [2])
        control.setblocking(False)
        self._control = control
        self.selector.register(control, selectors.EVENT_READ, self._on_ready_socket)

    def _start_program(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        parent_end, server_end = socket.socketpair(socket.AF_UNIX, message_socket())
        sink = -1
        try:
            sink = self._stderr_tail.open()
            process = subprocess.Popen(
                self.command or plain_command(),
                pass_fds=[server_end.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=sink,
                start_new_session=True,
                env={**os.environ, processes.COOKIE: self.cookie, CONTROL_SOCKET: str(server_end.fileno())},
            )
        except OSError:
            parent_end.close()
            self._stderr_tail.close()
            raise
        finally:
            server_end.close()
            if sink >= 0:
                os.close(sink)
        return process, parent_end

    def _delay_restart(self, now: float) -> None:
        self._start_at, self._pause = now + self._pause, min(self._pause * 2, RESTART_PAUSES[1])

    def _wake(self) -> None:
        """Continue a stopped fork server. If that does not help, it is replaced once no job runs."""
        assert self._process is not None
        if self.liveness.has_just_become_silent:
            logger.warning("The fork server %s does not answer; sending it SIGCONT.", self._process.pid)
        with contextlib.suppress(OSError):
            self._process.send_signal(signal.SIGCONT)

    def replace(self) -> None:
        """Kill a fork server that does not answer, and with it all children. Another one is started."""
        if self._process is not None:
            logger.error("The fork server %s still does not answer; replacing it.", self._process.pid)
            self._process.kill()

    def send(self, order: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send an order as soon as the fork server takes it, and close its *descriptors* here then.

        An order is dropped if the fork server has ended, which is noticed elsewhere.
        """
        self._orders[next(iter(order.items()))] = order, descriptors
        self._send_orders()

    def _send_orders(self) -> None:
        """Send what the fork server takes now. A stopped fork server must not block this process."""
        while self._orders and self._try_send(*next(iter(self._orders.values()))):
            self._drop_order(next(iter(self._orders)))
        if self._control is not None:
            writes = selectors.EVENT_WRITE if self._orders else 0
            if self.selector.get_key(self._control).events != selectors.EVENT_READ | writes:
                self.selector.modify(self._control, selectors.EVENT_READ | writes, self._on_ready_socket)

    def _try_send(self, order: dict[str, Any], descriptors: Sequence[int]) -> bool:
        """Send an order. False if the socket has no room for it."""
        try:
            if self._control is not None:
                socket.send_fds(self._control, [json.dumps(order).encode()], descriptors)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _drop_order(self, key: tuple[str, Any]) -> None:
        _, descriptors = self._orders.pop(key)
        for descriptor in descriptors:
            os.close(descriptor)

    def _on_ready_socket(self, now: float) -> None:
        self._send_orders()
        self._receive(now)

    def _receive(self, now: float) -> None:
        assert self._control is not None
        try:
            message = self._control.recv(MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._lose(now)
            return
        self.liveness.note_answer()
        news: dict[str, Any] = json.loads(message)
        if "ready" in news:
            self.ready, self._failures, self._pause = True, 0, RESTART_PAUSES[0]
            self._is_late = False
            self.own_children = frozenset(news["own"])
            self.on_ready()
        elif "pong" not in news:
            self.on_news(news, now)

    def _lose(self, now: float) -> None:
        """Clean up after the fork server has ended. Its children have ended, too: they die with their parent."""
        assert self._control is not None
        assert self._process is not None
        self.selector.unregister(self._control)
        self._control.close()
        status: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):  # a debugger may have to notice its end first
            status = self._process.wait(termination.EXIT_TIMEOUT)
        stderr_tail = self._stderr_tail.close()
        self._control = self._process = None
        self._send_orders()  # drops them
        self.liveness.note_answer()
        if self.ready:
            logger.error("The fork server ended with status %s; starting it again.", status)
        else:
            self._note_failure(status, stderr_tail)
        self.ready = False
        survivors = self._kill_adopted()
        processes.kill_with_cookie(self.cookie)
        self._delay_restart(now)
        self.on_loss(now, survivors)

    def _note_failure(self, status: int | None, stderr_tail: str) -> None:
        self._failures += 1
        logger.error("The fork server ended with status %s before it was ready.", status)
        if self._failures >= MAX_FAILURES:
            output = stderr_tail or _("It printed nothing.")
            sentence = _("No job can start: the project does not load in the process that jobs are started from.")
            self.failure = f"{sentence}\n{output}"

    # This process adopts what a fork server leaves behind.

    def _kill_adopted(self) -> int:
        """Kill it, and return how many processes survive."""
        return termination.kill_and_reap_all(self._strays)

    def _children(self) -> frozenset[int]:
        return frozenset(processes.children_of(os.getpid()))

    def _note_bystanders(self) -> None:
        """Note this process's own children: none belongs to a job while the fork server lives, checked last."""
        children = self._children()
        if not any(map(processes.has_ended, self.pids)):
            self._bystanders = children

    def _strays(self) -> list[int]:
        """Adopted children: those in another session that appeared after the fork server had ended."""
        session = os.getsid(0)
        return [pid for pid in self._children() - self._bystanders if processes.session_of(pid) != session]

    def close(self) -> None:
        """Hang up: the fork server then ends every process of every job and itself. Kill it if it hangs."""
        self.closing = True
        if self.early is not None:  # it was not needed
            self.early.control.close()
            self.early.kill()
            self.early.wait()
        if self._process is not None and self._control is not None:
            timeout = SHUTDOWN_TIMEOUT if self.ready and not self.silent else 0.1
            with contextlib.suppress(KeyError):
                self.selector.unregister(self._control)
            self._control.close()
            self._control = None
            self._send_orders()  # drops them
            with contextlib.suppress(OSError):
                self._process.send_signal(signal.SIGCONT)  # it may be stopped
            try:
                # Until it is ready it has no children, and may hang in the project's code.
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.returncode:  # it did not end every process
                self._kill_adopted()
                processes.kill_with_cookie(self.cookie)
        self._stderr_tail.close()
