"""System checks: mistakes in settings and job types, which ``manage.py check`` reports before anything runs.

An error stops every command of the project, so no error may depend on rows: checks run offline. What only rows can show
is a warning of a check for ``--database``.
"""

from qorworker.checks.arguments import check_arguments, check_secrets, check_uploads
from qorworker.checks.job_types import (
    check_commands,
    check_limits,
    check_middleware,
    check_names,
    check_open_types,
    check_permissions,
    check_unique,
)
from qorworker.checks.project import check_command, check_router, check_settings, check_sqlite
from qorworker.checks.queues import check_queues
from qorworker.checks.schedules import check_schedule_calendars, check_schedule_rows, check_schedules

__all__ = [
    "check_arguments",
    "check_command",
    "check_commands",
    "check_limits",
    "check_middleware",
    "check_names",
    "check_open_types",
    "check_permissions",
    "check_queues",
    "check_router",
    "check_schedule_calendars",
    "check_schedule_rows",
    "check_schedules",
    "check_secrets",
    "check_settings",
    "check_sqlite",
    "check_unique",
    "check_uploads",
]
