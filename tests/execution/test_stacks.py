"""Stacks as text: the handler and its tasks, without what calls it and without values."""

from __future__ import annotations

import asyncio
import sys
import threading

from qorworker.execution import coroutines, stacks


def test_the_stack_of_a_thread_ends_with_where_it_is():
    text = stacks.of_process(sys._getframe())
    assert text.startswith(f"Thread {threading.current_thread().name} (most recent call last):\n")
    first = text.split("\nThread")[0]
    assert "test_the_stack_of_a_thread_ends_with_where_it_is" in first.splitlines()[-2]


def test_other_threads_are_told_by_their_names():
    gate = threading.Event()
    helper = threading.Thread(target=gate.wait, name="the helper")
    helper.start()
    try:
        assert "Thread the helper (most recent call last):" in stacks.of_process(sys._getframe())
    finally:
        gate.set()
        helper.join()


def test_a_task_is_told_with_all_that_it_awaits():
    async def innermost():
        await asyncio.sleep(600)

    async def outer():
        await innermost()

    async def look():
        task = asyncio.create_task(outer(), name="of the job")
        await asyncio.sleep(0)
        text = stacks.of_tasks([task])
        task.cancel()
        return text, stacks.of_process(sys._getframe())

    own, whole = coroutines.run(look())
    assert own.startswith("Task of the job ")
    assert own.index("in outer") < own.index("in innermost")
    assert "Task of the job" in whole
    assert coroutines.running_loops == set()


def test_a_stack_is_never_endless():
    def deeper(depth):
        return deeper(depth - 1) if depth else stacks.of_process(sys._getframe())

    text = deeper(300).split("\nThread")[0]
    assert "deeper" in text
    assert len(text) < 16_000


def test_what_cannot_be_read_is_said_and_does_not_end_the_job(monkeypatch):
    def fail():
        raise RuntimeError

    monkeypatch.setattr(sys, "_current_frames", fail)
    assert stacks.of_process(sys._getframe()) == "Its stack could not be read: RuntimeError"
