"""What ``manage.py check`` tells about a queue that cron serves: its options, its line, how django-crontab breaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks

from qorworker.backends.crontab import CRONJOBS, KEEPER_MODE, TICK_MODE, CrontabBackend


def problems(backend: CrontabBackend) -> Iterator[checks.CheckMessage]:
    yield from _options(backend, backend.queue_name)
    yield from _line(backend.queue_name)
    yield from _breaks()


def _jobs() -> list[tuple[object, ...]]:
    return [tuple(job) for job in getattr(django_settings, "CRONJOBS", ())]


def _options(backend: CrontabBackend, name: str) -> Iterator[checks.CheckMessage]:
    if backend.mode not in (TICK_MODE, KEEPER_MODE):
        yield checks.Error(
            f"The MODE of queue {name!r} is {backend.mode!r}.",
            hint=f"There are {TICK_MODE!r} and {KEEPER_MODE!r}.",
            id="qorworker.E030",
        )
    if not isinstance(backend.options.get("PROCESSES", 1), int) or backend.options.get("PROCESSES", 1) < 1:
        yield checks.Error(f"The PROCESSES of queue {name!r} must be a whole number above 0.", id="qorworker.E031")


def _line(name: str) -> Iterator[checks.CheckMessage]:
    if not apps.is_installed("django_crontab"):
        yield checks.Warning(
            f"Queue {name!r} waits for cron, but nothing tells cron of it.",
            hint="Install qorworker[crontab] and list “django_crontab” in INSTALLED_APPS.",
            id="qorworker.W030",
        )
    if CRONJOBS[0] not in [job[:2] for job in _jobs()]:
        yield checks.Warning(
            f"Queue {name!r} waits for cron, but CRONJOBS has no tick.",
            hint="CRONJOBS = [*qorworker.backends.crontab.CRONJOBS, …]; then: manage.py crontab add -v0",
            id="qorworker.W031",
        )


def _breaks() -> Iterator[checks.CheckMessage]:
    if getattr(django_settings, "CRONTAB_LOCK_JOBS", False):
        yield checks.Warning(
            "With CRONTAB_LOCK_JOBS no tick runs while a job of an earlier one does.",
            hint="Leave it off: ticks do not disturb each other.",
            id="qorworker.W032",
        )
    if macros := [job[0] for job in _jobs() if str(job[0]).startswith("@")]:
        yield checks.Warning(
            f"django-crontab drops lines with {', '.join(map(str, macros))} when it is called a second time.",
            hint="Write the five fields.",
            id="qorworker.W033",
        )
    parts = ("CRONTAB_COMMAND_PREFIX", "CRONTAB_COMMAND_SUFFIX")
    if percent := [part for part in parts if "%" in str(getattr(django_settings, part, ""))]:
        yield checks.Warning(
            f"A “%” in {', '.join(percent)} ends the command for cron.",
            hint="Put it into a script.",
            id="qorworker.W034",
        )
    paths = (sys.executable, getattr(django_settings, "CRONTAB_DJANGO_MANAGE_PATH", ""))
    if spaced := [path for path in paths if " " in str(path)]:
        yield checks.Warning(
            f"django-crontab does not quote paths, and this one has a space: {spaced[0]}",
            hint="Set CRONTAB_PYTHON_EXECUTABLE or CRONTAB_DJANGO_MANAGE_PATH to a path without one.",
            id="qorworker.W035",
        )
