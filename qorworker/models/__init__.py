"""The rows of qorworker and their named queries. All processes."""

from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.job import Job, JobQuerySet
from qorworker.models.story import Attempt, LogLine, Outcome, ResultsRow
from qorworker.models.worker import Worker

__all__ = [
    "Attempt",
    "AuditEntry",
    "DatabaseNow",
    "Job",
    "JobQuerySet",
    "LogLine",
    "Origin",
    "Outcome",
    "ResultsRow",
    "Worker",
    "database_now",
]
