"""The fork server: a process with Django set up, from which children are forked. Fork server.

It has no database connection and no thread. It is the parent of every child, so it alone signals and reaps them: until
it reaps a child, no other process can get that number. And it outlives its own parent by a moment: when the control
socket closes, it kills every process of every job.

Messages from the parent                         to the parent
    {"cookie": mark} with the descriptor for errors  {"ready": pid, "own": its children that are no job's}
    {"fork": n} with the child's descriptors
    {"stop": n, "grace": seconds}                    {"forked": n, "pid": pid}
    {"own": n, "while": true | false}                {"exited": n, "status": exit, "peak": bytes, "survivors": n,
                                                      "expired": whether its lease was over}
    {"deadline": true, "at": boot-time seconds}
    {"leave": n}                                     {"asked": n}
    {"suspend": n}
    {"stack": n}
    {"ping": true}                                   {"pong": true}
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import traceback
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from qorworker.system import processes, termination
from qorworker.system.usage import catches
from qorworker.worker.launch import CONTROL_SOCKET
from qorworker.worker.leaving import DUMP_SIGNAL, LEAVE_SIGNAL, STACK_SIGNAL, SUSPEND_SIGNAL

DESCRIPTORS = 4
RunChild = Callable[[int, socket.socket, int, int, int], None]
REQUESTS_TO_END = {signal.SIGTERM}
SWEEP = 0.01  # seconds between two looks at killed processes while the end of their leader is still to be reported
LOOK = 0.5  # the same once it was reported


@dataclass(slots=True)
class Leader:
    """A child, as the fork server sees it: the leader of a session, and of all that its jobs start."""

    number: int
    pid: int
    kill_at: float | None = None
    has_ended: bool = False
    ended_at: float = 0.0
    strays_since: float = 0.0  # once it has ended: strays that were found earlier are not its own
    status: int = 0
    peak: int = 0
    owned: bool = False  # its attempt must stop once its lease may have passed
    expired: bool = False  # it was killed for that


class ForkServer:
    """Forks children, signals and reaps them, and kills what their jobs leave behind."""

    def __init__(self, control: socket.socket, run_child: RunChild) -> None:
        self.control = control
        self.run_child = run_child  # what a new process does; it never returns
        self.leaders: dict[int, Leader] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ)
        self.deadline: float | None = None
        self.orphaned = False
        self.leave_at = 0.0  # once orphaned: when this process exits at the latest
        self.own_children = frozenset(processes.own_children())  # started by the project's code while it loaded
        self.lingering: Sequence[int] = ()  # strays that were killed and have not ended yet
        self.killed = termination.KilledProcesses()

    def main(self) -> None:
        """Serve until the parent is gone and every process has ended, or a time-out is over."""
        wake, bell = socket.socketpair()
        for end in (wake, bell):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
        self.selector.register(wake, selectors.EVENT_READ)
        self.wakeup = (wake, bell)
        while not self.orphaned or self.leaders or (self.lingering and processes.monotonic() < self.leave_at):
            for key, _ in self.selector.select(self.seconds_until_due()):
                if key.fileobj is wake:
                    with contextlib.suppress(BlockingIOError):
                        wake.recv(4096)
            while not self.orphaned and self.listen():
                pass  # read all: after a pause an old deadline must not count before the new one is read
            self.step()

    def seconds_until_due(self) -> float | None:
        """Return the seconds until something is due. None to wait for messages only."""
        if any(leader.has_ended for leader in self.leaders.values()):
            return SWEEP
        moments = [leader.kill_at for leader in self.leaders.values() if leader.kill_at is not None]
        if self.lingering:
            moments.append(processes.monotonic() + LOOK)
        # One that was killed at its deadline need not end at once: its end is a signal of its own.
        if self.deadline is not None and any(each.owned and not each.expired for each in self.leaders.values()):
            moments.append(self.deadline)
        return max(0.0, min(moments) - processes.monotonic()) if moments else None

    # From the parent.

    def listen(self) -> bool:
        """Carry out an order, and return whether there was one."""
        try:
            message, descriptors = self.receive()
        except BlockingIOError:
            return False
        except OSError:
            message, descriptors = b"", []
        if not message:
            self.on_parent_gone()
            return False
        order: dict[str, Any] = json.loads(message)
        if "fork" in order:
            self.fork(order["fork"], descriptors)
        elif "stop" in order:
            self.stop(order["stop"], order["grace"])
        elif "own" in order:
            if leader := self.leaders.get(order["own"]):
                leader.owned = order["while"]
        elif "deadline" in order:
            self.deadline = order["at"]
        elif "leave" in order:
            if self.signal_child(order["leave"], LEAVE_SIGNAL):
                self.send({"asked": order["leave"]})
        elif "suspend" in order:
            self.signal_child(order["suspend"], SUSPEND_SIGNAL)
        elif "stack" in order:
            self.ask_for_stack(order["stack"])
        elif "ping" in order:
            self.send({"pong": True})
        return True

    def receive(self) -> tuple[bytes, list[int]]:
        """Do as ``socket.recv_fds``, without waiting: that function does not pass on its flags."""
        descriptors = array("i")
        room = socket.CMSG_LEN(DESCRIPTORS * descriptors.itemsize)
        message, ancillary, _, _ = self.control.recvmsg(1 << 16, room, socket.MSG_DONTWAIT)
        for _, _, data in ancillary:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        return message, list(descriptors)

    def on_parent_gone(self) -> None:
        """Kill all children: the parent is gone, and no job may run on."""
        self.orphaned, self.leave_at = True, processes.monotonic() + termination.EXIT_TIMEOUT
        self.selector.unregister(self.control)
        for leader in self.leaders.values():
            if not leader.has_ended:  # else another process may have its number by now
                self.kill(leader)

    def fork(self, number: int, descriptors: list[int]) -> None:
        """Fork a child with these descriptors, and report it."""
        fork_server = os.getpid()
        try:
            with requests_to_end_kept():
                pid = os.fork()
                if not pid:
                    self.become_child(descriptors, fork_server)
        except OSError as error:
            self.send({"exited": number, "status": 1, "peak": 0, "survivors": 0, "error": str(error)})
            for descriptor in descriptors:
                os.close(descriptor)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        self.leaders[number] = Leader(number, pid)
        self.send({"forked": number, "pid": pid})

    def become_child(self, descriptors: list[int], fork_server: int) -> None:
        """Turn this new process into a child. Never returns."""
        try:
            signal.set_wakeup_fd(-1)
            self.selector.close()
            self.control.close()
            for end in self.wakeup:
                end.close()
            work, records, output, board = descriptors
            self.run_child(work, socket.socket(fileno=records), output, board, fork_server)
        finally:
            os._exit(1)

    def stop(self, number: int, grace: float) -> None:
        """Ask a child to end, and kill it after *grace* seconds."""
        leader = self.leaders.get(number)
        if leader is None or leader.has_ended:
            return
        if grace <= 0:
            self.kill(leader)
            return
        kill_at = processes.monotonic() + grace
        if leader.kill_at is None:
            ask_to_end(leader.pid)
        leader.kill_at = kill_at if leader.kill_at is None else min(kill_at, leader.kill_at)

    def signal_child(self, number: int, signal_number: int | None) -> bool:
        """Send a signal to a child, and return whether it was sent."""
        leader = self.leaders.get(number)
        if leader is None or leader.has_ended or signal_number is None:
            return False
        with contextlib.suppress(OSError):
            os.kill(leader.pid, signal_number)
            return True
        return False

    def ask_for_stack(self, number: int) -> None:
        """Ask a child for its stack, in both ways. A signal that it does not handle would end it, and is not sent."""
        leader = self.leaders.get(number)
        for signal_number in (STACK_SIGNAL, DUMP_SIGNAL):
            if leader is not None and signal_number is not None and catches(leader.pid, signal_number):
                self.signal_child(number, signal_number)

    # The children.

    def step(self) -> None:
        """Reap, kill and report what is due."""
        now = processes.monotonic()
        self.reap()
        for leader in list(self.leaders.values()):
            if leader.has_ended:
                continue
            if leader.owned and not leader.expired and self.deadline is not None and now >= self.deadline:
                leader.expired = True
                self.kill(leader)
            elif leader.kill_at is not None and now >= leader.kill_at:
                self.kill(leader)
        self.report_ended()

    def kill(self, leader: Leader) -> None:
        """Kill a child and its process group."""
        # Until the leader is reaped its group has its number. What left the group is adopted here once it is dead.
        for signal_process in (os.killpg, os.kill):
            with contextlib.suppress(OSError):
                signal_process(leader.pid, signal.SIGKILL)
        leader.kill_at = None

    def reap(self) -> None:
        """Reap leaders that have ended, after their group was killed."""
        for leader in self.leaders.values():
            if not leader.has_ended:
                with contextlib.suppress(ChildProcessError):
                    if os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                        with contextlib.suppress(OSError):
                            os.killpg(leader.pid, signal.SIGKILL)
                        _, status, usage = os.wait4(leader.pid, 0)
                        leader.has_ended = True
                        # It may have ended before the last look, which then has found what it left behind.
                        leader.strays_since, leader.ended_at = self.killed.looked_at, processes.monotonic()
                        leader.status, leader.peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024

    def report_ended(self) -> None:
        """Kill what jobs have left behind, and only then report the leaders that have ended.

        Strays are looked for even if no leader has ended: a reported survivor may end later and hand on its children.
        """
        self.lingering = termination.kill_and_reap(self.strays)
        self.killed.note(self.lingering, processes.monotonic())
        for leader in [leader for leader in self.leaders.values() if leader.has_ended]:
            if self.killed.is_over(leader.strays_since, self.killed.looked_at - leader.ended_at):
                del self.leaders[leader.number]
                self.send(report(leader, self.killed.number(leader.strays_since)))

    def strays(self) -> list[int]:
        """Return the children that are no leaders: orphans of a job, adopted when their own parent died."""
        expected = {leader.pid for leader in self.leaders.values() if not leader.has_ended} | self.own_children
        return [pid for pid in processes.own_children() if pid not in expected]

    def send(self, message: dict[str, Any]) -> None:
        """Send the parent a message."""
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps(message).encode())


@contextlib.contextmanager
def requests_to_end_kept() -> Iterator[None]:
    """Have a request to end wait until a child that is forked in this block has a handler for it.

    This process ignores it. Some systems, macOS among them, discard a signal that is ignored even if it is blocked.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS_TO_END)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, REQUESTS_TO_END)


def ask_to_end(leader: int) -> None:
    """Send TERM to the process group of a child, or to the child that has no group of its own yet."""
    try:
        os.killpg(leader, signal.SIGTERM)
    except OSError:
        with contextlib.suppress(OSError):
            os.kill(leader, signal.SIGTERM)


def report(leader: Leader, survivors: int) -> dict[str, Any]:
    """Return the message about a leader that has ended."""
    ended = {"exited": leader.number, "status": leader.status, "peak": leader.peak}
    return {**ended, "survivors": survivors, "expired": leader.expired}


def serve() -> None:
    """Be the fork server, with Django set up. Returns when the parent has hung up and every job has ended."""
    _serve(socket.socket(fileno=int(os.environ.pop(CONTROL_SOCKET))), lambda cookie: None)


def serve_in_fork(control: socket.socket, parent: int) -> NoReturn:
    """Be the fork server, right after this process was forked from its parent."""

    def join(cookie: str) -> None:
        processes.mark(cookie)
        processes.outlive_parent()  # from now on this process is found by its mark

    status = 1
    try:
        os.setsid()
        processes.die_with_parent(parent)
        processes.close_input()
        _serve(control, join)
        status = 0
    except BaseException:  # nothing may go on with what the parent was about to do
        traceback.print_exc()
    finally:
        os._exit(status)


def _serve(control: socket.socket, join: Callable[[str], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    control.settimeout(None)  # whatever the project sets for all: with a limit even a look would wait
    processes.adopt_orphans()
    from qorworker.worker.child.main import prepare  # noqa: PLC0415 - only once Django is set up

    run_child = prepare()
    message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 1)
    if not message:
        return  # the parent does not need this process
    join(json.loads(message)["cookie"])
    for errors in descriptors:
        os.dup2(errors, 2)  # until now the parent has read what was printed
        os.close(errors)
    fork_server = ForkServer(control, run_child)
    gc.collect()
    gc.freeze()  # all children share what exists now; the collector must not touch it
    fork_server.send({"ready": os.getpid(), "own": sorted(fork_server.own_children)})
    fork_server.main()


def main() -> None:
    """Run a fork server that no management command has started."""
    import django  # noqa: PLC0415 - only once Django is set up

    django.setup()
    serve()
