"""Jobs on a machine that has cron and nothing else: django-crontab calls ``tick`` every minute. Processes of cron.

This module is imported by settings, so it imports nothing of the rest before it is needed.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from qorworker.backends.base import BaseBackend
from qorworker.conf import settings

if TYPE_CHECKING:
    from qorworker.worker.supervisor import Supervisor

logger = logging.getLogger(__name__)

TICK = "qorworker.backends.crontab.tick"
CRONJOBS = (("* * * * *", TICK),)  # never another text: django-crontab finds its line by a hash of it
CLAIMING = 50.0  # seconds after which a tick takes no more jobs: the next one is near
SILENT_AFTER = timedelta(minutes=3)  # without a tick cron counts as silent
TICK_MODE, KEEPER_MODE = "tick", "keeper"


class CrontabBackend(BaseBackend):
    """Jobs wait in the table as for ``runworker``, and cron starts what runs them.

    ``OPTIONS``: ``MODE`` is ``"tick"`` (default), where each tick runs what waits and ends, or ``"keeper"``, where it
    starts a ``runworker`` if this machine has none; ``PROCESSES`` is the number of jobs that run at once.
    """

    is_served_by_workers = True
    comes_and_goes = True
    known_options = frozenset({"MODE", "PROCESSES"})

    @property
    def mode(self) -> str:
        return str(self.options.get("MODE", TICK_MODE))

    @property
    def processes(self) -> int:
        return int(self.options.get("PROCESSES", 0))

    def silence(self) -> str:
        """Told on pages: that cron does not do its part."""
        from qorworker.models import Worker, database_now

        last = Worker.objects.last_tick()
        if last is None:
            return _("Cron has never called for the queue “%s”.") % self.queue_name
        quiet = database_now(Worker.objects.db) - last
        if quiet <= SILENT_AFTER:
            return ""
        minutes = int(quiet.total_seconds() // 60)
        return ngettext("Cron has not called for %d minute.", "Cron has not called for %d minutes.", minutes) % minutes

    def check(self) -> list[checks.CheckMessage]:
        from qorworker.backends import crontab_checks

        return list(crontab_checks.problems(self))


@checks.register(deploy=True)
def check_table(**kwargs: Any) -> list[checks.CheckMessage]:
    """W036: the table of cron, of whoever calls this, has no line for our tick."""
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
    from qorworker.backends import backend_of

    made = [backend_of(name) for name in settings.QUEUES]
    return [backend for backend in made if isinstance(backend, CrontabBackend)]


# What cron calls.


def tick() -> None:
    """Once a minute: fire schedules, and run what waits or see that a worker does; exit status 1 if it went wrong."""
    try:
        run_tick()
    except BaseException:
        logger.exception("The tick of cron failed.")
        logging.shutdown()
        os._exit(1)  # django-crontab would catch anything that is raised, and cron be told that all is well


def run_tick() -> None:
    from django.db import router

    from qorworker.models import Job, Worker
    from qorworker.worker import processes
    from qorworker.worker.tending import tend

    using = router.db_for_write(Job)
    queues = _queues()
    me = processes.identity()
    Worker.objects.using(using).tick(me.host, [backend.queue_name for backend in queues])
    keepers = [backend for backend in queues if backend.mode == KEEPER_MODE]
    ticks = [backend for backend in queues if backend.mode == TICK_MODE]
    if keepers and not Worker.objects.using(using).alive().serves_on(me.host, [each.queue_name for each in keepers]):
        start_keeper(keepers)
    tend(using)
    if ticks:
        _work(using, ticks)


def _work(using: str, backends: list[CrontabBackend]) -> None:
    from qorworker.models import Job, Pause
    from qorworker.worker.supervisor import Duty, Options, Supervisor, default_processes

    queues = [backend.queue_name for backend in backends]
    paused = Pause.objects.using(using).paused()
    if not Job.objects.using(using).startable(queues).not_paused(paused).exists():
        return  # as nearly always; a worker would cost a second to start
    processes = sum(backend.processes for backend in backends) or default_processes()
    supervisor = Supervisor(Options(queues=queues, processes=processes, batch=True, using=using))
    supervisor.extra_duties.append(Duty(_until(supervisor, time.monotonic() + CLAIMING), 0.5, needs_database=False))
    supervisor.run()


def _until(supervisor: Supervisor, deadline: float) -> Any:
    def stop_claiming(now: float) -> None:
        if time.monotonic() >= deadline:
            claimer = supervisor.dispatcher.claimer
            claimer.limit = claimer.claimed

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
        stdout=subprocess.DEVNULL,  # cron waits for whoever holds its pipe
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths, "DJANGO_SETTINGS_MODULE": _settings_module()},
    )
    logger.info("Started a worker: %s", " ".join(command))


def _settings_module() -> str:
    return str(getattr(django_settings, "SETTINGS_MODULE", os.environ.get("DJANGO_SETTINGS_MODULE", "")))
