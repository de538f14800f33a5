"""The rows of qorworker and their named queries. All processes."""

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

if not apps.is_installed("qorworker"):  # before Django complains about an app label, which names no remedy
    raise ImproperlyConfigured("Add “qorworker” to INSTALLED_APPS: its tables and its jobs are not there without it.")

from qorworker.models.approval import Approval, ApprovalState
from qorworker.models.attempt import Attempt, JobFile, LogLine, ResultsRow
from qorworker.models.audit import AuditEntry, Origin
from qorworker.models.batch import Batch, BatchOutcome
from qorworker.models.calendar import Calendar, Holiday
from qorworker.models.clock import DatabaseNow, database_now
from qorworker.models.dependency import AfterFailure, Dependency
from qorworker.models.job import Job
from qorworker.models.job_queries import JobQuerySet
from qorworker.models.limits import Hold, Limit, LimitStart, held_by
from qorworker.models.message import Message, MessageMark, MessageState
from qorworker.models.message_rule import MessageRule
from qorworker.models.pause import Pause, PauseKind, Queue
from qorworker.models.preset import Preset
from qorworker.models.question import Question, QuestionKind, QuestionState
from qorworker.models.schedule import Schedule
from qorworker.models.schedule_slot import ScheduleSlot
from qorworker.models.summary import Summary, SummaryMark
from qorworker.models.worker import Worker
from qorworker.status import Outcome

__all__ = [
    "AfterFailure",
    "Approval",
    "ApprovalState",
    "Attempt",
    "AuditEntry",
    "Batch",
    "BatchOutcome",
    "Calendar",
    "DatabaseNow",
    "Dependency",
    "Hold",
    "Holiday",
    "Job",
    "JobFile",
    "JobQuerySet",
    "Limit",
    "LimitStart",
    "LogLine",
    "Message",
    "MessageMark",
    "MessageRule",
    "MessageState",
    "Origin",
    "Outcome",
    "Pause",
    "PauseKind",
    "Preset",
    "Question",
    "QuestionKind",
    "QuestionState",
    "Queue",
    "ResultsRow",
    "Schedule",
    "ScheduleSlot",
    "Summary",
    "SummaryMark",
    "Worker",
    "database_now",
    "held_by",
]
