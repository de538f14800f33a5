"""A function that is called in a fork: its answer, its end, and that it never outlives who called it."""

import signal
import subprocess
import sys

import pytest

from qorworker.system.forking import call_in_fork
from tests.support import ROOT, alive, wait_until

CALLS = """\
import os, sys, time
from pathlib import Path
from qorworker.system.forking import call_in_fork

def note_and_sleep():
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(600)

call_in_fork(note_and_sleep)
"""


def test_the_answer_comes_back_and_nothing_else_does():
    kept = []
    assert call_in_fork(lambda: kept.append(1) or [len(kept), "é" * 100_000]) == [1, "é" * 100_000]
    assert kept == []


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_there_is_no_answer_after_an_error(error):
    def fail():
        raise error

    assert call_in_fork(fail) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_its_caller(tmp_path, number):
    note = tmp_path / "note"
    caller = subprocess.Popen([sys.executable, "-c", CALLS, str(note)], cwd=ROOT, stderr=subprocess.DEVNULL)
    fork = int(wait_until(lambda: note.exists() and note.read_text()))
    caller.send_signal(number)
    caller.wait()
    wait_until(lambda: not alive(fork))
