"""The Django app. ``ready`` connects checks and receivers and finds each app's ``jobs``; no query, no process."""

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
    """Have each backend's module imported: that of Celery brings a task, which its workers must know."""
    from qorworker.backends import backend_of
    from qorworker.conf import settings as own

    with suppress(ImproperlyConfigured):  # a check says so
        for name in own.QUEUES:
            backend_of(name)


def make_own_jobs() -> None:
    """Declare the job with which the app keeps its tables small."""
    from qorworker import housekeeping

    with suppress(ImproperlyConfigured):  # a check says so
        housekeeping.declare()


def uses_tasks() -> bool:
    """Whether tasks of ``django.tasks`` (or its backport) run as jobs; then the modules that hold them are needed."""
    aliases = getattr(settings, "TASKS", None) or {}
    paths = {params.get("BACKEND", "") for params in aliases.values() if isinstance(params, dict)}
    if all(path.startswith(("django.", "django_tasks.")) for path in paths):
        return False
    from qorworker.backends.tasks import QorWorkerBackend
    from qorworker.compat import aliases_of

    return bool(aliases_of(QorWorkerBackend))
