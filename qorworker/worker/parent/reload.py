"""``runworker --reload``: stops the worker in good order when a file of the project changes. Parent process."""

from __future__ import annotations

from django.utils.autoreload import StatReloader

from qorworker.worker.parent.supervisor import Duty, Supervisor


def stop_on_change(supervisor: Supervisor) -> None:
    """Check the files of the project every second, as ``runserver`` does. A change acts like a first signal."""
    reloader = StatReloader()
    known_files = dict(reloader.snapshot_files())

    def check(now: float) -> None:
        if not supervisor.code_changed and dict(reloader.snapshot_files()) != known_files:
            supervisor.code_changed = True
            supervisor.shutdown.request()

    supervisor.extra_duties.append(Duty(check, 1.0, needs_database=False))
