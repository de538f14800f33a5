"""``runworker --reload``: ends the worker in order when a file of the project changes. Parent process."""

from __future__ import annotations

from django.utils.autoreload import StatReloader

from qorworker.worker.supervisor import Duty, Supervisor


def stop_on_change(supervisor: Supervisor) -> None:
    """Look at the files of the project every second, as ``runserver`` does; a change is like a first signal."""
    reloader = StatReloader()
    seen = dict(reloader.snapshot_files())

    def look(now: float) -> None:
        if not supervisor.code_changed and dict(reloader.snapshot_files()) != seen:
            supervisor.code_changed = True
            supervisor.shutdown.asked += 1

    supervisor.extra_duties.append(Duty(look, 1.0, needs_database=False))
