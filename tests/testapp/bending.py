"""What a job can do to its process, and how the next one finds that process. Nothing here uses the code under test."""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import faulthandler
import gc
import json
import locale
import logging
import logging.config
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

from django.db import connection
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.utils import timezone, translation

variable = contextvars.ContextVar("variable", default="untouched")
executor = ThreadPoolExecutor(2)
kept: list[object] = []
if os.environ.get("QORWORKER_TEST_QUERY_AT_IMPORT"):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")

if os.environ.get("QORWORKER_TEST_WRAP_CONNECTIONS"):

    @receiver(connection_created, weak=False)
    def add_wrapper(connection, **kwargs):
        connection.execute_wrappers.append(lambda execute, *given: execute(*given))


def _soft(limit: int, value: int) -> None:
    resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


def _hard(limit: int, value: int) -> None:
    resource.setrlimit(limit, (value, value))


def _set(owner: object, name: str, value: object) -> None:
    setattr(owner, name, value)


def _thread(target: object, daemon: bool) -> None:
    threading.Thread(target=target, daemon=daemon).start()


BENDS = {
    "alarm": lambda: signal.alarm(1),
    "timer": lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 0.01),
    "traceback later": lambda: faulthandler.dump_traceback_later(1, exit=True),
    "ignored signal": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "signal handler": lambda: signal.signal(signal.SIGUSR2, lambda *_: None),
    "blocked signal": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
    "wakeup descriptor": lambda: signal.set_wakeup_fd(_nonblocking(), warn_on_full_buffer=False),
    "umask": lambda: os.umask(0o777),
    "folder": lambda: os.chdir("/"),
    "variable added": lambda: os.environ.update(QW_ADDED="1"),
    "variable removed": lambda: os.environ.pop("PATH"),
    "variable changed": lambda: os.environ.update(PATH="/nowhere"),
    "environment replaced": lambda: _set(os, "environ", os.environ.copy()),
    "time zone": lambda: (os.environ.update(TZ="Asia/Tokyo"), time.tzset()),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C"),
    "soft limit": lambda: _soft(resource.RLIMIT_CPU, 1000),
    "hard limit": lambda: _hard(resource.RLIMIT_CORE, 0),
    "processor time": lambda: _hard(resource.RLIMIT_CPU, 100_000),
    "socket timeout": lambda: socket.setdefaulttimeout(0.001),
    "warnings are errors": lambda: warnings.simplefilter("error"),
    "captured warnings": lambda: logging.captureWarnings(True),
    "decimal": lambda: _set(decimal.getcontext(), "prec", 2),
    "random": lambda: random.seed(42),
    "no garbage collector": gc.disable,
    "thresholds": lambda: gc.set_threshold(1, 1, 1),
    "recursion": lambda: sys.setrecursionlimit(300),
    "switch interval": lambda: sys.setswitchinterval(1),
    "standard output": lambda: _set(sys, "stdout", None),
    "closed stream": lambda: sys.stdout.close(),
    "detached stream": lambda: sys.stdout.detach(),
    "hook": lambda: _set(sys, "excepthook", print),
    "hook of threads": lambda: _set(threading, "excepthook", print),
    "language": lambda: translation.activate("fr"),
    "zone": lambda: timezone.activate("Asia/Tokyo"),
    "context variable": lambda: variable.set("bent"),
    "nice": lambda: os.nice(1),
    "processors": lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]),
    "event loop policy": lambda: asyncio.set_event_loop_policy(type("Policy", (asyncio.DefaultEventLoopPolicy,), {})()),
    "logging configured": lambda: logging.config.dictConfig({"version": 1, "root": {"level": "CRITICAL"}}),
    "logging disabled": lambda: logging.disable(logging.CRITICAL),
    "level": lambda: logging.getLogger("testapp").setLevel(logging.CRITICAL),
    "handlers": logging.root.handlers.clear,
    "thread": lambda: _thread(lambda: time.sleep(600), daemon=False),
    "daemon thread": lambda: _thread(lambda: time.sleep(600), daemon=True),
    "quick thread": lambda: _thread(lambda: time.sleep(0.05), daemon=False),
    "work in an executor": lambda: executor.submit(time.sleep, 600),
    "work done by an executor": lambda: executor.submit(time.sleep, 0.01).result(),
    "closed output": lambda: (os.close(1), os.close(2)),
    "other output": lambda: os.dup2(os.open(os.devnull, os.O_RDWR), 1),
    "other input": lambda: os.dup2(os.open("/etc/passwd", os.O_RDONLY), 0),
    "closed like a daemon": lambda: os.closerange(0, 256),
    "leaked descriptors": lambda: kept.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(200)),
    "process": lambda: subprocess.Popen(["sleep", "600"]),
}


def _nonblocking() -> int:
    ends = socket.socketpair()
    kept.extend(ends)
    ends[0].setblocking(False)
    return ends[0].fileno()


def state() -> str:
    """How a process looks to the job that starts in it, as JSON."""
    umask = os.umask(0)
    os.umask(umask)
    wakeup = signal.set_wakeup_fd(-1)
    return json.dumps(
        {
            "timers": [signal.getitimer(number) for number in (0, 1, 2)],
            "handlers": [_name(signal.getsignal(number)) for number in range(1, 32)],
            "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "wakeup": wakeup,
            "umask": umask,
            "folder": os.getcwd(),
            "environment": dict(os.environ),
            "zone": (time.tzname, time.timezone, timezone.get_current_timezone_name()),
            "locale": locale.setlocale(locale.LC_ALL),
            "limits": [resource.getrlimit(number) for number in range(16)],
            "timeout": socket.getdefaulttimeout(),
            "warnings": list(map(str, warnings.filters)),
            "show": _name(warnings.showwarning),
            "decimal": decimal.getcontext().prec,
            "collector": (gc.isenabled(), gc.get_threshold()),
            "recursion": sys.getrecursionlimit(),
            "switch": sys.getswitchinterval(),
            "streams": (type(sys.stdout).__name__, sys.stdout.writable(), sys.stdout.encoding),
            "hooks": (_name(sys.excepthook), _name(threading.excepthook)),
            "language": translation.get_language(),
            "variable": variable.get(),
            "priority": os.getpriority(os.PRIO_PROCESS, 0),
            "processors": sorted(os.sched_getaffinity(0)),
            "policy": type(asyncio.get_event_loop_policy()).__name__,
            "disabled": logging.root.manager.disable,
            "levels": {name: logging.getLogger(name).getEffectiveLevel() for name in ("", "testapp", "django")},
            "handlers of logging": len(logging.root.handlers),
            "silent": logging.getLogger("testapp").disabled,
            "busy": [each.name for each in threading.enumerate() if "Executor" not in each.name],
            "descriptors": [_kind(number) for number in (0, 1, 2)],
        }
    )


def _name(function: object) -> str:
    return getattr(function, "__qualname__", str(function))


def _kind(descriptor: int) -> int:
    return os.fstat(descriptor).st_mode >> 12
