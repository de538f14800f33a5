"""Checks of the project's settings, commands and database. ``manage.py check``."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management import get_commands
from django.db import connections, router

from qorworker import conf
from qorworker.checks.offline import register
from qorworker.database import sqlite
from qorworker.models import Job


@register()
def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """E001: an unknown key or a wrong value in QORWORKER."""
    hint = f"Correct it in {settings.SETTINGS_MODULE or 'the settings of the project'}."
    return [checks.Error(problem, hint=hint, id="qorworker.E001") for problem in conf.problems()]


@register()
def check_command(**kwargs: Any) -> list[checks.CheckMessage]:
    """W001: another app gives ``runworker`` its own meaning (Channels has one)."""
    owner = get_commands().get("runworker", "qorworker")
    if owner == "qorworker":
        return []
    return [
        checks.Warning(
            f"“manage.py runworker” is the command of {owner!r}, not of qorworker.",
            hint="List “qorworker” before it in INSTALLED_APPS.",
            id="qorworker.W001",
        )
    ]


@register()
def check_router(**kwargs: Any) -> list[checks.CheckMessage]:
    """E017: a router that sends the app's tables to a database that does not exist."""
    alias = router.db_for_write(Job)
    if alias in connections.settings:
        return []
    return [
        checks.Error(
            f"A router of DATABASE_ROUTERS sends the tables of qorworker to {alias!r}, which is not in DATABASES.",
            hint=f"The databases are: {', '.join(connections.settings)}.",
            id="qorworker.E017",
        )
    ]


@register()
def check_sqlite(**kwargs: Any) -> list[checks.CheckMessage]:
    """W003: SQLite set up so that writers lock each other out."""
    alias = router.db_for_write(Job)
    if alias not in connections.settings:
        return []  # E017 says so
    if not (missing := sqlite.missing_options(connections[alias])):
        return []
    return [
        checks.Warning(
            f"The SQLite database {alias!r} makes workers and pages wait for each other.",
            hint=f"Add to its OPTIONS: {', '.join(missing)}",
            id="qorworker.W003",
        )
    ]
