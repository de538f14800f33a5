"""When the first fork server is forked from its parent, what it has of that, and what it has not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qorworker.worker.launch import CONTROL_SOCKET
from tests.support import ROOT, ended, environment, running_worker, wait_until
from tests.testapp import jobs

pytestmark = [pytest.mark.process, pytest.mark.once]
LEFT_BY_A_PROJECT = {
    "nothing": "",
    "a log file": "left = open(path, 'a')",
    "a file to read": "left = open(path)",
    "a thread": "threading.Thread(target=time.sleep, args=[60], daemon=True).start()",
    "a socket": "left = socket.socket()",
    "a pipe": "left = os.pipe()",
    "an event loop": "left = asyncio.new_event_loop()",
    "a file to write": "left = open(path, 'w')",
    "a lock of another program": "left = open(path); os.set_inheritable(left.fileno(), True)",
    "a database connection": "connection.ensure_connection()",
    "a debugger": "sys.settrace(lambda *event: None)",
    "a profiler": "sys.setprofile(lambda *event: None)",
}
SAFE = {"nothing", "a log file", "a file to read"}
# Each case in a fork of its own, which has no thread yet and nothing of the others.
ASK = """\
import asyncio, json, os, socket, sys, threading, time
import django
django.setup()
from django.db import connection
from qorworker.worker.early import is_safe

path, cases = sys.argv[1], json.loads(sys.argv[2])
for name, code in cases.items():
    pid = os.fork()
    if not pid:
        exec(code)
        if is_safe():
            print(name, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""

BOARD = "/memfd:qorworker board"  # of each child, which its parent reads


def test_it_is_forked_only_where_nothing_was_left_that_two_must_not_share(open_database, tmp_path):
    path = tmp_path / "file"
    path.touch()
    command = [sys.executable, "-c", ASK, str(path), json.dumps(LEFT_BY_A_PROJECT)]
    answer = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert set(answer.stdout.splitlines()) == SAFE


def is_new_program(pid):
    return f"{CONTROL_SOCKET}=".encode() in Path(f"/proc/{pid}/environ").read_bytes()


def test_one_that_has_died_is_replaced_by_a_new_program(start, ledger):
    worker = start(processes=1)
    fork_server = worker.fork_server()
    assert not is_new_program(fork_server)
    assert ended(jobs.noop.enqueue()).status == "done"
    os.kill(fork_server, signal.SIGKILL)
    wait_until(lambda: fork_server not in worker.census())
    assert ended(jobs.noop.enqueue()).status == "done"
    assert is_new_program(worker.fork_server())


def test_a_job_has_no_descriptor_of_the_parent(start, ledger):
    worker = start(processes=1)
    assert ended(jobs.noop.enqueue()).status == "done"
    theirs = opened_by(worker.parent()) | opened_by(worker.fork_server())
    [child] = worker.children()
    # Of a pipe between two processes both have the same name.
    assert {name for name in opened_by(child) & theirs if not name.startswith(("pipe:", BOARD))} == set()


def opened_by(pid):
    """What stands behind the descriptors of a process, without its output."""
    descriptors = Path(f"/proc/{pid}/fd")
    return {os.readlink(each) for each in descriptors.iterdir() if int(each.name) > 2}


def test_a_worker_that_ends_before_it_needs_one_leaves_none(open_database, tmp_path):
    with running_worker("--queues", "nowhere", folder=tmp_path, ready=False) as worker:
        assert worker.exit_status() == 1
        wait_until(lambda: worker.census() == [])
