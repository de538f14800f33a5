"""Restores the state of a process after each job: signals, environment, limits, logging. Child process.

Each value is compared after a job and restored if it differs. A process with a value that cannot be restored is
replaced. The contents of Python's modules, such as attributes that a job assigned, are not compared.
"""

from __future__ import annotations

import asyncio
import copy
import decimal
import faulthandler
import gc
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import warnings

# Those of the public modules make enums, or convert what they return, at up to ten times the cost.
from _locale import setlocale as read_locale
from _signal import getsignal as handler_of  # type: ignore[import-not-found]
from _signal import pthread_sigmask as mask_signals
from collections.abc import Callable
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any

from qorworker.worker.leaving import LEAVE_SIGNAL, SUSPEND_SIGNAL

DESCRIPTORS = 64  # that jobs may leave open before their process is replaced
LIMITS = (
    resource.RLIMIT_CPU,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_DATA,
    resource.RLIMIT_STACK,
    resource.RLIMIT_CORE,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_AS,
)
SELF = (os.PRIO_PROCESS, 0)
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
SIGNALS = tuple(sorted({*map(int, signal.Signals)} | ({SUSPEND_SIGNAL} if SUSPEND_SIGNAL else set())))


class Value:
    """A part of the process's state: *read* returns it, *put* sets it if that is possible."""

    def __init__(self, name: str, read: Callable[[], Any], put: Callable[[Any], object] | None = None) -> None:
        self.name, self.read, self.put = name, read, put
        self.before = copy.copy(read())

    def restored(self) -> bool:
        """Restore the value if it has changed. Return whether it is as before."""
        if self.read() == self.before:
            return True
        if self.put is None:
            return False
        try:
            self.put(self.before)
        except (OSError, ValueError, locale.Error):
            return False
        return bool(self.read() == self.before)


class Attributes:
    """The attributes of an object as a mapping, for one that computes some of them."""

    def __init__(self, owner: object) -> None:
        self.owner = owner

    def __getitem__(self, name: str) -> Any:
        return getattr(self.owner, name)


class Loggers(Value):
    """Levels, handlers and filters of all loggers. New loggers stay as the job, or a module, made them."""

    parts = ("level", "propagate", "disabled", "handlers", "filters")
    state = itemgetter(*parts)

    def __init__(self) -> None:
        self.loggers: list[logging.Logger] = []
        self.states: list[Any] = []  # the attributes of each, as a mapping: to read these takes half of the time
        super().__init__("logging", self._read, self._put)
        self._adopt()

    def _read(self) -> list[Any]:
        manager = logging.root.manager
        return [len(manager.loggerDict), manager.disable, *map(self.state, self.states)]

    def _put(self, before: list[Any]) -> None:
        for logger, (level, propagate, disabled, handlers, filters) in zip(self.loggers, before[2:], strict=True):
            logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, disabled
            logger.handlers[:], logger.filters[:] = handlers, filters
        logging.disable(before[1])
        self._adopt()

    def _adopt(self) -> None:
        kept, candidates = set(self.loggers), [logging.root, *logging.root.manager.loggerDict.values()]
        new = [each for each in candidates if isinstance(each, logging.Logger) and each not in kept]
        self.loggers += new
        self.states += [vars(each) if vars(each).keys() >= {*self.parts} else Attributes(each) for each in new]
        count, disabled_below, *states = self._read()
        lists = [(*state[:3], list(state[3]), list(state[4])) for state in states]
        self.before = [count, disabled_below, *lists]


class Chance:
    """The module ``random``: what a job draws must not follow from what the job before did."""

    def __init__(self) -> None:
        self.twin = random.Random()  # noqa: S311
        self._seed()

    def renew(self) -> None:
        """Give it a new seed if the job has used it, and so parted it from its twin. A seed takes 6 µs, this 0.2."""
        if random.getrandbits(64) != self.twin.getrandbits(64):
            self._seed()

    def _seed(self) -> None:
        seed = int.from_bytes(os.urandom(8))
        random.seed(seed)
        self.twin.seed(seed)


class Leftovers:
    """All values that are compared after a job. Made when the process is ready for its first job."""

    def __init__(self) -> None:
        self.values = [
            Value("timers", lambda: [*map(signal.getitimer, TIMERS)], _put_timers),
            Value("signal handlers", lambda: [*map(handler_of, SIGNALS)], _put_handlers),
            Value(
                "signal mask", partial(mask_signals, signal.SIG_BLOCK, ()), partial(mask_signals, signal.SIG_SETMASK)
            ),
            Value("working directory", _folder, os.chdir),
            Value("environment", _environment, _put_environment),
            Value("time zone", partial(attrgetter("timezone", "tzname"), time), lambda zone: time.tzset()),
            Value("locale", partial(read_locale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
            Value("resource limits", lambda: [*map(resource.getrlimit, LIMITS)], _put_limits),
            Value("priority", partial(os.getpriority, *SELF), partial(os.setpriority, *SELF)),
            Value("user and group", lambda: (os.getuid(), os.geteuid(), os.getgid(), os.getegid())),
            Value("socket timeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
            Value("warning filters", partial(attrgetter("filters"), warnings), _put_filters),
            Value("garbage collector", lambda: (gc.isenabled(), gc.get_threshold(), gc.get_debug()), _put_collector),
            Value("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
            Value("switch interval", sys.getswitchinterval, sys.setswitchinterval),
            _attributes("hooks", sys, "excepthook", "unraisablehook", "displayhook", "breakpointhook"),
            _attributes("hooks of threads", threading, "excepthook", "__excepthook__"),
            _attributes("hooks of warnings", warnings, "showwarning", "formatwarning"),
            Value("standard descriptors", _standard_files),
            Loggers(),
        ]
        if LEAVE_SIGNAL is not None:  # it may have come and not been heard: this process must start no other job
            self.values.append(Value("signal to leave", partial(handler_of, LEAVE_SIGNAL)))
        if hasattr(os, "sched_getaffinity"):
            self.values.append(Value("processors", partial(os.sched_getaffinity, 0), partial(os.sched_setaffinity, 0)))
        if sys.version_info < (3, 14):
            policy = Value("event loop policy", asyncio.get_event_loop_policy, asyncio.set_event_loop_policy)
            self.values.append(policy)
        self.reads = [value.read for value in self.values]
        self.before = [value.before for value in self.values]
        umask = os.umask(0)
        os.umask(umask)
        context = decimal.getcontext().copy()
        self.always: list[Callable[[], object]] = [  # setting these is cheaper than comparing them, or the only way
            faulthandler.cancel_dump_traceback_later,
            partial(signal.set_wakeup_fd, -1),
            partial(os.umask, umask),
            partial(setattr, os, "environ", os.environ),
            partial(setattr, os, "environb", os.environb),
            lambda: decimal.setcontext(context.copy()),
            Chance().renew,
        ]
        self.most_descriptors = _lowest_free() + DESCRIPTORS

    def restore(self) -> list[str]:
        """Restore what the last job changed. Return the names of the values that could not be restored."""
        for restore in self.always:
            restore()
        lasting = []
        if [read() for read in self.reads] != self.before:
            lasting = [value.name for value in self.values if not value.restored()]
            self.before = [value.before for value in self.values]
        if _lowest_free() > self.most_descriptors:
            lasting.append("open descriptors")
        return lasting


def _attributes(name: str, owner: object, *attributes: str) -> Value:
    def put(values: tuple[Any, ...]) -> None:
        for attribute, value in zip(attributes, values, strict=True):
            setattr(owner, attribute, value)

    return Value(name, partial(attrgetter(*attributes), owner), put)


def _put_timers(before: list[tuple[float, float]]) -> None:
    for timer, value in zip(TIMERS, before, strict=True):
        signal.setitimer(timer, *value)


def _put_handlers(before: list[Any]) -> None:
    for number, handler in zip(SIGNALS, before, strict=True):
        if handler_of(number) != handler and handler is not None:  # None: not set by Python
            signal.signal(number, handler)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it was deleted


def _environment() -> dict[Any, Any]:
    return os.environ._data  # type: ignore[attr-defined,no-any-return]  # the mapping itself decodes each entry


def _put_environment(before: dict[bytes, bytes]) -> None:
    os.environb.clear()
    os.environb.update(before)


def _put_limits(before: list[tuple[int, int]]) -> None:
    for limit, value in zip(LIMITS, before, strict=True):
        if resource.getrlimit(limit) != value:
            resource.setrlimit(limit, value)


def _put_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]
    with warnings.catch_warnings():
        pass  # makes the module forget what it cached for the other filters


def _put_collector(before: tuple[bool, tuple[int, int, int], int]) -> None:
    enabled, threshold, debug = before
    (gc.enable if enabled else gc.disable)()
    gc.set_threshold(*threshold)
    gc.set_debug(debug)


def _standard_files() -> list[tuple[int, int]]:
    """Return device and inode of the files behind the standard descriptors, zeros for one that is closed."""
    files = []
    for descriptor in (0, 1, 2):
        try:
            status = os.fstat(descriptor)
            files.append((status.st_dev, status.st_ino))
        except OSError:
            files.append((0, 0))
    return files


def _lowest_free() -> int:
    """Return the lowest free descriptor: descriptors that are left open push it up."""
    try:
        probe = os.dup(0)
    except OSError:
        return 0  # descriptor 0 itself
    os.close(probe)
    return probe
