"""What the parent ends in the place of a fork server that does not answer."""

from __future__ import annotations

import socket

from qorworker.system import processes, termination
from qorworker.worker.parent.channels import Child
from qorworker.worker.parent.fallback_killer import FallbackKiller

FORK_SERVER, LEADER, GRANDCHILD, STUCK = 100, 101, 102, 103


def test_a_process_handed_on_during_a_look_is_ended_before_the_child_counts_as_ended(monkeypatch):
    """The leader ends between the listing of the fork server's children and the look at each of them."""
    adopted: list[int] = []
    ended: set[int] = set()
    killed: list[int] = []

    def children_of(pid):
        listed = [LEADER, *adopted]
        if LEADER not in ended:  # it dies now, and its child is adopted too late for this listing
            ended.add(LEADER)
            adopted.append(GRANDCHILD)
        return listed

    def kill(fork_server, pid, number):
        killed.append(pid)
        ended.add(pid)

    monkeypatch.setattr(termination, "POLL_INTERVAL", 0)
    monkeypatch.setattr(processes, "children_of", children_of)
    monkeypatch.setattr(processes, "has_ended", lambda pid: pid in ended)
    monkeypatch.setattr(processes, "signal_child", kill)
    with socket.socket() as records:
        child = Child(1, work=-1, records=records, output=-1, pid=LEADER, stopping=True, asked_to_end_at=0.0)
        assert FallbackKiller().step(FORK_SERVER, (), [child], now=1.0) == [(child, 0)]
    assert killed == [GRANDCHILD]


def test_a_process_that_cannot_be_ended_is_a_survivor_of_its_own_job_only(monkeypatch):
    clock, lingering = [100.0], [[STUCK], [STUCK, GRANDCHILD], [STUCK]]
    monkeypatch.setattr(processes, "monotonic", lambda: clock[0])
    monkeypatch.setattr(processes, "has_ended", lambda pid: True)
    killer = FallbackKiller()
    monkeypatch.setattr(killer, "_kill_all_but", lambda spared: lingering[0])
    with socket.socket() as records:
        first, second = (
            Child(number, work=-1, records=records, output=-1, pid=pid, stopping=True, asked_to_end_at=0.0)
            for number, pid in ((1, LEADER), (2, LEADER + 10))
        )
        assert killer.step(FORK_SERVER, (), [first], now=1.0) == []
        clock[0] += termination.EXIT_TIMEOUT + 1
        assert killer.step(FORK_SERVER, (), [first], now=1.0) == [(first, 1)]
        del lingering[0]
        assert killer.step(FORK_SERVER, (), [second], now=1.0) == []
        del lingering[0]
        assert killer.step(FORK_SERVER, (), [second], now=1.0) == [(second, 0)]
