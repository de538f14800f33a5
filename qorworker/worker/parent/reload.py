"""``runworker --reload``: stops the worker in good order when a file of the project changes. Parent process."""

from __future__ import annotations

from django.utils.autoreload import StatReloader

from qorworker.worker.parent.supervisor import Duty, Supervisor


def stop_on_change(supervisor: Supervisor) -> None:
    """Check the files of the project every second, as ``runserver`` does. A change acts like a first signal."""
    reloader = StatReloader()
    known_files = dict(reloader.snapshot_files())

    def check(now: float) -> None:
        files = dict(reloader.snapshot_files())
        # Those of modules that were imported since the last look are no change.
        has_changed = any(files.get(path) != modified_at for path, modified_at in known_files.items())
        known_files.update(files)
        if has_changed and not supervisor.code_changed:
            supervisor.code_changed = True
            supervisor.shutdown.request()

    supervisor.extra_duties.append(Duty(check, 1.0, needs_database=False))
