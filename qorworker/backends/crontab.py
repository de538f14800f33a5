"""Jobs on a machine that has cron and nothing else: django-crontab calls ``tick`` every minute. Processes of cron.

Settings import this module, so it imports the rest of the app where it needs it.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.conf import settings
from qorworker.queues.base import BaseBackend

if TYPE_CHECKING:
    from qorworker.worker.parent.supervisor import Supervisor

logger = logging.getLogger(__name__)

TICK = "qorworker.backends.crontab.tick"
CRONJOBS = (("* * * * *", TICK),)  # never another text: django-crontab finds its line by a hash of it
CLAIMING = 50.0  # seconds after which a tick takes no more jobs: the next one is near
SILENT_AFTER = timedelta(minutes=3)  # without a tick cron counts as silent
TICK_MODE, KEEPER_MODE = "tick", "keeper"


class CrontabBackend(BaseBackend):
    """Jobs wait in the table as for ``runworker``, and cron starts the process that runs them.

    ``OPTIONS``: ``MODE`` is ``"tick"`` (default), where each tick runs the waiting jobs and ends, or ``"keeper"``,
    where it starts a ``runworker`` if this machine has none. ``PROCESSES`` is the number of jobs that run at once.
    """

    is_served_by_workers = True
    may_be_absent = True
    known_options = frozenset({"MODE", "PROCESSES"})

    @property
    def mode(self) -> str:
        return str(self.options.get("MODE", TICK_MODE))

    @property
    def processes(self) -> int:
        return int(self.options.get("PROCESSES", 0))

    def stalled_reason(self) -> str:
        """Return a sentence for users if cron does not run; else an empty text."""
        from qorworker.models import Worker, database_now

        last = Worker.objects.last_tick()
        if last is None:
            return _("Cron has not run yet for the queue “%s”.") % self.queue_name
        quiet = database_now(Worker.objects.all().db) - last
        if quiet <= SILENT_AFTER:
            return ""
        minutes = int(quiet.total_seconds() // 60)
        return ngettext("Cron has not run for %d minute.", "Cron has not run for %d minutes.", minutes) % minutes

    def check(self) -> list[checks.CheckMessage]:
        return list(problems(self))


@checks.register(deploy=True)
def check_table(**kwargs: Any) -> list[checks.CheckMessage]:
    """W036: the crontab of the user who runs the check has no line for the tick."""
    if not _queues() or not apps.is_installed("django_crontab"):
        return []
    from django_crontab.app_settings import Settings  # type: ignore[import-not-found, import-untyped, unused-ignore]

    names = Settings(django_settings)
    program = names.CRONTAB_EXECUTABLE
    if shutil.which(program) is None:
        return [checks.Warning(f"There is no program {program!r} on this machine.", id="qorworker.W036")]
    table = subprocess.run([program, "-l"], capture_output=True, text=True, check=False).stdout
    ours = [line for line in table.splitlines() if line.endswith(f"# {names.CRONTAB_COMMENT}")]
    if any(" crontab run " in line for line in ours):
        return []
    return [
        checks.Warning(
            "The table of cron has no line of this project.",
            hint="manage.py crontab add -v0, as the user who is to run the jobs; then look at: crontab -l",
            id="qorworker.W036",
        )
    ]


def _queues() -> list[CrontabBackend]:
    from qorworker.queues import backend_of

    made = [backend_of(name) for name in settings.QUEUES]
    return [backend for backend in made if isinstance(backend, CrontabBackend)]


# What cron calls.


def tick() -> None:
    """Fire schedules, and run waiting jobs or keep a worker running. Exit with status 1 after an error."""
    try:
        run_tick()
    except BaseException:
        logger.exception("The tick of cron failed.")
        logging.shutdown()
        os._exit(1)  # django-crontab would catch any exception, and exit with status 0


def run_tick() -> None:
    from django.db import router

    from qorworker.maintenance.run_once import run_once
    from qorworker.models import Job, Worker
    from qorworker.system import processes

    using = router.db_for_write(Job)
    queues = _queues()
    me = processes.identity()
    Worker.objects.using(using).tick(me.host, [backend.queue_name for backend in queues])
    keepers = [backend for backend in queues if backend.mode == KEEPER_MODE]
    ticks = [backend for backend in queues if backend.mode == TICK_MODE]
    if keepers and not Worker.objects.using(using).alive().serves_on(me.host, [each.queue_name for each in keepers]):
        start_keeper(keepers)
    run_once(using)
    if ticks:
        _work(using, ticks)


def _work(using: str, backends: list[CrontabBackend]) -> None:
    from qorworker.models import Job, Pause
    from qorworker.system.processes import default_processes
    from qorworker.worker.parent.supervisor import Duty, Supervisor, WorkerOptions

    queues = [backend.queue_name for backend in backends]
    paused = Pause.objects.using(using).paused()
    if not Job.objects.using(using).startable(queues).not_paused(paused).exists():
        return  # as nearly always; a worker would cost a second to start
    processes = sum(backend.processes for backend in backends) or default_processes()
    supervisor = Supervisor(WorkerOptions(queues=queues, processes=processes, batch=True, using=using))
    supervisor.extra_duties.append(Duty(_until(supervisor, time.monotonic() + CLAIMING), 0.5, needs_database=False))
    supervisor.run()
    if failure := supervisor.pool.fork_server.failure:
        logger.error("%s", failure)


def _until(supervisor: Supervisor, deadline: float) -> Any:
    def stop_claiming(now: float) -> None:
        if time.monotonic() >= deadline:
            supervisor.dispatcher.claimer.limit = 0

    return stop_claiming


def start_keeper(backends: list[CrontabBackend]) -> None:
    """Start ``runworker`` for these queues so that it outlives the tick, in a session of its own."""
    script = Path(sys.argv[0])
    program = [str(script.resolve())] if script.name == "manage.py" else ["-m", "django"]
    command = [sys.executable, *program, "runworker", "--queues", ",".join(each.queue_name for each in backends)]
    if processes := sum(backend.processes for backend in backends):
        command += ["--processes", str(processes)]
    paths = os.pathsep.join(path for path in sys.path if path)
    subprocess.Popen(
        command,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # cron waits until its pipe is closed
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths, "DJANGO_SETTINGS_MODULE": _settings_module()},
    )
    logger.info("Started a worker: %s", " ".join(command))


def _settings_module() -> str:
    return str(getattr(django_settings, "SETTINGS_MODULE", os.environ.get("DJANGO_SETTINGS_MODULE", "")))


# What ``manage.py check`` tells: the queue's options, its line in CRONJOBS, and what breaks django-crontab.


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
