"""The rows of qorworker and their named queries. All processes."""

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

if not apps.is_installed("qorworker"):  # before Django complains about an app label, which names no remedy
    raise ImproperlyConfigured("Add “qorworker” to INSTALLED_APPS: its tables and its jobs are not there without it.")

from qorworker.models.attempt import Attempt, LogLine, ResultsRow
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.limits import Hold, Limit, LimitStart, held_by
from qorworker.models.pause import Pause, PauseKind, Queue
from qorworker.models.preset import Preset
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_slot import ScheduleSlot
from qorworker.models.worker import Worker
from qorworker.status import Outcome

__all__ = [
    "Attempt",
    "AuditEntry",
    "DatabaseNow",
    "Hold",
    "Job",
    "JobQuerySet",
    "Limit",
    "LimitStart",
    "LogLine",
    "Origin",
    "Outcome",
    "Pause",
    "PauseKind",
    "Preset",
    "Queue",
    "ResultsRow",
    "Schedule",
    "ScheduleSlot",
    "Worker",
    "database_now",
    "held_by",
]
