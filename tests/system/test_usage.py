"""What processes use: with their descendants, and only as far as the system tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from qorworker.system.usage import catches, state_of, usage_of
from tests.support import wait_until

MIB = 1024 * 1024
GROWS = "import time; held = bytearray(80 * 1024 * 1024); print('ready', flush=True); time.sleep(600)"


def ended_number():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_descendants_count():
    before = usage_of(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", GROWS], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        assert usage_of(os.getpid()).memory > before.memory + 60 * MIB
    finally:
        child.kill()
        child.communicate()


def test_processor_time_of_descendants_that_have_ended_counts():
    before = usage_of(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"], check=True)
    assert usage_of(os.getpid()).cpu > before.cpu


def test_a_process_that_is_gone_uses_nothing_that_is_known():
    assert usage_of(ended_number()) is None
    assert state_of(ended_number()) == ""


def test_the_state_is_told_as_the_system_calls_it():
    child = subprocess.Popen(["sleep", "600"])
    try:
        wait_until(lambda: state_of(child.pid).startswith("S"))
        child.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(child.pid) == "T (stopped)")
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("block", [False, True])
def test_only_a_signal_with_a_handler_that_is_not_blocked_is_caught(block):
    number = signal.SIGRTMIN + 9
    before = signal.signal(number, lambda *given: None)
    try:
        if block:
            signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        assert catches(os.getpid(), number) is not block
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.signal(number, before)
    assert not catches(os.getpid(), number)
    assert not catches(ended_number(), number)
