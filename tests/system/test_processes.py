"""Who is alive, who descends from whom, and that only the right ones are ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qorworker.system import processes
from tests.support import ROOT, alive, wait_until


@pytest.fixture
def sleeping():
    """``sleeping(COOKIE="x")``: a process with this environment."""
    started = []

    def start(**environment):
        process = subprocess.Popen(["sleep", "600"], env=environment)
        started.append(process)
        if environment:  # for a moment a new program has none
            wait_until(Path(f"/proc/{process.pid}/environ").read_bytes)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_process_is_told_by_its_start(sleeping):
    process = sleeping()
    begun = processes.started(process.pid)
    assert begun is not None
    assert begun == processes.started(process.pid)
    assert processes.started(os.getpid()) != begun


def test_a_zombie_is_not_alive(sleeping):
    process = sleeping()
    process.kill()
    wait_until(lambda: not alive(process.pid))
    assert processes.started(process.pid) is None


def test_a_process_has_ended_only_with_its_last_thread():
    code = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=[600]).start()"
    code += "; print('ready', flush=True); ctypes.CDLL(None).pthread_exit(None)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        wait_until(lambda: processes.started(process.pid) is None)
        assert not processes.has_ended(process.pid)
        process.kill()
        wait_until(lambda: processes.has_ended(process.pid))
    finally:
        process.kill()
        process.wait()


def test_there_is_no_start_of_nobody():
    assert processes.started(2**30) is None
    assert processes.resident_memory(2**30) == 0


def test_identity_is_this_process_on_this_boot():
    me = processes.identity()
    assert (me.process_id, me.process_started) == (os.getpid(), processes.started(os.getpid()))
    assert me.boot_id
    assert me.pid_namespace.startswith("pid:")


def test_children_are_found(sleeping):
    process = sleeping()
    assert process.pid in processes.children_of(os.getpid())
    assert processes.children_of(process.pid) == []


def test_a_sweep_ends_those_with_the_cookie_and_nobody_else(sleeping):
    own = [sleeping(**{processes.COOKIE: "a" * 32}) for _ in range(3)]
    others = [
        sleeping(**{processes.COOKIE: "b" * 32}),
        sleeping(**{processes.COOKIE: "a" * 33}),
        sleeping(OTHER=f"{processes.COOKIE}={'a' * 32}"),
        sleeping(),
    ]
    assert sorted(processes.with_cookie("a" * 32)) == sorted(process.pid for process in own)
    assert processes.kill_with_cookie("a" * 32) == 3
    wait_until(lambda: not any(alive(process.pid) for process in own))
    assert all(alive(process.pid) for process in others)


def test_what_ends_by_itself_is_waited_for_and_what_was_stopped_goes_on(sleeping):
    process = sleeping(**{processes.COOKIE: "a" * 32})
    os.kill(process.pid, signal.SIGSTOP)
    process.terminate()  # heard once it goes on
    processes.await_end("a" * 32, 60.0)
    assert not alive(process.pid)


def test_what_does_not_end_is_not_waited_for_longer_than_that(sleeping):
    process = sleeping(**{processes.COOKIE: "a" * 32})
    processes.await_end("a" * 32, 0.01)
    assert alive(process.pid)


MARKED = """\
import os, subprocess, time
from qorworker.system.processes import mark

if not os.fork():
    mark("a" * 32)
    if os.fork():
        subprocess.Popen(["sleep", "600"])
time.sleep(600)
"""


def test_a_forked_process_is_found_by_its_cookie_with_all_that_it_starts():
    unmarked = subprocess.Popen([sys.executable, "-c", MARKED], cwd=ROOT, start_new_session=True)
    try:
        wait_until(lambda: len(processes.with_cookie("a" * 32)) == 3)  # its fork, and its program
        assert not processes.signal_verified(unmarked.pid, "a" * 32, signal.SIGKILL)
        assert processes.with_cookie("a" * 31) == []
        assert processes.kill_with_cookie("a" * 32) == 3
        assert alive(unmarked.pid)
    finally:
        os.killpg(unmarked.pid, 9)
        unmarked.wait()


def test_an_empty_cookie_is_nobodys(sleeping):
    process = sleeping(**{processes.COOKIE: ""})
    assert processes.kill_with_cookie("") == 0
    assert alive(process.pid)


def test_a_process_is_ended_only_if_it_is_the_one(sleeping):
    process = sleeping(**{processes.COOKIE: "a" * 32})
    assert not processes.signal_verified(process.pid, "b" * 32, signal.SIGKILL)
    assert alive(process.pid)
    assert processes.signal_verified(process.pid, "a" * 32, signal.SIGKILL)
    assert not processes.signal_verified(2**22, "a" * 32, signal.SIGKILL)


def test_a_child_dies_with_its_parent():
    child = "import os, time; from qorworker.system.processes import die_with_parent; die_with_parent(os.getppid())"
    child += "; print('ready', flush=True); time.sleep(600)"
    parent = f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {child!r}])"
    parent += "; print(p.pid, flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    words = [process.stdout.readline().strip(), process.stdout.readline().strip()]
    pid = next(int(word) for word in words if word.isdigit())
    assert "ready" in words
    process.kill()
    process.wait()
    wait_until(lambda: not alive(pid), 10)


def test_a_child_whose_parent_is_gone_already_leaves_at_once():
    code = "from qorworker.system.processes import die_with_parent; die_with_parent(1 << 22); print('stayed')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_process_that_is_only_hidden_is_not_gone(monkeypatch):
    monkeypatch.setattr(processes, "_stat", lambda pid: None)
    assert processes.provably_gone(2**22 + 1, 1)

    def forbidden(pid, number):
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    assert not processes.provably_gone(1, 1)
