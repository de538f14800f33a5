"""A function that is called in a fork: its answer, its end, and that it never outlives who called it."""

import json
import signal
import subprocess
import sys

import pytest

from tests.support import ROOT, alive, wait_until

# In programs of their own: the process of a test may have threads, and must not be forked.
ANSWERS = """\
import json
from qorworker.system.forking import call_in_fork

def fail(error):
    raise error

kept = []
answers = [call_in_fork(lambda: kept.append(1) or [len(kept), "é" * 100_000])]
answers += [call_in_fork(lambda: fail(error)) for error in (ValueError, SystemExit, KeyboardInterrupt)]
print(json.dumps([answers, kept]))
"""
SLEEPS = """\
import os, sys, time
from pathlib import Path
from qorworker.system.forking import call_in_fork

def note_and_sleep():
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(600)

call_in_fork(note_and_sleep)
"""


def test_the_answer_comes_back_and_nothing_else_and_none_after_an_error():
    command = [sys.executable, "-c", ANSWERS]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == [[[1, "é" * 100_000], None, None, None], []]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_its_caller(tmp_path, number):
    note = tmp_path / "note"
    caller = subprocess.Popen([sys.executable, "-c", SLEEPS, str(note)], cwd=ROOT, stderr=subprocess.DEVNULL)
    fork = int(wait_until(lambda: note.exists() and note.read_text()))
    caller.send_signal(number)
    caller.wait()
    wait_until(lambda: not alive(fork))
