"""The template: a fresh process with Django set up, from which children are forked. Template process.

It has no database connection and no thread. It is the parent of every child, so it alone signals and reaps them:
a number cannot come to mean another process before it was reaped here. And it outlives its own parent by a moment:
when the control socket closes, every process of every job is killed.

Messages from the parent                         to the parent
    {"fork": n} with the child's descriptors         {"ready": pid} or {"failed": why}
    {"stop": n, "grace": seconds}                    {"forked": n, "pid": pid}
    {"own": n, "while": true | false}                {"exited": n, "status": exit, "peak": bytes, "survivors": n}
    {"deadline": boot-time seconds}
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from typing import Any

from qorworker.worker import processes

DESCRIPTORS = 3
SURVIVAL = 5.0  # seconds after KILL in which a process must be gone, else it is reported as a survivor
SWEEP = 0.01


@dataclass(slots=True)
class Leader:
    """A child, as its template sees it: the leader of a session, and of whatever its jobs start."""

    number: int
    pid: int
    kill_at: float | None = None
    ended_at: float | None = None
    status: int = 0
    peak: int = 0
    owned: bool = False  # runs an attempt that must stop when the lease may have passed to somebody else


class Template:
    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.leaders: dict[int, Leader] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        self.deadline: float | None = None
        self.orphaned = False

    def main(self) -> None:
        wake, bell = socket.socketpair()
        for end in (wake, bell):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
        self.selector.register(wake, selectors.EVENT_READ)
        self.wakeup = (wake, bell)
        while not self.orphaned or self.leaders:
            for key, _ in self.selector.select(self.patience()):
                if key.fileobj is self.control:
                    self.listen()
                else:
                    with contextlib.suppress(BlockingIOError):
                        wake.recv(4096)
            self.tend()

    def patience(self) -> float | None:
        """Seconds until something must be done although nothing was heard."""
        if any(leader.ended_at is not None for leader in self.leaders.values()):
            return SWEEP
        moments = [leader.kill_at for leader in self.leaders.values() if leader.kill_at is not None]
        if self.deadline is not None and any(leader.owned for leader in self.leaders.values()):
            moments.append(self.deadline)
        return max(0.0, min(moments) - processes.monotonic()) if moments else None

    # From the parent.

    def listen(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self.control, 1 << 16, DESCRIPTORS)
        except OSError:
            message, descriptors = b"", []
        if not message:
            self.forsake()
            return
        order: dict[str, Any] = json.loads(message)
        if "fork" in order:
            self.fork(order["fork"], descriptors)
        elif "stop" in order:
            self.stop(order["stop"], order["grace"])
        elif "own" in order:
            if leader := self.leaders.get(order["own"]):
                leader.owned = order["while"]
        elif "deadline" in order:
            self.deadline = order["deadline"]

    def forsake(self) -> None:
        """The parent is gone: nobody may go on in its name."""
        self.orphaned = True
        self.selector.unregister(self.control)
        for leader in self.leaders.values():
            self.kill(leader)

    def fork(self, number: int, descriptors: list[int]) -> None:
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self.tell({"exited": number, "status": 1, "peak": 0, "survivors": 0, "error": str(error)})
            for descriptor in descriptors:
                os.close(descriptor)
            return
        if not pid:
            self.become_child(descriptors, template)
        for descriptor in descriptors:
            os.close(descriptor)
        self.leaders[number] = Leader(number, pid)
        self.tell({"forked": number, "pid": pid})

    def become_child(self, descriptors: list[int], template: int) -> None:
        try:
            signal.set_wakeup_fd(-1)
            self.selector.close()
            self.control.close()
            for end in self.wakeup:
                end.close()
            from qorworker.worker import child

            work, records, output = descriptors
            child.run(work, socket.socket(fileno=records), output, template)
        finally:
            os._exit(1)

    def stop(self, number: int, grace: float) -> None:
        leader = self.leaders.get(number)
        if leader is None or leader.ended_at is not None:
            return
        if grace <= 0:
            self.kill(leader)
            return
        kill_at = processes.monotonic() + grace
        if leader.kill_at is None:
            with contextlib.suppress(OSError):
                os.killpg(leader.pid, signal.SIGTERM)
        leader.kill_at = kill_at if leader.kill_at is None else min(kill_at, leader.kill_at)

    # The children.

    def tend(self) -> None:
        now = processes.monotonic()
        self.reap()
        for leader in list(self.leaders.values()):
            if leader.ended_at is not None:
                continue
            overdue = leader.kill_at is not None and now >= leader.kill_at
            if overdue or (leader.owned and self.deadline is not None and now >= self.deadline):
                self.kill(leader)
        self.clear()

    def kill(self, leader: Leader) -> None:
        # Its group while it is unreaped; what left the group is adopted here once the leader is dead.
        for signal_process in (os.killpg, os.kill):
            with contextlib.suppress(OSError):
                signal_process(leader.pid, signal.SIGKILL)
        leader.kill_at = None

    def reap(self) -> None:
        """Notice leaders that ended. They stay unreaped until their group was killed."""
        for leader in self.leaders.values():
            if leader.ended_at is None:
                with contextlib.suppress(ChildProcessError):
                    if os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                        with contextlib.suppress(OSError):
                            os.killpg(leader.pid, signal.SIGKILL)
                        _, status, usage = os.wait4(leader.pid, 0)
                        leader.ended_at = processes.monotonic()
                        leader.status, leader.peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024

    def clear(self) -> None:
        """Kill what the ended leaders left behind, then report them."""
        ended = [leader for leader in self.leaders.values() if leader.ended_at is not None]
        if not ended:
            # Nothing ended lately, but a stray may have been adopted from a leader reported before.
            return
        strays = self.strays()
        for pid in strays:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        strays = [pid for pid in strays if not self.buried(pid)]
        now = processes.monotonic()
        for leader in ended:
            if not strays or now - (leader.ended_at or now) > SURVIVAL:
                del self.leaders[leader.number]
                self.tell(
                    {"exited": leader.number, "status": leader.status, "peak": leader.peak, "survivors": len(strays)}
                )

    def strays(self) -> list[int]:
        """Children that are no leaders: orphans of a job, adopted when their own parent died."""
        leaders = {leader.pid for leader in self.leaders.values() if leader.ended_at is None}
        return [pid for pid in processes.children_of(os.getpid()) if pid not in leaders]

    def buried(self, pid: int) -> bool:
        try:
            return os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            return True

    def tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps(message).encode())


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    hello = json.loads(control.recv(1 << 16))
    sys.path[:] = hello["path"]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid()
    processes.adopt_orphans()
    template = Template(control)
    try:
        import django

        django.setup()
        from django.db import connections

        from qorworker.worker import child  # noqa: F401 - imported once here, not in every child

        connections.close_all()
    except BaseException:
        template.tell({"failed": traceback.format_exc()[-8000:]})
        raise
    gc.collect()
    gc.freeze()  # what is here now is shared by all children; the collector must not touch it
    template.tell({"ready": os.getpid()})
    template.main()


if __name__ == "__main__":
    main()
