"""When the threads of a job count as running."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from qorworker.worker.child import threads

pytestmark = pytest.mark.once


@pytest.fixture
def executor(monkeypatch):
    """An executor with one idle thread, the only thread beside that of the test."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()
        [thread] = executor._threads
        frames = threads.sys._current_frames
        monkeypatch.setattr(
            threads, "sys", SimpleNamespace(_current_frames=lambda: {thread.ident: frames()[thread.ident]})
        )
        while threads._busy():
            time.sleep(0.001)
        yield executor


def test_an_idle_thread_of_an_executor_does_not_count(executor):
    assert threads.still_running(0.0) is False


def test_a_thread_that_works_counts(executor):
    gate = threading.Event()
    executor.submit(gate.wait)
    try:
        assert threads.still_running(0.0) is True
    finally:
        gate.set()


def test_a_thread_that_has_taken_work_but_not_begun_it_counts(executor, monkeypatch):
    gate = threading.Event()
    executor._idle_semaphore.acquire()  # as submit() does

    def work_appears(seconds):
        monkeypatch.setattr(threads, "time", time)
        executor._idle_semaphore.release()
        executor.submit(gate.wait)

    monkeypatch.setattr(threads, "time", SimpleNamespace(monotonic=time.monotonic, sleep=work_appears))
    try:
        assert threads.still_running(0.0) is True
    finally:
        gate.set()


def test_a_place_that_is_missing_for_long_proves_nothing(executor):
    executor._idle_semaphore.acquire()
    assert threads.still_running(0.0) is False
