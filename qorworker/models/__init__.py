"""The rows of qorworker and their named queries. All processes."""

from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.limits import Hold, Limit, LimitStart, held_by
from qorworker.models.pause import Pause, PauseKind, Queue
from qorworker.models.preset import Preset
from qorworker.models.schedule import Schedule
from qorworker.models.slot import ScheduleSlot
from qorworker.models.story import Attempt, LogLine, Outcome, ResultsRow
from qorworker.models.worker import Worker

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
