"""The processes of a worker: its fork server, and as many children as it may have. Parent process.

Orders about processes go through the fork server, the messages of jobs through ``Channels``.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from qorworker.execution.messages import clean_text
from qorworker.system import processes
from qorworker.worker import board
from qorworker.worker.grace import EXIT_GRACE
from qorworker.worker.parent.channels import Channels, Child
from qorworker.worker.parent.fallback_killer import FallbackKiller
from qorworker.worker.parent.forkserver_client import ForkServerClient

logger = logging.getLogger(__name__)

EXIT_DELAY = 0.5  # seconds that a process may take to end after it closed its channel
LEAVING_DELAY = EXIT_GRACE + 5.0  # the same after its last attempt
BEGIN_LIMIT = 60.0  # seconds after which a child that has not read its first attempt counts as hanging
PAUSES = (0.5, 30.0)  # seconds before the next child after one that failed to start: first, at most
TROUBLE_CHARS = 500
STARTED_AFTER = 5.0  # seconds after which a child counts as started


@dataclass(frozen=True)
class Exit:
    """How a child ended, after all that it had started was killed."""

    status: int  # exit code; negative: the signal
    peak: int  # bytes
    survivors: int
    error: str = ""
    expired: bool = False  # it was killed because its lease may have passed


class Pool:
    """Runs the fork server and keeps ``size`` children.

    Calls ``on_fork(child)``, ``on_asked(child)`` and ``on_exit(child, Exit)``.
    """

    def __init__(self, size: int, cookie: str, selector: selectors.BaseSelector) -> None:
        self.size = size
        self.fork_server = ForkServerClient(cookie, selector, self._on_news, self._on_loss)
        self.fallback_killer = FallbackKiller()
        self.channels = Channels(selector)
        self.channels.on_bad_message = self.stop_invalid
        self.children = self.channels.children
        self.on_fork: Callable[[Child], None] = lambda child: None
        self.on_asked: Callable[[Child], None] = lambda child: None
        self.on_exit: Callable[[Child, Exit], None] = lambda child, exit: None
        self._numbers = 0
        self._fork_at = self._failed_at = 0.0
        self._pause = PAUSES[0]
        self._trouble = ""

    @property
    def ready(self) -> bool:
        """Whether children can be forked."""
        return self.fork_server.ready

    @property
    def trouble(self) -> str:
        """Why there are fewer children than there should be, for the page of the worker. Empty if all is well."""
        return self.fork_server.trouble or self._trouble

    def maintain(self, now: float) -> None:
        """Keep the fork server running and the number of children complete."""
        self.fork_server.maintain(now)
        for child in self.children.values():
            if not child.stopping and (self._lingers(child, now) or self._hangs(child, now)):
                self.stop(child, 0)
        if self.fork_server.silent:
            self._act_for_fork_server(now)
            return
        while self.ready and self._incomplete() and now >= self._fork_at:
            self._fork()
        if self._trouble and any(self._has_started(child, now) for child in self.children.values()):
            self._trouble, self._pause = "", PAUSES[0]

    def _lingers(self, child: Child, now: float) -> bool:
        """Whether a child that has no more work does not end: it may hang in an exit function."""
        if child.mute_since is not None and now - child.mute_since > EXIT_DELAY:
            child.stopped_as_mute = True
            return True
        if child.leaving and not child.attempts and child.finished_at is None:
            child.finished_at = now
        return child.finished_at is not None and now - child.finished_at > LEAVING_DELAY

    def _hangs(self, child: Child, now: float) -> bool:
        """Whether a child does not begin: a thread may have held a lock when it was forked."""
        is_overdue = child.due_at is not None and now - child.due_at > BEGIN_LIMIT
        return is_overdue and not self.channels.has_begun(child)

    def _incomplete(self) -> bool:
        """Whether another child is needed: for a free slot, or to take the place of one that leaves after its work.

        At most one is forked ahead. Children that have no more work count only while they are many.
        """
        leaving = self._leaving()
        wanted = self.size - len(leaving) + any(not child.stopping for child in leaving)
        return len(self._usable()) < wanted and self._has_room()

    def _usable(self) -> list[Child]:
        return [child for child in self.children.values() if not child.leaving]

    def _leaving(self) -> list[Child]:
        """Return the children that leave after the work they have: each of them takes a slot until then.

        Jobs that share a child mostly wait, so another one takes its place at once.
        """
        return [each for each in self.children.values() if each.leaving and each.attempts and not each.shared_by]

    def _has_room(self) -> bool:
        return len(self.children) <= 2 * self.size

    def send(self, order: dict[str, Any]) -> None:
        """Send the fork server an order that is not about one child."""
        self.fork_server.send(order)

    def _on_news(self, news: dict[str, Any], now: float) -> None:
        if "forked" in news:
            if child := self.children.get(news["forked"]):
                self.channels.on_fork(child, news["pid"])
                self.on_fork(child)
        elif "asked" in news:
            if child := self.children.get(news["asked"]):
                self.on_asked(child)
        elif "exited" in news and (child := self.children.get(news["exited"])):
            was_unused = child.pid is not None and not child.leaving and not child.served
            # One that ends by itself closes it, too, and is reported only once all that it started has ended.
            was_stopped_as_mute = child.stopped_as_mute and news["status"] == -signal.SIGKILL
            reason = _("it had closed its connection to the worker") if was_stopped_as_mute else ""
            error = news.get("error") or reason
            expired = news.get("expired", False)
            self._remove(child, Exit(news["status"], news["peak"], news["survivors"], error, expired))
            if child.pid is None:
                self._fail(now, _("No child process can be started: %s") % news["error"])
            elif was_unused or (child.untouched and not child.grace):  # with a grace it was asked to end
                reason = _("A child process ended with status %s before it could do any work.") % news["status"]
                self._fail(now, reason, child.last_lines)

    def _on_loss(self, now: float, survivors: int) -> None:
        for child in list(self.children.values()):
            text = _("the process that all jobs of this worker are started from has ended")
            self._remove(child, Exit(-9, 0, survivors, text))

    def _fail(self, now: float, reason: str, printed: Sequence[str] = ()) -> None:
        """Wait before the next child is started, and report why, but not each time. The last line says most."""
        trouble = clean_text(" ".join((reason, *list(printed)[-1:])), TROUBLE_CHARS)
        if trouble != self._trouble:
            self._trouble = trouble
            logger.error("%s", "\n".join((reason, *printed)))
        self._failed_at, self._fork_at = now, now + self._pause
        self._pause = min(self._pause * 2, PAUSES[1])

    def _has_started(self, child: Child, now: float) -> bool:
        return child.born_at > self._failed_at and now - child.born_at > STARTED_AFTER

    def _act_for_fork_server(self, now: float) -> None:
        """Stop children in place of a silent fork server, and replace it once no job runs."""
        # Attempts of a child that was never forked go to another child.
        server, children = self.fork_server, list(self.children.values())
        if server.liveness.is_hopeless and not any(child.attempts for child in children if child.pid):
            server.replace()
            return
        for child, survivors in self.fallback_killer.step(server.pids[0], server.own_children, children, now):
            self._remove(child, Exit(-9, 0, survivors))

    # The children.

    def _fork(self) -> Child | None:
        """Fork a child. None while the machine has no room for its pipes."""
        self._numbers += 1
        try:
            child, descriptors = self.channels.open(self._numbers)
        except OSError as error:
            self._fail(processes.monotonic(), _("No child process can be started: %s") % error)
            return None
        self.fork_server.send({"fork": child.number}, descriptors)
        return child

    def retire(self, child: Child) -> None:
        """Let a child end after the work it has. Another child takes its place.

        One that is shared goes on while too many others leave: their last jobs may take long.
        """
        if child.leaving or (child.shared_by and not self._has_room()):
            return
        child.leaving = True
        if not child.attempts:
            self.channels.hang_up(child)

    def leave(self, child: Child) -> None:
        """Let a child end after the attempt that it runs, and start none of those behind."""
        child.leaving = True
        self.fork_server.send({"leave": child.number})

    def suspend(self, child: Child) -> None:
        """Ask for the end of the loop that a child runs, between two items."""
        self.fork_server.send({"suspend": child.number})

    def ask_for_stack(self, child: Child) -> None:
        """Ask a child for its stack. What it has written for an earlier request is forgotten."""
        board.clear_stack(child.board)
        self.fork_server.send({"stack": child.number})

    def fresh_child(self) -> Child | None:
        """Return a child that has had no work, if need be a new one. None while none can be forked."""
        if fresh := next((child for child in self._usable() if child.fresh), None):
            return fresh
        is_prevented = not self.ready or self.fork_server.silent or processes.monotonic() < self._fork_at
        return None if is_prevented or not self._has_room() else self._fork()

    def stop(self, child: Child, grace: float) -> None:
        """Stop a child and all that its jobs started: asked first, killed after *grace* seconds."""
        if child.stopping and grace >= child.grace:
            return
        child.grace = grace
        child.leaving = child.stopping = True
        self.fork_server.send({"stop": child.number, "grace": grace})

    def stop_invalid(self, child: Child) -> None:
        """Stop a child that has sent something that no child of ours sends."""
        child.stopped_as_invalid = True
        self.stop(child, 0)

    def finish(self, child: Child) -> None:
        """Let a child that is being stopped end now: its job has ended and needs no more of the grace."""
        if len(child.attempts) > 1 or child.is_silent:
            self.stop(child, 0)  # it must not run the next attempt
        else:
            self.channels.hang_up(child)

    def set_owned(self, child: Child, owned: bool) -> None:
        """Tell the fork server whether to kill this child once the lease of its attempt may have passed."""
        if child.owned != owned:
            child.owned = owned
            self.fork_server.send({"own": child.number, "while": owned})

    def release(self, child: Child) -> None:
        """Let a leaving child end when its last attempt has."""
        if child.leaving and not child.attempts:
            self.channels.hang_up(child)

    def hang_up(self) -> bool:
        """Let children without work run their exit functions and end. Return whether some have not ended yet."""
        for child in self.children.values():
            if not child.attempts:
                child.leaving = True
                self.channels.hang_up(child)
        return any(not child.attempts for child in self.children.values())

    def _remove(self, child: Child, exit: Exit) -> None:
        self.channels.close(child)
        self.on_exit(child, exit)

    @property
    def available(self) -> list[Child]:
        """The children that take work: one for each slot that no child holds which leaves after its work."""
        usable = self._usable()
        return usable if len(usable) == len(self.children) else usable[: max(0, self.size - len(self._leaving()))]

    def memory(self) -> int:
        """Return the bytes that the whole worker holds: parent, fork server, children."""
        pids = [os.getpid(), *self.fork_server.pids, *(child.pid for child in self.children.values() if child.pid)]
        return sum(map(processes.proportional_memory, pids))

    def close(self) -> None:
        """End every process, and return when all have ended."""
        self.fork_server.close()
