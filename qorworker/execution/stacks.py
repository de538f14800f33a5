"""Where a job is right now, as text: the stacks of its threads and of its asyncio tasks. Wherever a job runs.

Only files, lines and functions are told, and no values. What calls the handler is left out.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from qorworker.execution import coroutines, middleware

MOST = 30  # threads, and tasks of a loop, that are told
FRAMES = 60  # of each, the innermost ones
CALLER = middleware.__file__  # its frames, and those outside of them, are the same for all jobs


def of_process(frame: FrameType, thread: int | None = None) -> str:
    """Return the stack of the handler, whose innermost frame is *frame*, of its tasks, and of other threads.

    :param thread: the identifier of the thread of the handler; None: this one.
    """
    thread = threading.get_ident() if thread is None else thread
    try:
        parts = [_titled(_name_of(thread), _of_frames(_outwards(frame)))]
        for loop in list(coroutines.running_loops):
            parts += [_of_task(task) for task in list(asyncio.all_tasks(loop))[:MOST]]
        others = [(number, top) for number, top in sys._current_frames().items() if number != thread]
        parts += [_titled(_name_of(number), _of_frames(_outwards(top))) for number, top in others[:MOST]]
        return "\n".join(parts)
    except Exception as error:  # in a handler of a signal it would end the job
        return f"Its stack could not be read: {type(error).__name__}"


def of_tasks(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """Return the stacks of *tasks*, the first of which runs the handler."""
    try:
        return "\n".join(_of_task(task) for task in list(tasks)[:MOST])
    except Exception as error:
        return f"Its stack could not be read: {type(error).__name__}"


def _titled(title: str, lines: str) -> str:
    return f"{title} (most recent call last):\n{lines}"


def _name_of(ident: int) -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return f"Thread {names.get(ident, ident)}"


def _of_task(task: asyncio.Task[Any]) -> str:
    name = getattr(task.get_coro(), "__qualname__", "")
    return _titled(f"Task {task.get_name()} {name}".rstrip(), _of_frames(list(_awaited(task.get_coro()))))


def _awaited(coroutine: Any) -> Iterator[FrameType]:
    """Yield the frames of a coroutine and of what it awaits, the outermost first."""
    while coroutine is not None:
        frame = _attribute(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            yield frame
        coroutine = _attribute(coroutine, "cr_await", "gi_yieldfrom", "ag_await")


def _attribute(owner: Any, *names: str) -> Any:
    return next((getattr(owner, name) for name in names if hasattr(owner, name)), None)


def _outwards(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of a thread, the outermost first."""
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def _of_frames(frames: list[FrameType]) -> str:
    """Return *frames* as a traceback shows them, from the handler on if it is among them."""
    calls = [place for place, frame in enumerate(frames) if frame.f_code.co_filename == CALLER]
    if calls and calls[-1] < len(frames) - 1:
        frames = frames[calls[-1] + 1 :]
    shown = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames[-FRAMES:])
    return "".join(shown.format())
