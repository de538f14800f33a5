"""The Django app. ``ready`` connects checks and receivers and finds each app's ``jobs``: no query, no process."""

from __future__ import annotations

from contextlib import suppress

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class QorWorkerConfig(AppConfig):
    name = "qorworker"
    label = "qorworker"
    verbose_name = _("Background jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from qorworker import checks, signals  # noqa: F401

        autodiscover_modules("jobs")
        make_backends()
        make_own_jobs()
        if uses_tasks():
            autodiscover_modules("tasks")


def make_backends() -> None:
    """Import the module of each backend: that of Celery defines a task that its workers need."""
    from qorworker.conf import settings as own
    from qorworker.queues import backend_of

    with suppress(ImproperlyConfigured):  # a check says so
        for name in own.QUEUES:
            backend_of(name)


def make_own_jobs() -> None:
    """Declare the jobs that delete old jobs and send messages."""
    from qorworker.maintenance import jobs, sending

    for declare in (jobs.declare, sending.declare):
        with suppress(ImproperlyConfigured):  # a check says so
            declare()


def uses_tasks() -> bool:
    """Return whether tasks of ``django.tasks``, or its backport, run as jobs; then the modules that define them are
    needed.
    """
    aliases = getattr(settings, "TASKS", None) or {}
    paths = {params.get("BACKEND", "") for params in aliases.values() if isinstance(params, dict)}
    if all(path.startswith(("django.", "django_tasks.")) for path in paths):
        return False
    from qorworker.backends.tasks import QorWorkerBackend
    from qorworker.compat import aliases_of

    return bool(aliases_of(QorWorkerBackend))
