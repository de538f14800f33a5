"""The processes of a worker: its template, and as many children as it may have. Parent process.

Everything said to a process goes through the template; what is said to and by the jobs goes through ``Pipes``.
"""

from __future__ import annotations

import logging
import os
import selectors
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from qorworker.worker import processes
from qorworker.worker.pipes import Child, Pipes
from qorworker.worker.template_link import TemplateLink

logger = logging.getLogger(__name__)

LAST_MOMENTS = 0.5  # seconds that a process may take to end after its pipe was closed
FORK_PAUSE = 0.5  # seconds before another try when the machine has no room for a process


@dataclass(frozen=True)
class Exit:
    """How a child's process ended, after everything that it had started was ended too."""

    status: int  # exit code; negative: the signal
    peak: int  # bytes
    survivors: int
    error: str = ""


class Pool:
    """Starts the template and keeps ``size`` children. Tells its listener of exits: ``on_exit(child, Exit)``."""

    def __init__(self, size: int, cookie: str, selector: selectors.BaseSelector) -> None:
        self.size = size
        self.link = TemplateLink(cookie, selector, self._on_news, self._on_loss)
        self.pipes = Pipes(selector)
        self.pipes.on_nonsense = lambda child: self.stop(child, 0)
        self.children = self.pipes.children
        self.on_exit: Callable[[Child, Exit], None] = lambda child, exit: None
        self._numbers = 0
        self._fork_at = 0.0

    @property
    def ready(self) -> bool:
        """Whether children can be had."""
        return self.link.ready

    def tend(self, now: float) -> None:
        """Keep a template running and the children complete."""
        self.link.tend(now)
        for child in self.children.values():
            if child.mute_since is not None and not child.stopping and now - child.mute_since > LAST_MOMENTS:
                child.disowned = True
                self.stop(child, 0)
        while self.ready and len(self.children) < self.size and now >= self._fork_at:
            self._fork()

    def tell(self, order: dict[str, Any]) -> None:
        """Give the template an order that is about no certain child."""
        self.link.tell(order)

    def _on_news(self, news: dict[str, Any], now: float) -> None:
        if "forked" in news:
            if child := self.children.get(news["forked"]):
                child.pid = news["pid"]
        elif "exited" in news and (child := self.children.get(news["exited"])):
            if child.pid is None:
                logger.error("A child process could not be started: %s", news.get("error"))
                self._fork_at = now + FORK_PAUSE
            error = news.get("error") or (_("it had closed its connection to the worker") if child.disowned else "")
            self._bury(child, Exit(news["status"], news["peak"], news["survivors"], error))

    def _on_loss(self, now: float) -> None:
        for child in list(self.children.values()):
            text = _("the process that all jobs of this worker are started from has ended")
            self._bury(child, Exit(-9, 0, 0, text))

    # The children.

    def _fork(self) -> Child | None:
        """A child that is new; None while the machine has no room for its pipes."""
        self._numbers += 1
        try:
            child, theirs = self.pipes.open(self._numbers)
        except OSError as error:
            logger.error("A child process could not be started: %s", error)
            self._fork_at = processes.monotonic() + FORK_PAUSE
            return None
        self.link.tell({"fork": child.number}, theirs)
        for descriptor in theirs:
            os.close(descriptor)
        return child

    def dismiss(self, child: Child) -> None:
        """Let a child end after the work it has; another one takes its place at once."""
        if child.leaving:
            return
        child.leaving = True
        if not child.attempts:
            self.pipes.hang_up(child)

    def replace(self, child: Child) -> Child | None:
        """A fresh child in the place of an idle one; None while there is no template, or no room."""
        if not self.ready or processes.monotonic() < self._fork_at:
            return None
        self.dismiss(child)
        return self._fork()

    def stop(self, child: Child, grace: float) -> None:
        """End a child and all that its jobs started: asked first, killed after *grace* seconds."""
        child.leaving = child.stopping = True
        self.link.tell({"stop": child.number, "grace": grace})

    def own(self, child: Child, owned: bool) -> None:
        """Whether the template must end this child once the lease of its attempt may have run out."""
        if child.owned != owned:
            child.owned = owned
            self.link.tell({"own": child.number, "while": owned})

    def release(self, child: Child) -> None:
        """Called when the last attempt that a child had has ended."""
        if child.leaving and not child.attempts:
            self.pipes.hang_up(child)

    def _bury(self, child: Child, exit: Exit) -> None:
        self.pipes.close(child)
        self.on_exit(child, exit)

    @property
    def available(self) -> list[Child]:
        """Children that take work."""
        return [child for child in self.children.values() if not child.leaving]

    def memory(self) -> int:
        """Bytes held by the whole worker: itself, template, children."""
        pids = [os.getpid(), *self.link.pids, *(child.pid for child in self.children.values() if child.pid)]
        return sum(map(processes.share, pids))

    def close(self) -> None:
        """End every process; returns when all have."""
        self.link.close()
