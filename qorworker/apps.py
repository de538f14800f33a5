"""The Django app. ``ready`` connects checks and receivers and finds each app's ``jobs``; no query, no process."""

from __future__ import annotations

from django.apps import AppConfig
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
